"""Where metadata are kept. Without TFX, so that a look at them takes no seconds."""

import urllib.parse
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as proto

SQLITE_FILE = "metadata.sqlite"
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

    Raises:
        ValueError: `metadata_url` is no mysql://… with a host and a database.
    """
    if not metadata_url:
        path = Path(output_dir) / SQLITE_FILE
        sqlite = proto.SqliteMetadataSourceConfig(
            filename_uri=str(path),
            connection_mode=READONLY if read_only else READWRITE_OPENCREATE,
        )
        return proto.ConnectionConfig(sqlite=sqlite)
    url = urllib.parse.urlsplit(metadata_url)
    database = url.path.lstrip("/")
    if url.scheme == "postgresql":
        raise ValueError(
            "metadata_url cannot be PostgreSQL: ml-metadata 1.15.0 writes broken SQL for a "
            "text with a backslash, and the Evaluator's parameters hold some. Use "
            "mysql://USER:PASSWORD@HOST:PORT/DATABASE (MySQL or MariaDB)."
        )
    if url.scheme != "mysql" or not url.hostname or not database:
        raise ValueError(
            "metadata_url is mysql://USER:PASSWORD@HOST:PORT/DATABASE, got "
            f"{url.scheme or 'no scheme'}://{url.hostname or 'no host'}/{database}."
        )
    return proto.ConnectionConfig(
        mysql=proto.MySQLDatabaseConfig(
            host=url.hostname,
            port=url.port or 3306,
            database=database,
            user=urllib.parse.unquote(url.username or ""),
            password=urllib.parse.unquote(url.password or ""),
        )
    )
