"""The search, with an instant training whose accuracy is a formula of its rate."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from components import search
from components.search import Search
from contract import events, example_files
from contract.search_space import Range
from trainer_module.hooks import TrainingDivergedError

STEPS = (10, 20, 30)


def train(fn_args: FnArgs) -> None:
    """A trainer module's run_fn: the best rate is 0.3, and it resumes where it was."""
    rate = fn_args.custom_config["hyper_parameters"]["rate"]
    checkpoint = Path(fn_args.custom_config["checkpoint_dir"], "checkpoint")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in STEPS:
        if step > start:
            checkpoint.write_text(str(step))
            events.send(events.Evaluated(step, (1 - abs(rate - 0.3)) * step / 30))


def fn_args_in(directory: Path) -> FnArgs:
    for split, count in (("train", 1_000), ("eval", 10)):
        with tf.io.TFRecordWriter(str(directory / split)) as writer:
            for number in range(count):
                writer.write(f"{split} {number}".encode())
    return FnArgs(
        train_files=[str(directory / "train")],
        eval_files=[str(directory / "eval")],
        custom_config={},
    )


def search_in(directory: Path, **changes: Any) -> Search:
    defaults = {
        "directory": directory / "study",
        "space": {"rate": Range(0.0, 1.0)},
        "hyper_parameters": {"rate": 0.5, "other": 7, "train_steps": 30},
        "kind": dict,
        "trials": 12,
        "held_out": 0.2,
    }
    return Search(**{**defaults, **changes})


@pytest.fixture
def fn_args(tmp_path):
    return fn_args_in(tmp_path)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of twelve trials, and its folder."""
    directory = tmp_path_factory.mktemp("searched")
    study = search.run(search_in(directory), fn_args_in(directory), train)
    return study, directory / "study"


def test_the_best_rate_is_found(searched):
    study, _ = searched
    assert len(study.trials) == 12
    assert study.best_params["rate"] == pytest.approx(0.3, abs=0.1)
    assert study.best_value == pytest.approx(1 - abs(study.best_params["rate"] - 0.3))
    assert search.importance_of(study) == {"rate": 1.0}


def test_hopeless_trials_are_stopped_early(searched):
    trials = list(search.trials_of(searched[0]))
    stopped = [trial for trial in trials if trial.outcome == "stopped"]
    assert stopped
    best = max(trial.accuracy for trial in trials)
    assert all(trial.accuracy < best and trial.number >= 4 for trial in stopped)
    assert all(trial.curve[-1][0] < 30 for trial in stopped)


def test_trials_leave_summaries_and_no_models(searched):
    _, directory = searched
    assert {path.name for path in directory.iterdir()} == {"study.db", "trials"}
    for number in range(12):
        folder = directory / "trials" / f"trial-{number:03d}"
        (events_file,) = folder.iterdir()
        record = next(iter(tf.data.TFRecordDataset(str(events_file)).skip(1)))
        event = tf.compat.v1.Event.FromString(record.numpy())
        assert "_hparams_" in event.summary.value[0].tag


def test_trials_are_judged_on_train_examples_held_out_of_training(fn_args, tmp_path):
    found = search.with_held_out(fn_args, 0.2, tmp_path / "data")
    trained, judges = set(read(found.train_files)), set(read(found.eval_files))
    assert trained | judges == set(read(fn_args.train_files))
    assert not trained & judges
    assert 150 < len(judges) < 250
    again = search.with_held_out(fn_args, 0.2, tmp_path / "data")
    assert set(read(again.eval_files)) == judges


def read(files: list[str]) -> list[bytes]:
    return [example.numpy() for example in example_files.read(files)]


def test_a_killed_search_goes_on_with_its_trial_and_then_with_new_ones(fn_args, tmp_path):
    class KilledError(BaseException):
        """Ends the search as a kill would."""

    tried = []

    def be_killed(args: FnArgs) -> None:
        tried.append(args.custom_config)
        with events.sent_to(kill, events.Evaluated):
            train(args)

    def kill(evaluated: events.Evaluated) -> None:
        if len(tried) == 2 and evaluated.step == 20:
            raise KilledError

    wanted = search_in(tmp_path, trials=4)
    with pytest.raises(KilledError):
        search.run(wanted, fn_args, be_killed)
    study = search.run(wanted, fn_args, be_killed)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert tried[1] == tried[2]  # the same values, in the same folder
    assert len(tried) == 5
    assert list(study.trials[1].intermediate_values) == [10, 20, 30]
    assert len({trial.params["rate"] for trial in study.trials}) == 4
    assert all(config["hyper_parameters"]["other"] == 7 for config in tried)


def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(fn_args, tmp_path, caplog):
    def diverge(args: FnArgs) -> None:
        if Path(args.custom_config["checkpoint_dir"]).name == "trial-000":
            raise TrainingDivergedError("the loss is nan", 7, None)
        train(args)

    study = search.run(search_in(tmp_path, trials=2), fn_args, diverge)
    assert [trial.outcome for trial in search.trials_of(study)] == ["failed", "ended"]
    assert "failed: Training diverged: the loss is nan at step 7" in caplog.text


def test_values_that_exclude_one_another_fail_a_trial_before_it_trains(fn_args, tmp_path):
    def kind(rate: float, **others: Any) -> None:
        if rate > 0.5:
            raise ValueError("rate must be at most 0.5")

    trained = []

    def note(args: FnArgs) -> None:
        trained.append(args.custom_config["hyper_parameters"]["rate"])
        train(args)

    study = search.run(search_in(tmp_path, trials=8, kind=kind), fn_args, note)
    trials = list(search.trials_of(study))
    assert {trial.outcome == "failed" for trial in trials} == {True, False}
    assert all((t.outcome == "failed") == (t.values["rate"] > 0.5) for t in trials)
    assert max(trained) <= 0.5


def test_an_error_that_is_no_fault_of_the_values_ends_the_search(fn_args, tmp_path):
    def fill_the_disk(args: FnArgs) -> None:
        train(args)
        if not is_mended:
            raise RuntimeError("The model could not be exported: no space left on device")

    wanted, is_mended = search_in(tmp_path, trials=2), False
    with pytest.raises(RuntimeError, match="no space left"):
        search.run(wanted, fn_args, fill_the_disk)
    is_mended = True
    study = search.run(wanted, fn_args, fill_the_disk)
    trials = list(search.trials_of(study))
    assert [trial.outcome for trial in trials] == ["ended", "ended"]
    # Its training had ended, so that no evaluation came after the error.
    assert trials[0].accuracy == pytest.approx(1 - abs(trials[0].values["rate"] - 0.3))


def test_a_trial_that_has_trained_to_its_end_counts_however_bad_it_is(fn_args, tmp_path):
    def evaluate_once(args: FnArgs) -> None:
        rate = args.custom_config["hyper_parameters"]["rate"]
        events.send(events.Evaluated(30, 1 - abs(rate - 0.3)))

    study = search.run(search_in(tmp_path, trials=10), fn_args, evaluate_once)
    assert {trial.outcome for trial in search.trials_of(study)} == {"ended"}
    assert len(search.results_of(study)) == 10


def test_a_trial_is_evaluated_before_its_end():
    values = {"train_steps": 1_000, "eval_every_steps": 1_000, "rate": 0.1}
    assert search.evaluated_often(values) == {**values, "eval_every_steps": 200}
    seldom = {**values, "eval_every_steps": 50}
    assert search.evaluated_often(seldom) == seldom
    assert search.evaluated_often({"train_steps": 3}) == {"train_steps": 3}


def test_a_module_that_reports_no_accuracy_is_told_how(fn_args, tmp_path):
    with pytest.raises(ValueError, match=r"no accuracy.*send\(Evaluated"):
        search.run(search_in(tmp_path, trials=2), fn_args, lambda args: None)


def test_a_search_without_any_result_says_what_to_do(fn_args, tmp_path):
    def diverge(args: FnArgs) -> None:
        raise TrainingDivergedError("the loss is nan", 7, None)

    with pytest.raises(RuntimeError, match=r"None of 1 trials finished.*smaller"):
        search.run(search_in(tmp_path, trials=1), fn_args, diverge)
