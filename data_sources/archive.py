"""A .tar.gz or .zip → the files of a data set in it, safely.

A small file may unpack to anything, so what is unpacked is counted: the files that are wanted,
each up to its limit, and a little beside them.
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
    """A file in an archive; one that cannot be unpacked safely has a reason why."""

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes]]  # once, before the next member is asked for
    danger: str
    position: int  # how many bytes of the archive are read so far


class Metered:
    """The unpacked content of a gzip file, up to what was granted."""

    def __init__(self, archive: Path) -> None:
        """Grants what may stand beside the batches."""
        self.content: IO[bytes] | gzip.GzipFile = io.BytesIO()  # until it is opened
        self._archive = archive
        self._granted_bytes = BESIDE_BATCHES_BYTES

    def grant(self, size_bytes: int) -> None:
        """Lets so many bytes more be read."""
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
                "the six batches; expected is an archive such as cifar-10-binary.tar.gz. "
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
    """Writes the named files of `archive` into `folder`, and nothing else.

    The official archives hold them in a folder of their own; any one will do.

    Raises:
        ValueError: It is no archive, is damaged, lacks a file or holds one twice, holds
            a path that leaves its folder, a link or a device, or unpacks to too much.
    """

    def place_of(path: PurePosixPath) -> str:
        return path.name if path.name in names else ""

    unpacked = unpack_files(archive, folder, progress, place_of, max_file_bytes)
    missing = [name for name in names if name not in unpacked]
    if missing:
        raise ValueError(
            f"{archive} lacks {', '.join(missing)}. It should hold {', '.join(names)}, as the "
            "official archive does."
        )


def unpack_files(
    archive: Path,
    folder: Path,
    progress: Progress,
    place_of: Callable[[PurePosixPath], str],
    max_file_bytes: int,
) -> set[str]:
    """Writes the files of `archive` that have a place into `folder`; returns their places.

    Args:
        archive: A .tar.gz or .zip.
        folder: Gets the files.
        progress: Shows how far it is.
        place_of: Where below `folder` a path of the archive goes; empty for nowhere.
        max_file_bytes: What one file may have.

    Raises:
        ValueError: As `unpack` does, but for what is missing.
    """
    size_bytes = archive.stat().st_size
    unpacked: set[str] = set()
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
                    raise ValueError(f"{archive} holds {place} twice, expected once.")
                check_size(member, max_file_bytes, archive)
                metered.grant(member.size_bytes)
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
    """Yields each file of an archive, and whatever else is no folder.

    Raises:
        ValueError: It is no archive, or unpacks to more than was granted.
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
        # The tar ends before the gzip does, whose last bytes are its checksum.
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
    """Yields the files of a zip, which announces the size of each before it is read."""
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
            # What is read of a member ends at the size it announces, which is checked.
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
    """Raises ValueError unless the file begins as gzip does."""
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
            f"{archive} holds {member.name!r}, {member.danger}; expected plain files and "
            f"folders. {UNTRUSTED}"
        )


def check_size(member: Member, max_bytes: int, archive: Path) -> None:
    """Raises ValueError for a file of more than `max_bytes`, before a byte is written."""
    if member.size_bytes > max_bytes:
        raise ValueError(
            f"{archive} holds {member.name!r} of {member.size_bytes:,} bytes; it should have "
            f"at most {max_bytes:,}. {UNTRUSTED}"
        )
