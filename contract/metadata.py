"""Where metadata are kept. Without TFX, so that a look at them takes no seconds."""

import contextlib
import socket
import sqlite3
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as proto

from contract.metadata_url import ENVIRONMENT_VARIABLE, parse, redacted

SQLITE_FILE = "metadata.sqlite"
CONNECT_SECONDS = 10
READWRITE_OPENCREATE = proto.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
READONLY = proto.SqliteMetadataSourceConfig.READONLY


def connection_to(
    output_dir: str | Path, metadata_url: str = "", read_only: bool = False
) -> proto.ConnectionConfig:
    """Returns the metadata store of a run: SQLite in the output folder, or MySQL.

    Args:
        output_dir: The output folder of the run.
        metadata_url: The server, mysql://…; empty for SQLite.
        read_only: Whether SQLite is only looked at, and may lie in a folder nobody can write.
    """
    if not metadata_url:
        path = Path(output_dir) / SQLITE_FILE
        sqlite = proto.SqliteMetadataSourceConfig(
            filename_uri=str(path),
            connection_mode=READONLY if read_only else READWRITE_OPENCREATE,
        )
        return proto.ConnectionConfig(sqlite=sqlite)
    server = parse(metadata_url)
    return proto.ConnectionConfig(
        mysql=proto.MySQLDatabaseConfig(
            host=server.host,
            port=server.port,
            database=server.database,
            user=server.user,
            password=server.password,
        )
    )


def check(output_dir: str | Path, metadata_url: str = "") -> None:
    """Checks that SQLite metadata are whole, or that the server of others answers.

    Raises:
        ConnectionError: Nothing answers at the server's address.
        ValueError: The file is empty or damaged, or it is gone while its artifacts are there.
    """
    if metadata_url:
        _check_answers(metadata_url)
        return
    output = Path(output_dir)
    fault = _find_fault(output)
    if fault:
        raise ValueError(
            f"{output / SQLITE_FILE} {fault}. It says which stage made what below "
            f"{output / 'pipeline'}. Restore both from a backup, or move both away: the next "
            "run starts new ones, and goes on from the checkpoints. Pushed versions are not "
            "touched."
        )


def _check_answers(url: str) -> None:
    server = parse(url)
    if server.host == "localhost":
        return  # a socket on the disk for MySQL's client, whose place only it knows
    try:
        socket.create_connection((server.host, server.port), CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(
            f"The metadata store {redacted(url)} does not answer ({error}). Start it, or "
            f"correct the URL in {ENVIRONMENT_VARIABLE} or the file of --metadata-url-file."
        ) from error


def _find_fault(output: Path) -> str:
    """Returns what is wrong with the metadata file of an output folder; empty if nothing."""
    path = output / SQLITE_FILE
    if not path.exists() or path.stat().st_size == 0:
        # Without artifacts it is a first run's, which was killed here or had no space.
        has_artifacts = any((output / "pipeline").glob("*/*"))
        state = "empty" if path.exists() else "missing"
        return f"is {state}, though there are artifacts" if has_artifacts else ""
    try:
        # Not read-only: what a killed run was writing is rolled back first.
        with contextlib.closing(sqlite3.connect(path)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    return "" if found == "ok" else f"is damaged ({found})"
