"""`scripts/install` on a project with a lock of one package: what it does, what it keeps."""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sysconfig
import zipfile
from pathlib import Path

import pytest

from pipeline_def.code_version import ROOT

PYPROJECT = """
[build-system]
requires = ["setuptools<81"]
build-backend = "setuptools.build_meta"

[project]
name = "tiny"
version = "1"

[project.scripts]
cifar = "tiny:main"

[tool.setuptools]
package-dir = { "" = "." }

[tool.ruff]
line-length = 96
"""
MAIN = "import sys\n\ndef main():\n    print('cifar', sys.prefix)\n"


def as_wheel(name: str, folder: Path) -> Path:
    """Packs a pure distribution of this environment into a wheel again."""
    distribution = importlib.metadata.distribution(name)
    wheel = folder / f"{name}-{distribution.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in distribution.files:
            if ".." not in file.parts and file.suffix != ".pyc":
                archive.write(file.locate(), str(file))
    return wheel


class Project:
    """A folder with our scripts, a pyproject.toml and a lock, and the calls of `make`."""

    def __init__(self, root: Path, wheel: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.wheel = wheel
        root.mkdir()
        shutil.copytree(ROOT / "scripts", root / "scripts")
        (root / "pyproject.toml").write_text(PYPROJECT)
        (root / "tiny.py").write_text(MAIN)
        self.write_lock(hashlib.sha256(wheel.read_bytes()).hexdigest())

    def write_lock(self, digest: str, remark: str = "") -> None:
        name, version, *_ = self.wheel.name.split("-")
        (self.root / "requirements-dev.lock").write_text(
            f"{remark}\n{name}=={version} \\\n    --hash=sha256:{digest}\n"
        )

    def install(self, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["scripts/install", ".venv"],
            cwd=self.root,
            env={k: v for k, v in os.environ.items() if k not in ("PYTHON", "VIRTUAL_ENV")}
            | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheel.parent)}
            | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def made(self) -> float:
        """Returns a value that changes when the environment is replaced."""
        return (self.venv / "pyvenv.cfg").stat().st_ino

    def command(self, name: str = "cifar") -> str:
        done = subprocess.run([self.venv / "bin" / name], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    folder = tmp_path_factory.mktemp("install")
    (folder / "wheels").mkdir()
    tiny = Project(folder / "a project", as_wheel("setuptools", folder / "wheels"))
    done = tiny.install()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Installing into" in done.stdout
    return tiny


def changed(project: Project, name: str, old: str, new: str) -> None:
    text = (project.root / name).read_text()
    assert old in text
    (project.root / name).write_text(text.replace(old, new))


def leftovers(project: Project) -> set[str]:
    known = {".venv", "scripts", "pyproject.toml", "tiny.py", "requirements-dev.lock"}
    found = {path.name for path in project.root.iterdir()}
    return {name for name in found - known if not name.endswith(".egg-info")}


def test_commands_and_bytecode_know_the_place_the_environment_was_moved_to(project):
    assert project.command() == f"cifar {project.venv}\n"
    assert str(project.venv) in (project.venv / "bin/activate").read_text()
    for path in project.venv.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert b".venv.new" not in path.read_bytes(), path
    assert not leftovers(project)


def test_nothing_is_done_again_for_a_new_time_or_a_linter_s_setting(project):
    made = project.made()
    os.utime(project.root / "requirements-dev.lock")
    changed(project, "pyproject.toml", "line-length = 96", "line-length = 100")
    done = project.install()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert project.made() == made


def test_a_new_command_is_there_and_the_packages_stay(project):
    made = project.made()
    changed(
        project,
        "pyproject.toml",
        "[project.scripts]\n",
        "[project.scripts]\nmore = 'tiny:main'\n",
    )
    done = project.install()
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.command("more").startswith("cifar")
    assert project.made() == made


def test_a_failed_install_leaves_the_old_environment(project):
    made = project.made()
    lock = (project.root / "requirements-dev.lock").read_text()
    project.write_lock("0" * 64)
    done = project.install()
    assert done.returncode != 0
    assert "is as it was" in done.stderr and "g++" not in done.stderr
    assert project.made() == made
    assert project.command() == f"cifar {project.venv}\n"
    assert not leftovers(project)
    (project.root / "requirements-dev.lock").write_text(lock)
    assert project.install().stdout == ""


def test_a_missing_compiler_is_named(project, tmp_path):
    lock = (project.root / "requirements-dev.lock").read_text()
    project.write_lock("0" * 64)
    (tmp_path / "c++").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "c++").chmod(0o755)
    done = project.install(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "g++ and python3-dev" in done.stderr
    (project.root / "requirements-dev.lock").write_text(lock)


def test_another_lock_makes_another_environment_also_with_the_old_one_on_path(project):
    made = project.made()
    lock = project.root / "requirements-dev.lock"
    lock.write_text("# another\n" + lock.read_text())
    (project.root / ".venv.new").mkdir()  # what a killed install leaves
    path = f"{project.venv / 'bin'}:{os.environ['PATH']}"
    done = project.install(PATH=path, VIRTUAL_ENV=str(project.venv))
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.made() != made
    python = done.stdout.split("(")[1].split(")")[0]
    assert not python.startswith(str(project.root))
    assert project.command() == f"cifar {project.venv}\n"
    assert not leftovers(project)


def test_an_environment_whose_python_is_gone_is_made_anew(project):
    python = project.venv / "bin/python"
    python.rename(project.venv / "bin/away")
    try:
        assert project.install(PIP_FIND_LINKS="").stdout.startswith("Installing into")
    finally:
        (project.venv / "bin/away").rename(python)


def test_what_was_set_aside_when_an_install_was_killed_comes_back(project):
    made = project.made()
    project.venv.rename(project.root / ".venv.old")
    assert project.install().stdout == ""
    assert project.made() == made
    assert not leftovers(project)


def find_python(**environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [ROOT / "scripts/find-python"],
        env=dict(os.environ) | environment,
        capture_output=True,
        text=True,
    )


def test_the_python_of_an_environment_is_the_one_it_was_made_from(project):
    found = find_python(PYTHON=str(project.venv / "bin/python"))
    version = sysconfig.get_python_version()
    assert found.stdout.strip().endswith(f"/bin/python{version}")
    assert str(project.root) not in found.stdout


def test_a_python_that_will_not_do_is_refused_with_what_will():
    found = find_python(PYTHON="/bin/sh")
    assert found.returncode == 1
    assert "no complete Python 3.10 or 3.11" in found.stderr
