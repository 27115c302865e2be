"""When a run is unnecessary: data, code and settings equal those of the last push."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_sources.dataset import SAMPLE_DIR
from pipeline_def import local_runner, run_state
from pipeline_def.config import PipelineConfig, apply_settings, find_preset
from report.run_record import FAILED, PUSHED, RunRecord
from tests.report.test_runs import keep, push


@pytest.fixture
def config(tmp_path) -> PipelineConfig:
    data = tmp_path / "data"
    shutil.copytree(SAMPLE_DIR, data)
    config = dataclasses.replace(
        find_preset("smoke"), data=str(data), output_dir=str(tmp_path / "output")
    )
    return local_runner.with_absolute_paths(config)


@pytest.fixture
def pushed(config) -> RunRecord:
    """The record of a run of the config that pushed version 7."""
    output = Path(config.output_dir)
    push(output, "7", "/model/6")
    batches = local_runner.batches_of(
        local_runner.dataset.locate(config.data, Path(config.data_dir))
    )
    return keep(
        output,
        1,
        pushed_version="7",
        pushed_path=str(output / "serving/cifar10/7"),
        state=run_state.fingerprint(config, batches),
    )


def test_an_equal_run_is_found(config, pushed):
    assert local_runner.find_equal(config) == pushed
    moved = dataclasses.replace(config, keep_runs=3)
    assert local_runner.find_equal(moved) == pushed


@pytest.mark.parametrize("setting", ["train_steps=61", "min_accuracy=0.1", "keep_versions=2"])
def test_another_setting_is_a_change(config, pushed, setting):
    assert local_runner.find_equal(apply_settings(config, [setting])) is None


def test_another_pixel_is_a_change(config, pushed):
    batch = Path(config.data) / "test_batch.bin"
    content = bytearray(batch.read_bytes())
    content[1] ^= 255
    batch.write_bytes(content)
    assert local_runner.find_equal(config) is None


def test_another_picture_to_predict_is_a_change(config, tmp_path):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    config = dataclasses.replace(config, predict_batch=str(inbox))
    batches = local_runner.batches_of(local_runner.locate(config))
    before = run_state.fingerprint(config, batches)
    assert run_state.fingerprint(config, batches) == before
    (inbox / "a.png").write_text("a picture")
    assert run_state.fingerprint(config, batches) != before


def test_edited_code_is_a_change(config, pushed, tmp_path, monkeypatch):
    copy = tmp_path / "project"
    for name in ("report", "serving"):
        shutil.copytree(run_state.ROOT / name, copy / name)
    monkeypatch.setattr(run_state, "ROOT", copy)
    before = run_state._own_code()
    template = copy / "report/templates/page.css"
    template.write_text(template.read_text() + "\n")
    assert run_state._own_code() != before


def test_a_run_that_failed_since_changes_nothing(config, pushed):
    keep(Path(config.output_dir), 2, FAILED)
    assert local_runner.find_equal(config) == pushed


def test_another_run_that_pushed_since_does(config, pushed):
    keep(Path(config.output_dir), 2, PUSHED, state="another")
    assert local_runner.find_equal(config) is None


def test_a_serving_folder_that_is_gone_is_a_change(config, pushed):
    shutil.rmtree(Path(config.output_dir) / "serving")
    assert local_runner.find_equal(config) is None


RUN = """
import sys
from cli.main import main
main(sys.argv[1:], standalone_mode=False)
print(sorted({name.partition('.')[0] for name in sys.modules} & {'tfx', 'tensorflow'}))
"""


def test_nothing_changed_is_said_without_importing_tfx(config, pushed):
    arguments = ("--preset", "smoke", "--data", config.data, "--output", config.output_dir)
    result = subprocess.run(
        [sys.executable, "-c", RUN, "run", *arguments, "--if-changed"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    said, imported = result.stdout.splitlines()
    assert said == f"Nothing changed since the run {pushed.run_id}, which pushed version 7."
    assert imported == "[]"


def test_the_command_at_the_end_gets_the_record_of_a_run_that_failed(config, tmp_path, capfd):
    config = dataclasses.replace(config, data=str(tmp_path / "absent"))
    command = f"cat > {tmp_path}/said; cp $CIFAR_RUN_RECORD {tmp_path}/file; exit 3"
    with pytest.raises(FileNotFoundError):
        local_runner.run(config, on_end=command)
    said = json.loads((tmp_path / "said").read_text())
    assert said["status"] == "failed"
    assert str(tmp_path / "absent") in said["error"]
    assert json.loads((tmp_path / "file").read_text()) == said
    assert f"Warning: --on-end ended with exit code 3: {command}" in capfd.readouterr().err


def test_the_folder_is_free_when_the_command_at_the_end_runs(config, tmp_path):
    config = dataclasses.replace(config, data=str(tmp_path / "absent"))
    lock = Path(config.output_dir) / ".lock"
    with pytest.raises(FileNotFoundError):
        local_runner.run(config, on_end=f"flock -n {lock} true && touch {tmp_path}/free")
    assert (tmp_path / "free").exists()
