import dataclasses
import json

import pytest

from contract import training_record
from contract.training_record import Evaluation, TrainingRecord

RECORD = TrainingRecord(
    steps=12,
    start_step=8,
    train_examples=100,
    loss=2.25,
    examples_per_second=1_234.5,
    seconds=6.5,
    compute_dtype="float32",
    devices=("/device:CPU:0",),
    cores=2,
    evaluations=(Evaluation(8, 0.25, 2.5), Evaluation(12, 0.5, 2.0)),
)


def test_what_is_written_is_read(tmp_path):
    training_record.write(str(tmp_path), RECORD)
    assert training_record.read(str(tmp_path)) == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]


def test_a_folder_without_a_record_has_an_empty_one(tmp_path):
    assert training_record.read(str(tmp_path)) == TrainingRecord()


def test_fields_of_another_version_are_left_out_and_missing_ones_have_defaults(tmp_path):
    fields = dataclasses.asdict(RECORD) | {"epochs": 3}
    del fields["cores"]
    (tmp_path / "training.json").write_text(json.dumps(fields))
    assert training_record.read(str(tmp_path)) == dataclasses.replace(RECORD, cores=0)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"steps": 12, "eval', b"[]", b"\xff\xfe", b'{"evaluations": [{"step": 1}]}'],
)
def test_a_damaged_record_is_named_and_not_used(tmp_path, caplog, content):
    (tmp_path / "training.json").write_bytes(content)
    assert training_record.read(str(tmp_path)) == TrainingRecord()
    assert f"{tmp_path}/training.json is not a valid training record" in caplog.text
