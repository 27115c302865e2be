import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from contract import metadata
from contract.metadata import connection_to


def test_metadata_is_a_file_in_the_output_folder(tmp_path):
    sqlite = connection_to(tmp_path).sqlite
    assert sqlite.filename_uri == str(tmp_path / "metadata.sqlite")


def test_a_look_at_metadata_writes_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="Cannot connect sqlite3 database"):
        metadata_store.MetadataStore(connection_to(tmp_path, read_only=True))
    assert list(tmp_path.iterdir()) == []


def test_metadata_may_be_a_mysql_server():
    url = "mysql://tfx:p%40ss@db.example:3307/mlmd"
    mysql = connection_to("output", url).mysql
    assert (mysql.host, mysql.port, mysql.database) == ("db.example", 3307, "mlmd")
    assert (mysql.user, mysql.password) == ("tfx", "p@ss")


def test_metadata_may_be_a_postgresql_server():
    url = "postgresql://tfx:p%40ss@db.example/mlmd"
    found = connection_to("output", url).postgresql
    assert (found.host, found.port, found.dbname) == ("db.example", "5432", "mlmd")
    assert (found.user, found.password) == ("tfx", "p@ss")


def test_a_backslash_is_refused_where_postgresql_would_get_it():
    with pytest.raises(ValueError, match=r"'C:\\\\out' contains a backslash"):
        metadata.check(r"C:\out", "postgresql://tfx@db/mlmd")
    metadata.check_storable("mysql://tfx@db/mlmd", r"C:\out")


@pytest.fixture
def output(tmp_path) -> Path:
    """An output folder with metadata of a real store, and an artifact."""
    store = metadata_store.MetadataStore(metadata.connection_to(tmp_path))
    kind = proto.ArtifactType(name="Model")
    type_id = store.put_artifact_type(kind)
    store.put_artifacts([proto.Artifact(type_id=type_id, uri=f"/{n}") for n in range(500)])
    (tmp_path / "pipeline/Trainer/model").mkdir(parents=True)
    return tmp_path


def test_whole_metadata_pass(output):
    metadata.check(output)


def test_a_folder_without_a_run_needs_no_metadata(tmp_path):
    metadata.check(tmp_path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5_000])


def _overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"x" * 8192
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (Path.unlink, "is missing, though there are artifacts"),
        (lambda path: path.write_bytes(b"<html>" * 1_000), "is damaged"),
        (_cut, "is damaged"),
        (_overwrite, "is damaged"),
    ],
)
def test_damaged_metadata_are_refused_with_what_to_do(output, damage, fault):
    damage(output / "metadata.sqlite")
    with pytest.raises(ValueError, match=f"metadata.sqlite {fault}") as raised:
        metadata.check(output)
    assert f"in {output / 'pipeline'}. Restore both" in str(raised.value)


def test_what_a_killed_run_was_writing_is_rolled_back(output):
    """A journal that was left behind is not damage."""
    program = (
        "import os, signal, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('PRAGMA cache_size = 1')\n"
        "database.execute('BEGIN IMMEDIATE')\n"
        "database.execute(\"UPDATE Artifact SET uri = 'half' || uri || zeroblob(3000)\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = output / "metadata.sqlite"
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert path.with_name("metadata.sqlite-journal").stat().st_size
    metadata.check(output)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT uri FROM Artifact LIMIT 1").fetchone() == ("/0",)


def test_metadata_that_a_first_run_could_not_write_are_begun_again(tmp_path):
    (tmp_path / "metadata.sqlite").touch()  # killed here, or no space left
    metadata.check(tmp_path)
    metadata_store.MetadataStore(connection_to(tmp_path)).get_artifacts()


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path):
    with pytest.raises(
        ConnectionError, match=r"mysql://tfx:…@127\.0\.0\.1:1/mlmd does not"
    ) as it:
        metadata.check(tmp_path, "mysql://tfx:s3cret@127.0.0.1:1/mlmd")
    assert "s3cret" not in str(it.value)
