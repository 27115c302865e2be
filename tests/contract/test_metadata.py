import pytest
from ml_metadata.metadata_store import metadata_store

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
