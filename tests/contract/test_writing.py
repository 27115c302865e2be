import pytest

from contract.writing import write_whole


def test_who_reads_while_it_is_written_has_the_file_as_it_was(tmp_path):
    path = tmp_path / "run.json"
    write_whole(path, "before")
    with path.open() as reader:
        write_whole(path, "after")
        assert reader.read() == "before"
    assert path.read_text() == "after"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path):
    path = tmp_path / "run.json"
    write_whole(path, "before")
    (tmp_path / ".run.json.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "after" * 10_000)
    assert path.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
