"""A container on this machine: its own root folder and processes, in namespaces."""

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline_def.code_version import ROOT


def contained(script: Path) -> list[str]:
    """Returns the command that runs a script in namespaces; killing it kills everything."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    own = ["--mount", "--pid", "--fork", "--kill-child"]
    return ["unshare", *own, *as_root, "sh", str(script)]


def script(root: Path, mounts: Mapping[str, Path], read_only: Iterable[str] = ()) -> str:
    """Returns the script that builds a container's file system and runs "$@" in it.

    It contains the machine's folders, except that /tmp is empty, and that a top-level folder
    with a mount in it contains nothing else.

    Args:
        root: Where to build the file system; must not exist.
        mounts: Folder in the container → the machine's folder, created if needed.
        read_only: Folders in the container to mount read-only.
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
    # Restores a project or an environment below /tmp.
    own = {path: Path(path) for path in (str(ROOT), sys.prefix) if path.startswith("/tmp/")}
    for target, source in {**mounts, **own}.items():
        paths = f"{shlex.quote(str(source))} {shlex.quote(f'{root}{target}')}"
        lines += [f"mkdir -p {paths}", f"mount --rbind {paths}"]
    lines += [f"mount -o remount,ro,bind {root}{target}" for target in read_only]
    # The project's root is the image's working directory.
    return "\n".join([*lines, f'exec chroot {root} env --chdir={ROOT} "$@"']) + "\n"
