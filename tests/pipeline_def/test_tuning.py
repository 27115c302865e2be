"""A search as a node of a run, and by itself, on the real sample."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from contract import records, training_record
from contract.event_files import read_scalars
from contract.files import SEARCH_FILE, SEARCH_PAGE_FILE
from contract.search_record import SearchRecord, Trial
from pipeline_def import execution, tuning
from pipeline_def.config import find_preset

SETTINGS = ("train_steps=20", "eval_every_steps=20")
AS_SEARCHED = ("tuning_trials=2", "tuning_parallel=2")
SPACE = ("learning_rate=log:0.001..0.1", "random_flip=true,false")


def cifar(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=400)


def options(output: Path, *settings: str) -> list[str]:
    options = ["--preset", "smoke", "--data", "sample", "--output", str(output)]
    return options + [text for setting in settings for text in ("--set", setting)]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The folder of a search of two trials, which run at the same time."""
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture(scope="module")
def searched(output):
    result = cifar(
        "tune", *options(output, *SETTINGS, *SPACE), "--trials", "2", "--parallel", "2"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_search_leaves_a_preset_a_page_and_summaries(output, searched):
    found = find_preset(str(output / "tuned.yaml")).hyper_parameters
    assert f"learning_rate = {found.learning_rate}" in searched
    assert 0.001 <= found.learning_rate <= 0.1
    assert found.train_steps == 20
    assert (output / "search.html").read_text().count('row">trial-00') == 2
    (trials,) = output.glob("tuning/*/trials")
    assert str(trials) in searched
    accuracies = [read_scalars(str(trial / "eval"))["accuracy"] for trial in trials.iterdir()]
    assert all([step for step, _ in curve] == [4, 8, 12, 16, 20] for curve in accuracies)
    best = max(curve[-1][1] for curve in accuracies)
    assert f"Best      {best:.2%} on held-out train examples" in searched
    assert not list(output.glob("tuning/*/trials/*/model*"))


def test_a_search_from_a_preset_file_keeps_what_the_file_holds(tmp_path, monkeypatch):
    first = tmp_path / "first.yaml"
    first.write_text("trainer_module: trainer_module\npreset: smoke\nsettings: {momentum: 0.8}")
    config = dataclasses.replace(
        find_preset(str(first)), data="sample", output_dir=str(tmp_path), tuned="seed=1,2"
    )
    record = SearchRecord(
        trainer_module="trainer_module",
        preset=config.preset,
        hyper_parameters=vars(config.hyper_parameters),
        space=("seed=1,2",),
        held_out=0.1,
        trials=(Trial(0, {"seed": 2}, "ended", 0.5),),
    )
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / SEARCH_FILE).write_text(records.to_json(record))
    (folder / SEARCH_PAGE_FILE).touch()
    results = standard_artifacts.TunerResults()
    results.uri = str(folder)
    monkeypatch.setattr(execution, "run_until_tuned", lambda *_: {"tuner_results": results})
    found = find_preset(str(tuning.run(config).preset)).hyper_parameters
    assert (found.momentum, found.seed) == (0.8, 2)


@pytest.mark.slow
def test_a_run_finds_the_search_done_and_trains_with_its_best(output, searched):
    tuned = f"tuned={' '.join(SPACE)}"
    result = cifar("run", *options(output, *SETTINGS, tuned, *AS_SEARCHED))
    assert result.returncode == 0, result.stdout + result.stderr
    stages = json.loads((output / "run.json").read_text())["stages"]
    assert stages["Tuner"]["cached"]
    rates = read_scalars(stages["Trainer"]["outputs"]["model_run"])["learning_rate"]
    found = find_preset(str(output / "tuned.yaml")).hyper_parameters
    assert rates[0][1] == pytest.approx(found.learning_rate, rel=0.05)
    record = training_record.read(stages["Trainer"]["outputs"]["model_run"])
    assert record.found["learning_rate"] == pytest.approx(found.learning_rate)
    report = (output / "report.html").read_text()
    assert "found by a search: learning_rate, random_flip" in report


def test_a_search_of_nothing_is_a_wrong_option():
    result = cifar("tune", "--set", "train_steps=20")
    assert result.returncode == 2
    assert "There is nothing to search" in result.stderr
