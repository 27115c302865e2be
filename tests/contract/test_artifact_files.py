import subprocess
import sys

import pytest
import tensorflow as tf

from contract import artifact_files


def test_a_local_file_holds_what_tensorflow_reads(tmp_path):
    path = str(tmp_path / "facts.json")
    assert not artifact_files.exists(path)
    with artifact_files.open_text(path, "w") as file:
        file.write("32×32\n")
    assert artifact_files.exists(path)
    with tf.io.gfile.GFile(path) as file:
        assert file.read() == "32×32\n"


def test_an_address_is_opened_by_tensorflow():
    with artifact_files.open_text("ram://facts.json", "w") as file:
        file.write("1")
    assert artifact_files.exists("ram://facts.json")
    with artifact_files.open_text("ram://facts.json") as file:
        assert file.read() == "1"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"facts\.json"):
        artifact_files.open_text(str(tmp_path / "facts.json"))


def test_local_records_are_read_without_tensorflow(tmp_path):
    code = (
        "import sys; from contract import data_facts, data_gate_record, gate_record; "
        f"print(data_gate_record.read({str(tmp_path)!r}), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "None False\n", done.stderr
