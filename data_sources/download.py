"""Downloads one file over HTTP and checks it; a broken download resumes."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import requests
import urllib3

from contract.progress import Progress

CONNECT_SECONDS = 5  # short, to notice a closed network soon
READ_SECONDS = 30
CHUNK_BYTES = 1 << 16  # at most lost when a connection breaks


class SourceError(ConnectionError):
    """A source failed, with the reason; another source may work."""


def download(url: str, target: Path, size_bytes: int, md5: str, progress: Progress) -> None:
    """Downloads `url` to `target`; a broken download resumes where it stopped.

    The bytes so far stay in `target`.part, even if the process is killed.

    Raises:
        SourceError: The host cannot be reached, refuses, or sends another file.
    """
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    with progress.bar(f"Downloading {target.name}", size_bytes) as update:
        while (before := _size(part)) < size_bytes:
            if before:
                progress.say(f"Resuming at {before:,} of {size_bytes:,} bytes.")
            reason = "sends less than it announced"
            try:
                _download_rest(url, part, size_bytes, update)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = f"cannot be reached ({_cause(error)})"
            if _size(part) <= before:
                raise SourceError(f"{url} {reason}")
    found = file_digest(part, "md5").hex()
    if found != md5:
        part.unlink()
        raise SourceError(f"{url} has md5 {found}, expected {md5}; deleted the download")
    part.rename(target)


def _download_rest(
    url: str, part: Path, size_bytes: int, update: Callable[[int], None]
) -> None:
    """Appends the rest to `part`, or rewrites it if the server's file has changed."""
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
            # Not decoded: some servers declare a .gz as a compressed response, which requests
            # would unpack.
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                offset += len(chunk)
                if offset > size_bytes:
                    part.unlink()
                    raise SourceError(
                        f"{url} sends more than the {size_bytes:,} bytes expected; deleted them"
                    )
                file.write(chunk)
                update(offset)


def _check_response(response: requests.Response, offset: int, size_bytes: int) -> None:
    """Raises SourceError unless the body is the archive, or the rest of it from `offset`."""
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
    """Returns an identifier of this version of the file, for If-Range."""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified", "")


def _cause(error: Exception) -> str:
    """Returns the innermost error's name, such as NameResolutionError."""
    inner = error.args[0] if error.args else error
    return type(getattr(inner, "reason", inner)).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def file_digest(path: Path, algorithm: str) -> bytes:
    """Returns the hash of a file, read in pieces."""
    # hashlib.file_digest needs Python 3.11.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.digest()
