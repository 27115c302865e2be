"""The shards of the examples, and those of earlier runs that were made from the same records.

Earlier artifacts beside the new one list their shards, so what did not change is linked. A hard
link survives the deletion of the artifact it leads to, so `cifar clean` need not know about it.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tfx.dsl.io import fileio

from contract import data_record
from contract.data_record import ShardRecord
from contract.writing import link_or_copy
from data_sources.cifar_format import RecordFormat
from data_sources.layouts import keys_path

log = logging.getLogger("cifar.example_gen")

READERS = 2  # threads; SHA-256 releases the interpreter lock


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: a part of the records of a batch file, in order."""

    source: str  # the batch file
    target: str
    part: int  # from 0
    parts: int  # of the batch file; their sizes differ by at most one record
    record_format: RecordFormat
    name: str  # of the batch file below the folder of the data
    keys: str = ""  # the file with the names of the records; empty if they are numbered


class KnownShards:
    """The shards of earlier artifacts, by what they were made from."""

    def __init__(self, examples_dir: str, checksums: Mapping[str, str], code: str) -> None:
        """Reads the records of the artifacts beside this one.

        Args:
            examples_dir: The new artifact.
            checksums: SHA-256 of each batch file, and of the files of its keys, by name.
            code: Identifies the code that writes shards.
        """
        self._examples_dir = examples_dir
        self._checksums = checksums
        self._code = code
        self._earlier: dict[str, tuple[Path, str]] = {}
        self._linked: dict[str, str] = {}  # SHA-256 by target
        for folder in sorted(Path(examples_dir).parent.glob("*")):
            if folder == Path(examples_dir):
                continue
            try:
                shards = data_record.read(str(folder)).shards
            except ValueError as error:
                log.warning("%s has a damaged record and is not used: %s", folder, error)
                continue
            self._earlier |= {
                shard.origin: (folder / name, shard.sha256) for name, shard in shards.items()
            }

    def link(self, shard: Shard) -> bool:
        """Links an intact shard of an earlier artifact; returns whether there was one."""
        path, sha256 = self._earlier.get(self._origin(shard), (None, ""))
        if path is None:
            return False
        try:
            if _sha256(str(path)) != sha256:
                return False
            link_or_copy(path, Path(shard.target))
        except OSError:
            return False
        self._linked[shard.target] = sha256
        return True

    def record(self, shards: Sequence[Shard]) -> dict[str, ShardRecord]:
        """Returns the record of all shards of the new artifact, for later runs."""
        new = [shard.target for shard in shards if shard.target not in self._linked]
        with ThreadPoolExecutor(READERS) as pool:
            digests = self._linked | dict(zip(new, pool.map(_sha256, new), strict=True))
        return {
            shard.target.removeprefix(f"{self._examples_dir}/"): ShardRecord(
                self._origin(shard), digests[shard.target]
            )
            for shard in shards
            if self._origin(shard)
        }

    def _origin(self, shard: Shard) -> str:
        """Returns what identifies a shard's content; empty if its batch has no checksum."""
        names = [shard.name, *([keys_path(shard.name)] if shard.keys else [])]
        checksums = [self._checksums.get(name) for name in names]
        if not all(checksums):
            return ""
        record_format = dataclasses.asdict(shard.record_format)
        facts = [names, checksums, shard.part, shard.parts, record_format, self._code]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with fileio.open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
