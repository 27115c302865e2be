"""`cifar run` before it starts: which Estimator, which preset, which settings."""

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from trainer_module.hyper_parameters import ABOUT

MODULE = """
import dataclasses
from typing import Annotated

from trainer_module.preprocessing import preprocessing_fn
from trainer_module.run import run_fn


@dataclasses.dataclass(frozen=True)
class HyperParameters:
    train_steps: int = 3  # batches in all
    petals: Annotated[int, ">= 3"] = 5  # of each flower


PRESETS = {"spring": HyperParameters(), "autumn": HyperParameters(petals=8)}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where a team calls cifar, with its package beside it."""
    (tmp_path / "garden").mkdir()
    (tmp_path / "garden/flowers.py").write_text(MODULE)
    return tmp_path


def test_the_help_lists_the_presets():
    text = CliRunner().invoke(main, ["run", "--help"]).output
    for name, about in ABOUT.items():
        assert re.search(rf"^ +{name} +{re.escape(about)}$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "quick"],
            "preset must be one of spring, autumn of garden.flowers, got 'quick'",
        ),
        (["--set", "petals=many"], "petals must be a whole number, got 'many'"),
        (["--set", "petals=2"], "petals must be a whole number >= 3, got 2"),
        (["--set", "learning_rate=1"], "--set learning_rate: there is no such field"),
        (["--set", "petal=4"], "no such field. Did you mean petals?"),
        (["--preset", "srping"], "got 'srping'. Did you mean spring?"),
        (["--trainer-module", "garden.trees"], "there is no module garden.trees"),
    ],
)
def test_a_wrong_choice_is_said_before_anything_starts(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    options = ["run", "--trainer-module", "garden.flowers", "--output", "out"]
    done = CliRunner().invoke(main, [*options, *arguments])
    assert done.exit_code == 2
    assert message in done.output
    assert not (folder / "out").exists()
