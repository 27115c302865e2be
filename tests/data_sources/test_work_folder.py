import threading

import pytest

from data_sources.work_folder import install, sole_writer
from tests.processes import wait_until


def contents(directory):
    return {path.name: path.read_text() for path in directory.iterdir()}


def write(directory, **texts):
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (directory / name).write_text(text)
    return directory


def test_batches_of_a_failure_are_gone_and_what_was_downloaded_is_not(said, tmp_path):
    data_dir = tmp_path / "cifar10"
    with pytest.raises(ValueError, match="wrong"), sole_writer(data_dir, said) as work_dir:
        write(work_dir / "batches", one="half")
        write(work_dir, archive="so far")
        raise ValueError("a wrong label")
    assert contents(work_dir) == {"archive": "so far"}
    with sole_writer(data_dir, said) as again:
        assert again == work_dir
        assert list((again / "batches").iterdir()) == []


def test_an_unused_work_folder_leaves_only_its_lock(said, tmp_path):
    with sole_writer(tmp_path / "data" / "cifar10", said):
        pass
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".cifar10.lock"]


def test_a_second_writer_says_that_it_waits_and_waits(said, tmp_path):
    order = []

    def write_second():
        with sole_writer(tmp_path / "cifar10", said):
            order.append("second")

    second = threading.Thread(target=write_second)
    with sole_writer(tmp_path / "cifar10", said):
        second.start()
        wait_until(lambda: "Another process is writing" in str(said))
        order.append("first")
    second.join()
    assert order == ["first", "second"]


def test_a_new_folder_is_there_whole(said, tmp_path):
    batches_dir = write(tmp_path / "work" / "batches", one="1", two="2")
    install(batches_dir, tmp_path / "cifar10", ["one", "two"], said)
    assert contents(tmp_path / "cifar10") == {"one": "1", "two": "2"}
    assert not batches_dir.exists()


def test_a_wrong_file_is_replaced_and_kept_and_others_are_left_alone(said, tmp_path):
    data_dir = write(tmp_path / "cifar10", one="right", two="wrong", notes="mine")
    batches_dir = write(tmp_path / "batches", one="new 1", two="new 2", three="new 3")
    install(batches_dir, data_dir, ["two", "three"], said)
    assert contents(data_dir) == {
        "one": "right",
        "two": "new 2",
        "two.replaced": "wrong",
        "three": "new 3",
        "notes": "mine",
    }
    kept = data_dir / "two.replaced"
    assert str(said).replace("\n", "") == f"The wrong file is kept as {kept}."
