"""A .tar.gz in the official layout → the six batch files, safely.

A small file may unpack to anything, so what is unpacked is counted: the batches, each up to
its limit, and a little beside them.
"""

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from contract.progress import Progress
from data_sources.cifar_format import BATCH_FILES, MAX_BATCH_BYTES

GZIP_MAGIC = b"\x1f\x8b"
UNTRUSTED = "Nothing was unpacked. Get the archive from a source you trust: `cifar data fetch`."
BESIDE_BATCHES_BYTES = 16 << 20  # headers and other files; the official archive has 20 KB


class Metered:
    """The unpacked content of a gzip file, up to what was granted."""

    def __init__(self, content: gzip.GzipFile, archive: Path) -> None:
        """Grants what may stand beside the batches."""
        self._content = content
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
        piece = self._content.read(size_bytes)
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
    batches_dir: Path,
    progress: Progress,
    max_batch_bytes: int = MAX_BATCH_BYTES,
) -> None:
    """Writes the six batch files of `archive` into `batches_dir`, and nothing else.

    The official archive holds them in `cifar-10-batches-bin/`; any one folder will do.

    Raises:
        ValueError: It is no gzip file, is damaged, lacks a batch or holds one twice, holds
            a path that leaves its folder, a link or a device, or unpacks to too much.
    """
    check_is_gzip(archive)
    size_bytes = archive.stat().st_size
    unpacked: set[str] = set()
    try:
        with (
            progress.bar(f"Unpacking {archive.name}", size_bytes) as update,
            archive.open("rb") as file,
            gzip.GzipFile(fileobj=file) as content,
        ):
            metered = Metered(content, archive)
            with tarfile.open(fileobj=metered, mode="r|") as tar:  # type: ignore[call-overload]
                for member in tar:
                    check_is_safe(member, archive)
                    name = PurePosixPath(member.name).name
                    if not member.isfile() or name not in BATCH_FILES:
                        continue
                    if name in unpacked:
                        raise ValueError(f"{archive} holds {name} twice, expected once.")
                    check_size(member, max_batch_bytes, archive)
                    metered.grant(member.size)
                    write(tar, member, batches_dir / name)
                    unpacked.add(name)
                    update(file.tell())
            # The tar ends before the gzip does, whose last bytes are its checksum.
            while metered.read(1 << 20):
                pass
    except (EOFError, gzip.BadGzipFile, tarfile.TarError, zlib.error) as error:
        raise ValueError(
            f"{archive} ({size_bytes:,} bytes) is damaged or incomplete: {error}. Download "
            "it again; `cifar data fetch` does so and checks it."
        ) from error
    missing = [name for name in BATCH_FILES if name not in unpacked]
    if missing:
        raise ValueError(
            f"{archive} lacks {', '.join(missing)}. It should hold data_batch_1.bin to "
            "data_batch_5.bin and test_batch.bin, as cifar-10-binary.tar.gz does."
        )


def check_is_gzip(archive: Path) -> None:
    """Raises ValueError unless the file begins as gzip does."""
    with archive.open("rb") as file:
        head = file.read(16)
    if not head.startswith(GZIP_MAGIC):
        found = f"begins with {head!r}" if head else "is empty"
        hint = " That is a web page, not the archive." if b"<" in head else ""
        raise ValueError(
            f"{archive} {found}, expected a .tar.gz (1f 8b …).{hint} "
            "`cifar data fetch` downloads the archive and checks it."
        )


def check_is_safe(member: tarfile.TarInfo, archive: Path) -> None:
    """Raises ValueError for a path that leaves the folder, a link or a device."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        found = "whose path leaves the folder"
    elif not (member.isfile() or member.isdir()) or member.issparse():
        found = "which is a link, a device or a sparse file"
    else:
        return
    raise ValueError(
        f"{archive} holds {member.name!r}, {found}; expected plain files and folders. "
        f"{UNTRUSTED}"
    )


def check_size(member: tarfile.TarInfo, max_bytes: int, archive: Path) -> None:
    """Raises ValueError for a batch of more than `max_bytes`, before a byte is written."""
    if member.size > max_bytes:
        raise ValueError(
            f"{archive} holds {member.name!r} of {member.size:,} bytes; a batch has at most "
            f"{max_bytes:,}. {UNTRUSTED}"
        )


def write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Writes the content of a plain file of the archive to `target`."""
    content = tar.extractfile(member)
    if content is None:
        raise tarfile.ReadError(f"{member.name!r} has no content")
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
