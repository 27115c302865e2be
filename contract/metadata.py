"""The location of the metadata. Does not import TFX, which would take seconds."""

import contextlib
import random
import socket
import sqlite3
import time
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as proto

from contract.metadata_url import ENVIRONMENT_VARIABLE, parse, redacted

SQLITE_FILE = "metadata.sqlite"
CONNECT_SECONDS = 10
CREATE_SECONDS = 5
READWRITE_OPENCREATE = proto.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
READONLY = proto.SqliteMetadataSourceConfig.READONLY


def connection_to(
    output_dir: str | Path, metadata_url: str = "", read_only: bool = False
) -> proto.ConnectionConfig:
    """Returns the metadata store of a run: SQLite in the output folder, or a server.

    Args:
        output_dir: The output folder of the run.
        metadata_url: The server, mysql://… or postgresql://…; empty for SQLite.
        read_only: Whether SQLite is only read; its folder may then be read-only.
    """
    if not metadata_url:
        path = Path(output_dir) / SQLITE_FILE
        sqlite = proto.SqliteMetadataSourceConfig(
            filename_uri=str(path),
            connection_mode=READONLY if read_only else READWRITE_OPENCREATE,
        )
        return proto.ConnectionConfig(sqlite=sqlite)
    server = parse(metadata_url)
    if server.kind == "postgresql":
        return proto.ConnectionConfig(
            postgresql=proto.PostgreSQLDatabaseConfig(
                host=server.host,
                port=str(server.port),
                dbname=server.database,
                user=server.user,
                password=server.password,
            )
        )
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
    """Checks that the SQLite file is intact, or that the metadata server answers.

    Raises:
        ConnectionError: Nothing answers at the server's address.
        ValueError: The file is empty, damaged, or missing although there are artifacts; or
            PostgreSQL cannot store the path of the output folder.
    """
    if metadata_url:
        check_storable(metadata_url, str(output_dir))
        _check_answers(metadata_url)
        return
    if fault := _find_fault(Path(output_dir)):
        raise unusable(output_dir, metadata_url, fault)


def unusable(output_dir: str | Path, metadata_url: str, fault: str) -> ValueError:
    """Returns the error for metadata that do not describe the artifacts of an output folder."""
    artifacts = Path(output_dir) / "pipeline"
    if metadata_url:
        place, away = f"The metadata store {redacted(metadata_url)}", f"{artifacts} alone"
    else:
        place, away = str(Path(output_dir) / SQLITE_FILE), "both"
    return ValueError(
        f"{place} {fault}. It records which stage made which artifact in {artifacts}. Restore "
        f"both from a backup, or move {away} away: the next run then creates new ones and "
        "continues from the checkpoints. Pushed versions are not affected."
    )


def check_storable(metadata_url: str, *texts: str) -> None:
    """Raises ValueError if a text for PostgreSQL contains a backslash.

    ml-metadata 1.15.0 writes broken SQL for it.
    """
    if parse(metadata_url).kind != "postgresql":
        return
    for text in texts:
        if "\\" in text:
            raise ValueError(
                f"{text!r} contains a backslash, which ml-metadata 1.15.0 cannot store in "
                "PostgreSQL. Choose a name without one, or keep the metadata in MySQL or "
                "MariaDB."
            )


def _check_answers(url: str) -> None:
    server = parse(url)
    if server.host == "localhost":
        return  # the client then uses a Unix socket, whose path only it knows
    try:
        socket.create_connection((server.host, server.port), CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(
            f"The metadata store {redacted(url)} does not answer ({error}). Start it, or "
            f"correct the URL in {ENVIRONMENT_VARIABLE} or the file of --metadata-url-file."
        ) from error
    _create_schema(url)


def _create_schema(url: str) -> None:
    """Creates the database and its tables, unless they exist.

    Of clients that do so at the same time, ml-metadata 1.15.0 lets one through: the others get
    a deadlock, half of the tables or a duplicate key, and have to try again.
    """
    from ml_metadata import errors
    from ml_metadata.metadata_store import metadata_store  # slow to import

    deadline = time.monotonic() + CREATE_SECONDS
    while True:
        try:
            metadata_store.MetadataStore(connection_to("", url))
            return
        except (RuntimeError, errors.StatusError) as error:
            if time.monotonic() < deadline:
                time.sleep(random.uniform(0.1, 0.5))
                continue
            raise ConnectionError(
                f"The metadata store {redacted(url)} refuses the connection "
                f"({str(error).splitlines()[0]}). Check the user, the password, and that the "
                "user may create the database. MySQL 8 needs a user with mysql_native_password."
            ) from error


def _find_fault(output: Path) -> str:
    """Returns the fault of an output folder's metadata file; empty if there is none."""
    path = output / SQLITE_FILE
    if not path.exists() or path.stat().st_size == 0:
        # Without artifacts, this is a first run that was killed early or ran out of space.
        has_artifacts = any((output / "pipeline").glob("*/*"))
        state = "empty" if path.exists() else "missing"
        return f"is {state}, though there are artifacts" if has_artifacts else ""
    try:
        # Not read-only, so that an unfinished write of a killed run is rolled back first.
        with contextlib.closing(sqlite3.connect(path)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    return "" if found == "ok" else f"is damaged ({found})"
