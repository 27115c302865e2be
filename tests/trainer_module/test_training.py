import dataclasses
import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from contract import events, training_record
from contract.events import WorkDone
from report.training import training_facts
from tests.trainer_module.conftest import TINY
from trainer_module import checkpoints, hooks, run


def read_weights(checkpoint_dir: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(checkpoint_dir))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def read_events(directory: Path) -> dict[int, set[str]]:
    """Returns the summary tags by step."""
    tags: dict[int, set[str]] = {}
    for path in directory.glob("events.out.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags.setdefault(event.step, set()).update(v.tag for v in event.summary.value)
    return tags


def test_record_tells_how_training_went(trained_dir):
    record = json.loads((trained_dir / "model_run" / "training.json").read_text())
    assert record["start_step"] == 0
    assert record["steps"] == 12
    assert record["train_examples"] == 100
    assert (record["batch_size"], record["optimizer"]) == (16, "Momentum")
    assert record["examples_per_second"] > 0
    assert record["loss"] > 0
    assert [evaluation["step"] for evaluation in record["evaluations"]] == [8, 12]
    for evaluation in record["evaluations"]:  # two images of each class
        assert len(evaluation["class_accuracy"]) == 10
        assert np.mean(evaluation["class_accuracy"]) == pytest.approx(evaluation["accuracy"])


def test_curves_have_a_point_for_each_line_of_progress(trained_dir):
    model_run = trained_dir / "model_run"
    curves = training_facts(str(model_run)).curves
    for curve in (curves.train_accuracy, curves.loss, curves.learning_rate):
        assert {4, 8, 12} <= {step for step, _ in curve}
    assert dict(curves.loss)[12] == pytest.approx(training_record.read(str(model_run)).loss)
    assert all((16 * accuracy) % 1 == 0 for _, accuracy in curves.train_accuracy)


def test_tensorboard_shows_rates_losses_layers_weights_and_images(trained_dir):
    steps = read_events(trained_dir / "model_run")
    tags = steps[5]  # the first step of the second summary, which comes every 4
    layers = ("conv1", "conv2", "local3", "local4", "softmax_linear")
    expected = {"learning_rate"}
    for loss in (
        "cross_entropy",
        "total_loss",
        "local3/weight_loss",
        "local4/weight_loss",
    ):
        expected |= {f"{loss}/raw", f"{loss}/averaged"}
    for layer in layers:
        expected |= {f"{layer}/activations", f"{layer}/sparsity"}
        for variable in ("weights", "biases"):
            expected |= {f"{layer}/{variable}/values", f"{layer}/{variable}/gradients"}
    assert expected <= tags
    assert any(tag.startswith("images/image") for tag in tags)
    assert {"accuracy", "loss"} <= read_events(trained_dir / "model_run" / "eval")[12]


def test_log_line_names_step_loss_and_speed(make_fn_args, tmp_path, caplog):
    caplog.set_level(logging.INFO, "cifar.train")
    shown: list[WorkDone] = []
    with events.sent_to(shown.append):
        run.run_fn(make_fn_args(dataclasses.replace(TINY, train_steps=4), tmp_path))
    last = shown[-1]
    assert (last.done, last.total, last.unit) == (4, 4, "step")
    assert re.fullmatch(r"loss \d\.\d{3}  [\d,]+ images/s  \d\.\d{3} s/batch", last.detail)
    assert f"step 4 of 4  {last.detail}" in caplog.messages


def test_killed_run_goes_on_where_it_was(make_fn_args, trained_dir, tmp_path):
    script = f"""
        import os, signal
        from contract import events
        from tests.trainer_module.conftest import TINY
        from tfx.components.trainer.fn_args_utils import FnArgs
        from trainer_module import run

        def kill(event):
            if event.done == 8:
                os.kill(os.getpid(), signal.SIGKILL)

        with events.sent_to(kill):
            run.run_fn(FnArgs(**{make_fn_args(TINY, tmp_path).__dict__!r}))
    """
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert checkpoints.newest_step(str(tmp_path / "checkpoints")) == 8

    run.run_fn(make_fn_args(TINY, tmp_path))
    record = training_record.read(str(tmp_path / "model_run"))
    assert (record.start_step, record.steps) == (8, 12)
    assert_same_weights(tmp_path, trained_dir)


def assert_same_weights(directory: Path, undisturbed_dir: Path) -> None:
    """Same batches, rates and averages: the weights equal those of an undisturbed run."""
    undisturbed = read_weights(undisturbed_dir / "checkpoints")
    for name, weights in read_weights(directory / "checkpoints").items():
        np.testing.assert_allclose(weights, undisturbed[name], atol=1e-5, err_msg=name)


def test_a_run_killed_after_its_last_checkpoint_still_knows_how_it_went(
    make_fn_args, tmp_path, monkeypatch
):
    class KilledError(Exception):
        """Ends the training as a kill would: no hook's `end` runs."""

    def log_last_step(hook: hooks.LogHook) -> None:
        if hook.step == 12:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(hooks.LogHook, "_log", log_last_step)
        with pytest.raises(KilledError):
            run.run_fn(make_fn_args(TINY, tmp_path))
    assert checkpoints.newest_step(str(tmp_path / "checkpoints")) == 12
    (events,) = (tmp_path / "checkpoints").glob("events.out.*")
    events.write_bytes(events.read_bytes()[:-5])

    run.run_fn(make_fn_args(TINY, tmp_path))
    record = training_record.read(str(tmp_path / "model_run"))
    assert (record.start_step, record.steps, record.train_examples) == (0, 12, 100)
    assert record.loss > 0
    assert record.examples_per_second > 0
    assert record.seconds > 0
    assert [evaluation.step for evaluation in record.evaluations] == [8, 12]
    curves = training_facts(str(tmp_path / "model_run")).curves
    assert curves.loss[0][0] <= 4


def test_training_goes_on_from_the_newest_whole_checkpoint(
    make_fn_args, trained_dir, tmp_path, caplog
):
    shutil.copytree(trained_dir / "checkpoints", tmp_path / "checkpoints")
    data = tmp_path / "checkpoints" / "model.ckpt-12.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    (tmp_path / "checkpoints" / "training.json").write_text("")

    run.run_fn(make_fn_args(TINY, tmp_path))
    assert f"{tmp_path}/checkpoints/model.ckpt-12 is damaged" in caplog.text
    assert "continues from model.ckpt-8" in caplog.text
    assert "training.json is not a valid training record" in caplog.text
    record = training_record.read(str(tmp_path / "model_run"))
    assert (record.start_step, record.steps) == (8, 12)
    assert [evaluation.step for evaluation in record.evaluations] == [12]
    assert_same_weights(tmp_path, trained_dir)


def test_diverged_training_stops_and_leaves_no_broken_checkpoint(make_fn_args, tmp_path):
    config = dataclasses.replace(TINY, learning_rate=1e20, checkpoint_every_steps=1)
    with pytest.raises(hooks.TrainingDivergedError, match=r"diverged.*at step \d.*rate 1e\+20"):
        run.run_fn(make_fn_args(config, tmp_path))
    for name, weights in read_weights(tmp_path / "checkpoints").items():
        assert np.isfinite(weights).all(), name
    assert not (tmp_path / "model").exists()
