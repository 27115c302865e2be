"""A full disk, as different libraries report it."""

import errno
import shutil
import sqlite3
from pathlib import Path

import pytest
import tensorflow as tf

from pipeline_def import failures


def explained(error: Exception, output: Path) -> str:
    return str(failures.explain(error, "Trainer", output))


def test_tensorflow_names_the_file_it_could_not_write(tmp_path):
    full = tmp_path / "events"
    full.symlink_to("/dev/full")
    with pytest.raises(tf.errors.OpError) as raised, tf.io.gfile.GFile(str(full), "w") as file:
        file.write("x" * 1_000_000)
    wrapped = RuntimeError("the stage failed")
    wrapped.__cause__ = raised.value
    text = explained(wrapped, tmp_path)
    assert text.startswith(f"No space left on device: Trainer was writing {full} (")
    assert "Existing versions are intact" in text
    assert "run the same command again" in text


def test_python_names_the_file_it_could_not_write(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device", "/output/serving/.staging-1")
    assert "Trainer was writing /output/serving/.staging-1 (" in explained(error, tmp_path)


def test_sqlite_names_none_and_the_output_folder_stands_for_it(tmp_path):
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as raised:
        database.execute("CREATE TABLE t (c)")
        database.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    assert f"Trainer was writing {tmp_path} (" in explained(raised.value, tmp_path)


def test_a_disk_that_is_full_is_the_reason_whatever_the_error_says(tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(1_000_000_000, 999_999_000, 1_000)
    monkeypatch.setattr(failures.shutil, "disk_usage", lambda path: usage)
    assert "No space left on device" in explained(RuntimeError("disk I/O error"), tmp_path)


def test_another_error_stays_as_it_is(tmp_path):
    error = ValueError("a wrong label")
    assert failures.explain(error, "Trainer", tmp_path) is error
