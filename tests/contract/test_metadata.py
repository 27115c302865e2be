import pytest
from ml_metadata.metadata_store import metadata_store

from contract.metadata import connection_to


def connection(url: str):
    return connection_to("output", url)


def test_metadata_is_a_file_in_the_output_folder(tmp_path):
    sqlite = connection_to(tmp_path).sqlite
    assert sqlite.filename_uri == str(tmp_path / "metadata.sqlite")


def test_a_look_at_metadata_writes_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="Cannot connect sqlite3 database"):
        metadata_store.MetadataStore(connection_to(tmp_path, read_only=True))
    assert list(tmp_path.iterdir()) == []


def test_metadata_may_be_a_mysql_server():
    mysql = connection("mysql://tfx:p%40ss@db.example:3307/mlmd").mysql
    assert (mysql.host, mysql.port, mysql.database) == ("db.example", 3307, "mlmd")
    assert (mysql.user, mysql.password) == ("tfx", "p@ss")


def test_a_postgresql_server_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"ml-metadata.*broken SQL.*mysql://"):
        connection("postgresql://tfx@db.example/mlmd")


@pytest.mark.parametrize("url", ["oracle://db/mlmd", "mysql://db", "mysql:///mlmd", "db"])
def test_another_metadata_url_is_refused(url):
    with pytest.raises(ValueError, match="mysql://USER:PASSWORD@HOST:PORT/DATABASE, got"):
        connection(url)


def test_a_refusal_does_not_print_the_password():
    with pytest.raises(ValueError) as refusal:
        connection("oracle://tfx:s3cret@db/mlmd")
    assert "s3cret" not in str(refusal.value)
