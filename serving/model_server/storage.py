"""Finds a model's versions on disk, and those of them that a policy selects."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from tensorflow_serving.config import file_system_storage_path_source_pb2

VersionPolicy: TypeAlias = (
    file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
)
# What the C++ server's string to int64 conversion accepts.
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_MAX_VERSION = 2**63 - 1


def list_versions(base_path: Path) -> dict[int, Path]:
    """Returns the version folders of a model: direct children whose name is a number.

    Of several names for one number, the last in alphabetical order counts, as in C++.

    Raises:
        FileNotFoundError: `base_path` does not exist.
    """
    versions: dict[int, Path] = {}
    for entry in sorted(os.scandir(base_path), key=lambda entry: entry.name):
        if not _INTEGER.fullmatch(entry.name):
            continue
        number = int(entry.name)
        if 0 <= number <= _MAX_VERSION:
            versions[number] = Path(entry.path)
    return versions


def wanted_versions(on_disk: Mapping[int, Path], policy: VersionPolicy) -> dict[int, Path]:
    """Returns the versions a policy selects, newest first; by default, the latest."""
    newest_first = sorted(on_disk, reverse=True)
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        wanted = newest_first
    elif choice == "specific":
        wanted = [n for n in newest_first if n in policy.specific.versions]
    else:
        wanted = newest_first[: policy.latest.num_versions or 1]
    return {number: on_disk[number] for number in wanted}
