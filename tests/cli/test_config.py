"""`cifar config`: what can be set, of ours and of another Estimator."""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from pipeline_def.config import PipelineConfig
from tests.cli.test_run import MODULE
from tests.finished_runs import cifar
from tests.terminal import run_in_terminal
from trainer_module.hyper_parameters import QUICK, HyperParameters


def config(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["config", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where a team calls cifar, with its package beside it."""
    (tmp_path / "my_team").mkdir()
    (tmp_path / "my_team/flowers.py").write_text(MODULE)
    return tmp_path


def test_every_field_has_a_meaning_a_range_its_default_and_its_value():
    found = json.loads(config("--json", "--set", "seed=3"))
    names = {f.name for f in dataclasses.fields(HyperParameters)}
    names |= {f.name for f in dataclasses.fields(PipelineConfig)}
    assert found.keys() == names - {"preset", "trainer_module", "hyper_parameters"}
    assert not [name for name, fact in found.items() if not (fact["meaning"] and fact["range"])]
    assert found["train_steps"] == {
        "value": QUICK.train_steps,
        "default": 100_000,
        "range": "a whole number > 0",
        "meaning": "steps, one batch each; about 256 passes over 50,000 images",
    }
    assert found["compute_dtype"]["range"] == "one of auto, float32, bfloat16, float16"
    assert found["seed"]["value"] == 3


def test_a_person_reads_a_table_with_the_meaning_below_each_field():
    lines = config("--preset", "quick").splitlines()
    assert lines[0] == "Preset quick of trainer_module"
    assert lines[2].split() == ["field", "value", "default", "range"]
    assert lines[3].split() == [
        "train_steps",
        "2600",
        "100000",
        "a",
        "whole",
        "number",
        ">",
        "0",
    ]
    assert lines[4] == "    steps, one batch each; about 256 passes over 50,000 images"


def test_what_can_be_set_of_another_estimator_is_listed(folder):
    command = cifar("config", "--trainer-module", "my_team.flowers", "--preset", "autumn")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "Preset autumn of my_team.flowers"
    assert lines[3:7] == [
        "train_steps 3 3 a whole number",
        "batches in all",
        "petals 8 5 a whole number >= 3",
        "of each flower",
    ]
    assert done.stderr == ""  # nothing from TensorFlow


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_table_fits_a_terminal(width):
    exit_code, shown = run_in_terminal(cifar("config"), COLUMNS=str(width))
    assert exit_code == 0
    assert max(map(len, shown.splitlines())) <= width
    assert "one of auto, float32, bfloat16, float16" in " ".join(shown.split())
