"""The name of a training's folder of checkpoints: its fingerprint, and what a search found."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def with_values(folder: str, values: Mapping[str, Any]) -> str:
    """Returns the folder of a training with the values that a search found for it.

    They get their own folder, since another search may find others.
    """
    checksum = zlib.crc32(json.dumps(values, sort_keys=True).encode())
    return f"{folder}-{checksum:08x}"


def training_of(folder: Path) -> str:
    """Returns the fingerprint in the name of a training's folder."""
    return folder.name.partition("-")[0]
