"""The environment of a run: the commit, the packages, the machine."""

import dataclasses
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from contract import processor

PACKAGES = (
    "tfx",
    "tensorflow",
    "tensorflow-estimator",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "apache-beam",
    "ml-metadata",
    "numpy",
)
GIT_SECONDS = 5


@dataclasses.dataclass(frozen=True)
class Environment:
    """The environment of a run; a field is empty if it is unknown.

    Attributes:
        commit: The commit of the checkout, with ` + changes` if files differ from it.
        packages: The versions of the most important packages, by name.
        memory_bytes: The memory of the machine.
    """

    commit: str = ""
    python: str = ""
    packages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    system: str = ""
    cpu: str = ""
    cores: int = 0
    memory_bytes: int = 0


def read(root: Path) -> Environment:
    """Returns the environment of this process.

    Args:
        root: The folder of the project.
    """
    return Environment(
        commit=_commit(root),
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        system=platform.platform(terse=True),
        cpu=processor.name(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )


def _commit(root: Path) -> str:
    """Returns the commit of a checkout; empty for a wheel, or without git."""
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit} + changes" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=GIT_SECONDS
    )
    return done.stdout.strip()
