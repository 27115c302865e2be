"""A container on this machine: a root folder and processes of its own in namespaces."""

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline_def.code_version import ROOT


def contained(script: Path) -> list[str]:
    """Returns the command that runs a script in namespaces; all ends when it is killed."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    own = ["--mount", "--pid", "--fork", "--kill-child"]
    return ["unshare", *own, *as_root, "sh", str(script)]


def script(root: Path, mounts: Mapping[str, Path], read_only: Iterable[str] = ()) -> str:
    """Returns the script that makes a container's file system and runs "$@" in it.

    The machine's folders are there as they are, but /tmp is empty, and of a folder at the
    root in which something is mounted nothing else is there.

    Args:
        root: Where the file system is made; does not exist.
        mounts: Folder in the container → the machine's folder, made where it is not there.
        read_only: Those that cannot be written.
    """
    fresh = {"/tmp", *("/" + Path(target).parts[1] for target in mounts)}
    lines = [
        "set -e",
        f"mkdir {root}",
        f"mount -t tmpfs none {root}",
        "for entry in /*; do",
        f"  case $entry in {'|'.join(sorted(fresh))}) mkdir -p {root}$entry; continue;; esac",
        f'  if [ -L "$entry" ]; then cp -P "$entry" "{root}/"',
        f'  elif [ -d "$entry" ]; then mkdir "{root}$entry"; '
        f'mount --rbind "$entry" "{root}$entry"; fi',
        "done",
    ]
    lines += [f"mount -t proc none {root}/proc"]
    # A project or an environment below /tmp went with it.
    own = {path: Path(path) for path in (str(ROOT), sys.prefix) if path.startswith("/tmp/")}
    for target, source in {**mounts, **own}.items():
        paths = f"{shlex.quote(str(source))} {shlex.quote(f'{root}{target}')}"
        lines += [f"mkdir -p {paths}", f"mount --rbind {paths}"]
    lines += [f"mount -o remount,ro,bind {root}{target}" for target in read_only]
    # The project's root is the image's working folder.
    return "\n".join([*lines, f'exec chroot {root} env --chdir={ROOT} "$@"']) + "\n"
