"""Safely unpacks the files of a data set from a .tar.gz or .zip.

A small archive can unpack to any size, so the unpacked bytes are limited: each wanted file has
its limit, and everything else has a small one.
"""

import dataclasses
import functools
import gzip
import io
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from contract.progress import Progress
from data_sources.cifar_format import BATCH_FILES, MAX_BATCH_BYTES

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK"
UNTRUSTED = "Nothing was unpacked. Get the archive from a source you trust: `cifar data fetch`."
BESIDE_BATCHES_BYTES = 16 << 20  # headers and other files; the official archive has 20 KB


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in an archive, with the reason if it cannot be unpacked safely."""

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes]]  # call it once, before the next member is read
    danger: str
    position: int  # bytes of the archive read so far


class Metered:
    """The unpacked content of a gzip file, up to the granted size."""

    def __init__(self, archive: Path) -> None:
        """Grants the bytes allowed beside the batches."""
        self.content: IO[bytes] | gzip.GzipFile = io.BytesIO()  # until it is opened
        self._archive = archive
        self._granted_bytes = BESIDE_BATCHES_BYTES

    def grant(self, size_bytes: int) -> None:
        """Allows `size_bytes` more to be read."""
        self._granted_bytes += size_bytes

    def read(self, size_bytes: int) -> bytes:
        """Returns the next bytes, at most `size_bytes`; none at the end.

        Raises:
            ValueError: The file unpacks to more than was granted.
        """
        piece = self.content.read(size_bytes)
        self._granted_bytes -= len(piece)
        if self._granted_bytes < 0:
            raise ValueError(
                f"{self._archive} unpacks to more than {BESIDE_BATCHES_BYTES:,} bytes beside "
                "the six batches; expected an archive such as cifar-10-binary.tar.gz. "
                f"{UNTRUSTED}"
            )
        return piece


def unpack(
    archive: Path,
    folder: Path,
    progress: Progress,
    names: Collection[str] = BATCH_FILES,
    max_file_bytes: int = MAX_BATCH_BYTES,
) -> None:
    """Writes only the named files of `archive` into `folder`.

    In the archive, they may be in any folder.

    Raises:
        ValueError: It is not an archive, is damaged, lacks a file or contains one twice,
            contains an unsafe path, a link or a device, or unpacks to too much.
    """

    def place_of(path: PurePosixPath) -> str:
        return path.name if path.name in names else ""

    unpacked = unpack_files(archive, folder, progress, place_of, max_file_bytes)
    missing = [name for name in names if name not in unpacked]
    if missing:
        raise ValueError(
            f"{archive} lacks {', '.join(missing)}. Expected {', '.join(names)}, as in the "
            "official archive."
        )


def unpack_files(
    archive: Path,
    folder: Path,
    progress: Progress,
    place_of: Callable[[PurePosixPath], str],
    max_file_bytes: int,
    max_bytes: int | None = None,
) -> set[str]:
    """Writes the files of `archive` that have a place into `folder`; returns the places.

    Args:
        archive: A .tar.gz or .zip.
        folder: The target folder.
        progress: Shows the progress.
        place_of: Maps a path in the archive to one below `folder`; empty to skip it.
        max_file_bytes: The largest size of one file.
        max_bytes: The largest total size of all files; None for no limit.

    Raises:
        ValueError: As in `unpack`, except for missing files.
    """
    size_bytes = archive.stat().st_size
    unpacked: set[str] = set()
    total_bytes = 0
    metered = Metered(archive)
    members = members_of(archive, metered)
    try:
        with progress.bar(f"Unpacking {archive.name}", size_bytes) as update:
            for member in members:
                check_is_safe(member, archive)
                place = place_of(PurePosixPath(member.name))
                if not place:
                    continue
                if place in unpacked:
                    raise ValueError(f"{archive} contains {place} twice, expected once.")
                check_size(member, max_file_bytes, archive)
                metered.grant(member.size_bytes)
                total_bytes += member.size_bytes
                if max_bytes and total_bytes > max_bytes:
                    raise ValueError(
                        f"{archive} unpacks to more than {max_bytes:,} bytes, "
                        f"{max_bytes / size_bytes:,.0f} times its size. {UNTRUSTED}"
                    )
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as content, target.open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                unpacked.add(place)
                update(member.position)
    except (
        EOFError, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, zlib.error,
        NotImplementedError,
    ) as error:  # fmt: skip
        raise ValueError(
            f"{archive} ({size_bytes:,} bytes) is damaged or incomplete: {error}. Download "
            "it again; `cifar data fetch` does so and checks it."
        ) from error
    return unpacked


def members_of(archive: Path, metered: Metered) -> Iterator[Member]:
    """Yields each member of an archive that is not a folder.

    Raises:
        ValueError: It is not an archive, or unpacks to more than was granted.
    """
    if begins_with(archive, ZIP_MAGIC):
        return _zip_members(archive)
    check_is_gzip(archive)
    return _tar_members(archive, metered)


def _tar_members(archive: Path, metered: Metered) -> Iterator[Member]:
    with archive.open("rb") as file, gzip.GzipFile(fileobj=file) as content:
        metered.content = content
        with tarfile.open(fileobj=metered, mode="r|") as tar:  # type: ignore[call-overload]
            for info in tar:
                if info.isdir() and not _path_danger(info.name):
                    continue
                danger = _path_danger(info.name)
                if not danger and (not info.isfile() or info.issparse()):
                    danger = "which is a link, a device or a sparse file"
                opened = _opener(tar, info)
                yield Member(info.name, info.size, opened, danger, file.tell())
        # The tar ends before the gzip, whose last bytes are its checksum.
        while metered.read(1 << 20):
            pass


def _opener(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        content = tar.extractfile(info)
        if content is None:
            raise tarfile.ReadError(f"{info.name!r} has no content")
        return content

    return opened


def _zip_members(archive: Path) -> Iterator[Member]:
    """Yields the files of a zip, which declares the size of each before it is read."""
    done_bytes = 0
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            if info.is_dir() and not _path_danger(info.filename):
                continue
            danger = _path_danger(info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if not danger and kind not in (0, stat.S_IFREG):
                danger = "which is a link, a device or a sparse file"
            if info.flag_bits & 1:
                danger = "which is encrypted"
            done_bytes += info.compress_size
            # Reading a member stops at its declared size, which is checked.
            opened = functools.partial(zipped.open, info)
            yield Member(info.filename, info.file_size, opened, danger, done_bytes)


def _path_danger(name: str) -> str:
    path = PurePosixPath(name)
    leaves = path.is_absolute() or ".." in path.parts
    return "whose path leaves the folder" if leaves else ""


def begins_with(archive: Path, magic: bytes) -> bool:
    """Returns whether a file begins with these bytes."""
    with archive.open("rb") as file:
        return file.read(len(magic)) == magic


def check_is_gzip(archive: Path) -> None:
    """Raises ValueError unless the file begins like gzip."""
    with archive.open("rb") as file:
        head = file.read(16)
    if not head.startswith(GZIP_MAGIC):
        found = f"begins with {head!r}" if head else "is empty"
        hint = " That is a web page, not the archive." if b"<" in head else ""
        raise ValueError(
            f"{archive} {found}, expected a .tar.gz (1f 8b …) or a .zip (PK).{hint} "
            "`cifar data fetch` downloads the archive and checks it."
        )


def check_is_safe(member: Member, archive: Path) -> None:
    """Raises ValueError for a path that leaves the folder, a link or a device."""
    if member.danger:
        raise ValueError(
            f"{archive} contains {member.name!r}, {member.danger}; expected plain files and "
            f"folders. {UNTRUSTED}"
        )


def check_size(member: Member, max_bytes: int, archive: Path) -> None:
    """Raises ValueError for a file larger than `max_bytes`, before anything is written."""
    if member.size_bytes > max_bytes:
        raise ValueError(
            f"{archive} contains {member.name!r} of {member.size_bytes:,} bytes; expected at "
            f"most {max_bytes:,}. {UNTRUSTED}"
        )
