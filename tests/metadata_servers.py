"""Real database servers for the metadata, started from Debian's packages on loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.shared_server import free_port

NOBODY = 65534
PASSWORD = "p@ss/w:rd"
START_SECONDS = 60


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    """Yields the URL of a database on an empty MariaDB server."""
    with _folder() as folder:
        yield from _mariadb(folder, free_port())


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Yields the URL of a database on an empty PostgreSQL server."""
    with _folder() as folder:
        yield from _postgresql(folder, free_port())


def _mariadb(folder: Path, port: int) -> Iterator[str]:
    data, log = folder / "data", folder / "log"
    common = ["--no-defaults", f"--datadir={data}"]
    install = ["mariadb-install-db", *common, "--skip-test-db"]
    subprocess.run(install, check=True, capture_output=True, **_unprivileged())
    init = folder / "init.sql"
    init.write_text(  # a statement is a line
        f"CREATE USER tfx@localhost IDENTIFIED BY '{PASSWORD}';\n"
        "GRANT ALL ON *.* TO tfx@localhost;\n"
    )
    command = ["mariadbd", *common, "--bind-address=127.0.0.1", f"--port={port}"]
    command += [f"--socket={folder / 'socket'}", f"--init-file={init}"]
    with _running(command, log, port):
        yield f"mysql://tfx:{PASSWORD}@127.0.0.1:{port}/mlmd"


def _postgresql(folder: Path, port: int) -> Iterator[str]:
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    data, log = folder / "data", folder / "log"
    init = ["initdb", "--pgdata", data, "--username=tfx", "--auth=scram-sha-256"]
    init += ["--pwfile", folder / "password", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run(init, check=True, capture_output=True, **_unprivileged())
    command = ["postgres", "-D", str(data), "-p", str(port), "-k", str(folder)]
    command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    # SIGTERM would wait for every client.
    with _running(command, log, port, signal.SIGINT):
        yield f"postgresql://tfx:{PASSWORD}@127.0.0.1:{port}/mlmd"


SERVERS = {"mariadb": mariadb, "postgresql": postgresql}


def missing(name: str) -> str:
    """Returns the program of a server that is not installed; empty if all are there."""
    programs = {
        "mariadb": ("mariadbd", "mariadb-install-db"),
        "postgresql": ("postgres", "initdb"),
    }
    return next((program for program in programs[name] if not shutil.which(program)), "")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Yields a folder of the user that runs the server."""
    with tempfile.TemporaryDirectory(prefix="cifar-metadata-") as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
        yield Path(name)


@contextlib.contextmanager
def _running(
    command: list[str], log: Path, port: int, stop_signal: int = signal.SIGTERM
) -> Iterator[None]:
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, **_unprivileged())
    try:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
        yield
    finally:
        process.send_signal(stop_signal)
        process.wait(60)


def _unprivileged() -> dict:
    """Returns how to start a program that refuses to be root."""
    is_root = os.geteuid() == 0
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if is_root else {}
