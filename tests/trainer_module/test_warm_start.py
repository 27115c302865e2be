"""Training from the weights of a pushed version."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from contract import event_files, training_record
from contract.warm_start import WarmStart
from examples import batch_norm
from tests.trainer_module.conftest import TINY
from trainer_module import run, warm_start

MODEL = "model/Format-Serving"
STILL = dataclasses.replace(TINY, train_steps=1, learning_rate=1e-12)


@pytest.fixture
def started(make_fn_args, trained_dir, tmp_path):
    """Returns the folder of a training that started from a version."""

    def started(hyper_parameters, folder="warm", **fields) -> Path:
        given = {
            "model_dir": str(tmp_path),
            "version": "7",
            "path": str(trained_dir / MODEL),
            "learning_rate": 0.5,
            "is_required": True,
        }
        fn_args = make_fn_args(hyper_parameters, tmp_path / folder)
        fn_args.custom_config["warm_start"] = dataclasses.asdict(WarmStart(**given | fields))
        run.run_fn(fn_args)
        return tmp_path / folder

    return started


def weights_in(checkpoint: str | Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(checkpoint))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def served_weights(trained_dir: Path) -> dict[str, np.ndarray]:
    """Returns the weights in the SavedModel, as TensorFlow loads it."""
    with v1.Session(graph=tf.Graph()) as session:
        v1.saved_model.load(session, ["serve"], str(trained_dir / MODEL))
        variables = {v.op.name: v for v in v1.global_variables()}
        del variables["global_step"]
        return session.run(variables)


def assert_equal(found: np.ndarray, expected: np.ndarray, name: str) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7, err_msg=name)


def test_weights_and_their_averages_start_from_those_that_are_served(started, trained_dir):
    served = served_weights(trained_dir)
    found = weights_in(started(STILL) / "checkpoints")
    assert len(served) == 10  # kernel and bias of five layers
    for name, weights in served.items():
        assert_equal(found[name], weights, name)
        assert_equal(found[f"{name}/ExponentialMovingAverage"], weights, name)
    assert found["global_step"] == 1


def test_the_learning_rate_is_lower_and_the_version_on_record(started, trained_dir):
    folder = started(dataclasses.replace(TINY, train_steps=4))
    record = training_record.read(str(folder / "model_run"))
    assert (record.start_version, record.start_refusal) == ("7", "")
    rates = [
        dict(event_files.read_scalars(str(where / "model_run"))["learning_rate"])
        for where in (folder, trained_dir)
    ]
    step = min(rates[0].keys() & rates[1].keys())
    assert rates[0][step] == pytest.approx(0.5 * rates[1][step])


def test_a_training_that_resumes_does_not_need_the_version_any_more(started, tmp_path):
    undisturbed = started(TINY)
    stopped = started(dataclasses.replace(TINY, train_steps=4), "stopped")
    shutil.rmtree(stopped / "model")
    resumed = started(TINY, "stopped", path="", fault="the version is gone")
    assert training_record.read(str(resumed / "model_run")).start_version == "7"
    expected = weights_in(undisturbed / "checkpoints")
    for name, weights in weights_in(resumed / "checkpoints").items():
        np.testing.assert_allclose(weights, expected[name], atol=1e-5, err_msg=name)


@pytest.fixture
def other_network(trained_dir, tmp_path) -> Path:
    """A version whose first kernel is smaller, with a layer more and a bias less."""
    served = served_weights(trained_dir)
    served["conv1/weights"] = served["conv1/weights"][:3, :3]
    served["conv9/weights"] = np.zeros(3, np.float32)
    del served["local4/biases"]
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [v1.get_variable(name, initializer=value) for name, value in served.items()]
        session.run(v1.global_variables_initializer())
        folder = tmp_path / "other"
        (folder / "variables").mkdir(parents=True)
        v1.train.Saver(variables).save(session, str(folder / "variables/variables"))
    return folder


DIFFERENCES = (
    "its conv1/weights has the shape [3, 3, 3, 64], here it has [5, 5, 3, 64]; "
    "this network has no conv9/weights; it has no local4/biases"
)


def test_a_version_of_another_network_is_refused_with_every_difference(started, other_network):
    with pytest.raises(ValueError, match=re.escape(f"of version 7: {DIFFERENCES}.")):
        started(STILL, path=str(other_network))


def test_training_starts_anew_where_the_version_is_not_required(
    started, other_network, make_fn_args, tmp_path
):
    found = started(TINY, path=str(other_network), is_required=False)
    record = training_record.read(str(found / "model_run"))
    assert (record.start_version, record.start_refusal) == ("", DIFFERENCES)
    run.run_fn(make_fn_args(TINY, tmp_path / "cold"))
    expected = weights_in(tmp_path / "cold/checkpoints")
    for name, weights in weights_in(found / "checkpoints").items():
        np.testing.assert_allclose(weights, expected[name], atol=1e-5, err_msg=name)


def test_other_classes_are_another_network(started):
    with pytest.raises(ValueError, match="its classes are cat, dog, those of the data"):
        started(STILL, class_names=("cat", "dog"))


def test_nothing_to_start_from_is_an_error_only_where_it_is_required(started):
    with pytest.raises(ValueError, match="of version 7: there is none"):
        started(STILL, fault="there is none")
    record = training_record.read(
        str(started(STILL, fault="there is none", is_required=False) / "model_run")
    )
    assert record.start_refusal == "there is none"


def test_statistics_of_batch_norm_are_restored_too(tmp_path):
    params = {
        "hyper_parameters": batch_norm.HyperParameters(),
        "class_names": ("cat", "dog"),
        "num_train_examples": 100,
    }
    images = np.zeros((4, 32, 32, 3), np.uint8)

    def build(mode: str) -> tf.estimator.EstimatorSpec:
        features = batch_norm.prepare(tf.constant(images))
        labels = None if mode == "infer" else tf.constant([0, 1, 0, 1], tf.int64)
        return batch_norm.model_fn(features, labels, mode, params)

    shapes = warm_start.shapes_in_graph(lambda: build("infer"))
    assert [name for name in shapes if name.endswith("moving_mean")]
    with tf.Graph().as_default(), v1.Session() as session:
        build("infer")
        variables = [v for v in v1.global_variables() if v.op.name in shapes]
        for variable in variables:
            variable.load(np.full(variable.shape, 0.25, np.float32), session)
        v1.train.Saver(variables).save(session, str(tmp_path / "variables"))
    with tf.Graph().as_default():
        build("train")
        hook = warm_start.StartHook(str(tmp_path / "variables"))
        restored = [v for v in v1.global_variables() if v.op.name.removesuffix(
            "/ExponentialMovingAverage") in shapes]  # fmt: skip
        assert len(restored) > len(shapes)
        with v1.train.SingularMonitoredSession([hook]) as session:
            for value in session.raw_session().run(restored):
                assert (value == 0.25).all()
