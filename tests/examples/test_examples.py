"""The examples, each run to a push; its report states what is true of it and nothing else."""

import dataclasses
import html
import json
import re
from pathlib import Path

import click.testing
import numpy as np
import pytest
import tensorflow as tf

from cli.main import main
from examples import dnn_classifier
from serving import doctor

EXAMPLES = ("batch_norm", "dnn_classifier")


@dataclasses.dataclass(frozen=True)
class Example:
    """A run that ended: its record, its page as text, its pushed version."""

    record: dict
    page: str
    version: Path

    @property
    def words(self) -> str:
        text = re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", self.page, flags=re.DOTALL)
        return html.unescape(re.sub(r"\s+", " ", text))


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("examples") / "output"


def cifar(*arguments: str) -> str:
    done = click.testing.CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def runs(output) -> dict[str, Example]:
    """Both in one folder: the second finds examples, statistics and baseline of the first."""
    found = {}
    for name in EXAMPLES:
        cifar(
            *("run", "--trainer-module", f"examples.{name}", "--preset", "smoke"),
            *("--data", "sample", "--output", output),
        )
        record = json.loads((output / "run.json").read_text())
        page = (output / "report.html").read_text()
        found[name] = Example(record, page, Path(record["pushed_path"]))
    return found


@pytest.fixture(params=EXAMPLES)
def example(request, runs) -> Example:
    return runs[request.param]


def test_it_is_pushed_with_its_report_and_its_name_on_record(example):
    assert example.record["status"] == "pushed"
    assert example.record["error"] is None
    trainer_module = example.record["config"]["trainer_module"]
    assert f"preset smoke of {trainer_module}; 30 steps of 32 images" in example.words
    assert f"{example.record['accuracy']:.1%}" in example.words


def test_the_report_of_batch_norm_tells_its_layers_and_no_crop(runs):
    words = runs["batch_norm"].words
    assert "95,210 weights in 3 convolutions, 3 batch norms, 1 dense layer." in words
    assert "convolution conv2d_2 3×3 8×8×128 73,728" in words
    assert "batch norm batch_normalization 32×32×32 128" in words
    assert "3×3 pixels to which one of the 32 filters responds most" in words
    assert "optimizer Adam; learning rate 0.001 at the start" in words
    assert "The weights are moving averages" in words
    assert "It sees" not in words


def test_the_report_of_a_canned_estimator_leaves_out_what_it_has_not(runs):
    words = runs["dnn_classifier"].words
    assert "199,082 weights in 3 dense layers." in words
    assert "dense layer dnn/hiddenlayer_0 64 196,672" in words
    assert "optimizer Adam." in words  # nobody told it a learning rate
    for absent in ("filters", "convolution", "It sees", "moving averages", "Learning rate"):
        assert absent not in words, absent


def test_the_doctor_finds_nothing(example):
    found = doctor.diagnose(example.version)
    assert found.is_healthy, found.lines()
    assert [one.name for one in found.signatures] == [
        "classify",
        "predict_examples",
        "predict_image_bytes",
        "serving_default",
    ]


def test_lineage_and_status_name_the_estimator(runs, output):
    for name, example in runs.items():
        told = cifar("lineage", example.version.name, "--output", output)
        assert re.search(rf"with +Estimator +examples\.{name}\n", told)
        assert f"Estimator examples.{name}" in example.words
    told = cifar("status", "--output", output, "--server", "localhost:1")
    assert "Estimator examples.dnn_classifier" in told


def test_the_second_estimator_takes_data_from_the_cache_and_is_held_against_the_first(runs):
    first, second = runs.values()
    cached = {name for name, stage in second.record["stages"].items() if stage["cached"]}
    assert {"CifarExampleGen", "StatisticsGen", "ExampleValidator"} <= cached
    assert "Trainer" not in cached
    assert second.record["gate"]["baseline_version"] == first.version.name


@pytest.mark.parametrize("classes", [2, 3])
def test_the_canned_estimator_gives_each_class_a_probability(classes):
    params = {
        "hyper_parameters": dnn_classifier.HyperParameters(hidden_units=4),
        "class_names": ["cat", "dog", "ship"][:classes],
    }
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        images = tf.constant(np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3))
        spec = dnn_classifier.model_fn(
            dnn_classifier.prepare(images), None, "infer", params, tf.estimator.RunConfig()
        )
        session.run(tf.compat.v1.global_variables_initializer())
        probabilities = session.run(spec.predictions["probabilities"])
    assert probabilities.shape == (2, classes)
    assert probabilities.min() > 0 and probabilities.max() < 1
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
