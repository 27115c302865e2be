"""The image's recipe, carried out in a Debian without compilers."""

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import setuptools

from pipeline_def.code_version import ROOT

USER = "65532"


def instructions() -> list[tuple[str, str]]:
    """Returns the Dockerfile's instructions, continued lines joined."""
    text = (ROOT / "kubeflow/Dockerfile").read_text()
    joined = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [
        (line.split(None, 1)[0], " ".join(line.split()[1:]))
        for line in joined.splitlines()
        if line.strip()
    ]


def stage(name: str) -> list[tuple[str, str]]:
    """Returns the instructions of a stage of the Dockerfile; "" is the last."""
    stages: dict[str, list[tuple[str, str]]] = {}
    for instruction, rest in instructions():
        if instruction == "FROM":
            current = stages.setdefault(rest.partition(" AS ")[2], [])
        else:
            current.append((instruction, rest))
    return stages[name]


def test_every_base_image_has_a_version():
    bases = [rest.split()[0] for instruction, rest in instructions() if instruction == "FROM"]
    assert len(bases) == 2
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)


def test_the_environment_is_made_as_make_install_makes_it():
    assert ("ARG", "LOCKS=requirements.lock") in stage("environment")
    assert ("RUN", "scripts/install /venv $LOCKS") in stage("environment")
    assert "scripts/install .venv" in (ROOT / "Makefile").read_text()


def test_every_package_is_sent_to_the_image_and_the_tests_are_not():
    ignored = (ROOT / "kubeflow/Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    needed = [rest.split()[:-1] for name, rest in stage("environment") if name == "COPY"]
    packages = {each.partition(".")[0] for each in setuptools.find_packages(str(ROOT))}
    assert sent == (packages - {"benchmarks", "tests"}) | {
        *(path for paths in needed for path in paths),
    }
    assert all((ROOT / path).exists() for path in sent)
    assert ("COPY", ". .") in stage("")


def test_the_lock_for_gpus_adds_what_tensorflow_asks_for():
    required = "\n".join(importlib.metadata.requires("tensorflow"))
    asked = {
        f"{name}=={version}"
        for name, version in re.findall(r"(\S+) \(==(\S+)\) ; extra == 'and-cuda'", required)
    }
    locked = re.findall(r"^(\S+==\S+)", (ROOT / "requirements-gpu.lock").read_text(), re.M)
    assert set(locked) == asked and asked


def test_tensorflow_looks_for_cuda_where_the_lock_for_gpus_puts_it():
    """What it loads without being linked to it: the folders in its library's RUNPATH."""
    locked = re.findall(
        r"^nvidia-(.+)-cu12==", (ROOT / "requirements-gpu.lock").read_text(), re.M
    )
    package, *_ = importlib.util.find_spec("tensorflow").submodule_search_locations
    content = (Path(package) / "libtensorflow_cc.so.2").read_bytes()
    sought = set(re.findall(rb"\$ORIGIN/\.\./nvidia/(\w+)/lib", content))
    assert sought
    assert {name.decode().replace("_", "-") for name in sought} <= set(locked)


def test_steps_do_not_run_as_root():
    assert ("USER", f"{USER}:{USER}") in stage("")


@pytest.fixture(scope="module")
def debian(tmp_path_factory) -> Path:
    """The root of a new Debian bookworm, the system of the image's base, with Python.

    It includes Python's headers, which are part of the official Python image.
    """
    root = tmp_path_factory.mktemp("debian") / "root"
    packages = "--include=python3-venv,libpython3-dev,ca-certificates"
    command = ["debootstrap", "--variant=minbase", packages, "bookworm", root]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return root


def in_root(root: Path, command: str, *options: str) -> subprocess.CompletedProcess:
    """Runs a shell command in a root folder that shares only this machine's network.

    `options` are chroot's and run it as a user of the image; without any, it runs as in the
    recipe.
    """
    (environment,) = [rest for instruction, rest in stage("") if instruction == "ENV"]
    variables = dict(each.split("=", 1) for each in shlex.split(environment))
    chroot = [shutil.which("chroot"), *options, str(root), "sh", "-ec", f"cd /app; {command}"]
    script = f"""
        set -e
        cp /etc/resolv.conf {root}/etc/
        mkdir -p {root}/app
        mount -t proc none {root}/proc
        mount --rbind /dev {root}/dev
        for shared in /etc/ssl/certs /usr/local/share/ca-certificates; do
            mkdir -p {root}$shared
            mount --bind $shared {root}$shared
        done
        [ ! -e /etc/pip.conf ] || cp /etc/pip.conf {root}/etc/
        exec {shlex.join(chroot)}
    """
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        | {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        | (variables if options else {}),
    )


def copy(source: Path, target: Path) -> None:
    """Copies a tree with its devices, which shutil would read."""
    subprocess.run(["cp", "-a", source, target], check=True)


def copy_context(root: Path, sources: list[str]) -> None:
    """Copies the files of the checkout that the ignore file allows, as Docker does."""
    ignored = (ROOT / "kubeflow/Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    listed = subprocess.run(
        ["git", "ls-files", "--", *sources],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if Path(name).parts[0] in sent:
            (root / "app" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / "app" / name)


def build(name: str, root: Path, earlier: Path | None = None) -> None:
    """Carries out a stage's instructions."""
    defaults = " ".join(rest for instruction, rest in stage(name) if instruction == "ARG")
    for instruction, rest in stage(name):
        if instruction == "RUN":
            done = in_root(root, f"{defaults}\n{rest}")
            assert done.returncode == 0, f"{rest}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        elif rest == "--from=environment /venv /venv":
            copy(earlier / "venv", root / "venv")
        elif instruction == "COPY":
            copy_context(root, rest.split()[:-1])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("debootstrap"), reason="needs root and debootstrap"
)
def test_the_recipe_makes_an_image_in_which_a_step_starts(debian, tmp_path):
    """Debian's Python 3.11 stands in for the image's 3.10, which Debian does not have."""
    assert in_root(debian, "command -v gcc cc g++").returncode != 0
    copy(debian, tmp_path / "environment")
    copy(debian, tmp_path / "image")
    build("environment", tmp_path / "environment")
    build("", tmp_path / "image", tmp_path / "environment")
    user = f"--userspec={USER}:{USER}"
    step = in_root(tmp_path / "image", "python -m kubeflow.entrypoint --help", user)
    assert step.returncode == 0, step.stdout + step.stderr
    assert "--json_serialized_invocation_args" in step.stdout
    fetch = in_root(tmp_path / "image", "cifar data verify data_sources/sample", user)
    assert fetch.returncode == 0, fetch.stdout + fetch.stderr
    dev = in_root(tmp_path / "image", "python -c 'import pytest'", user)
    assert "ModuleNotFoundError" in dev.stderr
