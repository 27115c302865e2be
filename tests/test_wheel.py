"""The wheel of this project is complete and works outside the checkout."""

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest
import yaml

from benchmarks.emulator.object_store import free_ports
from pipeline_def.code_version import ROOT

NOT_INSTALLED = {"benchmarks", "examples", "tests"}  # packages of the checkout alone


def tracked_files() -> list[str]:
    """Returns the files of the checkout, including those not yet committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy: setuptools leaves a folder `build` behind."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", source / "dist", source], check=True)
    (built,) = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory) -> Path:
    """The commands of a new environment that reuses installed third-party packages."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index"]
    subprocess.run([*install, "--no-deps", wheel], check=True)
    version = sysconfig.get_python_version()
    site_packages = environment / f"lib/python{version}/site-packages"
    # Path files in this one's folder are not followed, so the editable install is not there.
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin"


@pytest.fixture(scope="module")
def elsewhere(bin_folder, tmp_path_factory) -> Path:
    """A folder outside the checkout with a finished run and a pushed model."""
    folder = tmp_path_factory.mktemp("elsewhere")
    cifar(bin_folder, folder, "run", "--preset", "smoke", "--data", "sample")
    return folder


def cifar(bin_folder: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [bin_folder / "cifar", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_file_of_a_package_is_in_the_wheel(wheel):
    files = tracked_files()
    packages = {
        name.split("/")[0] for name in files if name.count("/") == 1 and "__init__" in name
    }
    expected = {name for name in files if name.split("/")[0] in packages - NOT_INSTALLED}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_a_run_far_from_the_checkout_pushes_a_model_and_writes_its_page(elsewhere):
    record = json.loads((elsewhere / "output/run.json").read_text())
    assert record["status"] == "pushed"
    assert Path(record["pushed_path"], "saved_model.pb").is_file()
    assert "<html" in (elsewhere / "output/report.html").read_text()


def test_the_report_is_written_again(bin_folder, elsewhere):
    page = elsewhere / "output/report.html"
    page.unlink()
    cifar(bin_folder, elsewhere, "report")
    assert "<html" in page.read_text()


def test_the_pushed_model_is_served(bin_folder, elsewhere):
    rest, grpc = free_ports(2)
    address = f"127.0.0.1:{rest}"
    command = [bin_folder / "cifar", "serve", f"--rest_api_port={rest}", f"--port={grpc}"]
    server = subprocess.Popen(command, cwd=elsewhere)
    try:
        wait_for(f"http://{address}/v1/models/cifar10", server)
        said = cifar(bin_folder, elsewhere, "predict", "--sample", "2", "--server", address)
        assert "test_batch.bin" in said
    finally:
        server.terminate()
        server.wait(30)


def wait_for(url: str, server: subprocess.Popen) -> None:
    """Returns when the model server has loaded the model whose status is at `url`."""
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as reply:
            if b"AVAILABLE" in reply.read():
                return
        assert server.poll() is None, "the server has ended"
        assert time.monotonic() < deadline, "the server has not loaded the model"
        time.sleep(0.1)


def test_the_pipeline_is_compiled_for_kubeflow(bin_folder, elsewhere):
    image = "registry.test/cifar:1"
    cifar(bin_folder, elsewhere, "kubeflow", "compile", "--image", image, "--output", "p.yaml")
    spec, _ = yaml.safe_load_all((elsewhere / "p.yaml").read_text())
    assert "Pusher" in spec["root"]["dag"]["tasks"]
