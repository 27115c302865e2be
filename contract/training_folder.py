"""The names of folders: of a training's checkpoints, and of a search's state.

A training's folder is its fingerprint. For the values of a search, the number of trials follows
the hash in the fingerprint, because more trials may find other values, and a checksum of the
values that were found follows the fingerprint. The search's folder is the hash.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TRIALS = "."


def with_trials(search: str, trials: int) -> str:
    """Returns the fingerprint of a training with the values of a search."""
    return f"{search}{_TRIALS}{trials}"


def search_of(fingerprint: str) -> str:
    """Returns the hash of a training's search, whatever its number of trials."""
    return fingerprint.partition(_TRIALS)[0]


def with_values(folder: str, values: Mapping[str, Any]) -> str:
    """Returns the folder of a training with the values that a search found for it."""
    checksum = zlib.crc32(json.dumps(values, sort_keys=True).encode())
    return f"{folder}-{checksum:08x}"


def training_of(folder: Path) -> str:
    """Returns the fingerprint in the name of a training's folder."""
    return folder.name.partition("-")[0]
