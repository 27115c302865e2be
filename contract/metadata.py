"""Where metadata are kept. Without TFX, so that a look at them takes no seconds."""

from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as proto

from contract.metadata_url import parse

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
