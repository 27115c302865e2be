"""Statistics by the real StatisticsGen, judged by our gate against the curated schema."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components import example_validator, statistics_gen
from components.data_gate import DataLimits
from contract import data_facts, data_gate_record, image_set, records
from contract.data_facts import IMAGE_FACTS
from data_sources.cifar_format import CIFAR10
from serving.model_registry import PROVENANCE_FILE, Provenance


def example(**features) -> bytes:
    """Returns a serialized tf.Example; a feature given as None is left out."""
    values = {"image": bytes(3072), "label": 3, "key": b"batch:0"} | features
    kinds = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        if isinstance(value, int)
        else tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in values.items()
        if value is not None
    }
    return tf.train.Example(features=tf.train.Features(feature=kinds)).SerializeToString()


def artifact(kind: type, folder: Path):
    made = kind()
    made.uri = str(folder)
    return made


ANYTHING = DataLimits(1, 1, 1, 1, 1, 1)


def validate(
    folder: Path,
    train: list[bytes],
    evaluation: list[bytes],
    limits: DataLimits = ANYTHING,
    fingerprint: str = "",
) -> Path:
    """Runs StatisticsGen and the gate on two splits; returns the anomalies folder."""
    for split, serialized in (("train", train), ("eval", evaluation)):
        split_dir = folder / "examples" / f"Split-{split}"
        split_dir.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(split_dir / "data_tfrecord-00000-of-00001")) as writer:
            for one in serialized:
                writer.write(one)
    (folder / "schema").mkdir()
    image_set.write(str(folder / "schema"), CIFAR10.image_set)
    examples = artifact(standard_artifacts.Examples, folder / "examples")
    examples.split_names = json.dumps(["train", "eval"])
    schema = artifact(standard_artifacts.Schema, folder / "schema")
    schema.set_string_custom_property(image_set.DATA_FINGERPRINT, fingerprint)
    statistics = artifact(standard_artifacts.ExampleStatistics, folder / "statistics")
    anomalies = artifact(standard_artifacts.ExampleAnomalies, folder / "anomalies")
    statistics_gen.Executor().Do(
        {"examples": [examples], "schema": [schema]}, {"statistics": [statistics]}, {}
    )
    example_validator.Executor().Do(
        {"statistics": [statistics], "schema": [schema]},
        {"anomalies": [anomalies]},
        {
            "data_limits": records.to_json(limits),
            "model_dir": str(folder / "serving"),
            "reference_version": "latest",
        },
    )
    return folder / "anomalies"


def test_examples_that_fit_the_schema_pass(tmp_path):
    anomalies = validate(tmp_path, [example(), example(label=0)], [example(label=9)])
    assert (anomalies / "Split-train/SchemaDiff.pb").is_file()
    assert data_gate_record.read(str(anomalies)).comparisons == []  # of so few images


def noise() -> list[bytes]:
    """Returns 200 examples, the labels in turn."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3072), np.uint8)
    return [example(image=image.tobytes(), label=n % 10) for n, image in enumerate(pixels)]


def test_the_distances_are_kept_beside_the_anomalies(tmp_path):
    examples = noise()
    anomalies = validate(tmp_path, examples[:100], examples[100:])
    (skew,) = data_gate_record.read(str(anomalies)).comparisons
    assert [one.feature for one in skew.distances] == ["label", *IMAGE_FACTS]
    assert skew.distances[0].names == list(CIFAR10.class_names)


def test_data_are_compared_with_those_of_the_last_push_but_never_with_themselves(tmp_path):
    train, evaluation = noise()[:100], noise()[100:]
    validate(tmp_path / "first", train, evaluation)
    facts = data_facts.read(str(tmp_path / "first/statistics"))
    for fingerprint, compared in (("other", ["skew", "drift"]), ("same", ["skew"])):
        version = tmp_path / fingerprint / "serving/17"
        (version / PROVENANCE_FILE).parent.mkdir(parents=True)
        (version / "saved_model.pb").write_bytes(b"graph")
        pushed = Provenance(data_fingerprint="same", data_facts=facts)
        (version / PROVENANCE_FILE).write_text(records.to_json(pushed))
        anomalies = validate(tmp_path / fingerprint, train, evaluation, fingerprint=fingerprint)
        found = data_gate_record.read(str(anomalies)).comparisons
        assert [comparison.kind for comparison in found] == compared


@pytest.mark.parametrize(
    ("features", "found"),
    [
        ({"label": 10}, r"train: label: .*10"),
        ({"image": None}, r"train: image: .*not always present"),
    ],
)
def test_an_anomaly_stops_the_run_and_is_in_the_message(tmp_path, features, found):
    with pytest.raises(ValueError, match=found):
        validate(tmp_path, [example(), example(**features)], [example()])


def test_a_feature_missing_everywhere_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"eval: key: .*"):
        validate(tmp_path, [example()], [example(key=None)])


def test_an_empty_split_is_named(tmp_path):
    with pytest.raises(ValueError, match="eval: the split is empty"):
        validate(tmp_path, [example()], [])


def test_images_that_break_a_limit_stop_the_run_and_are_in_the_message(tmp_path):
    limits = DataLimits(
        1,
        1,
        max_constant_images=0.5,
        max_duplicate_images=0.4,
        max_leaked_images=1,
        max_shrinkage=1,
    )
    with pytest.raises(ValueError) as caught:
        validate(
            tmp_path, [example(), example()], [example(image=bytes(range(256)) * 12)], limits
        )
    assert str(caught.value).splitlines()[1:3] == [
        "  2 of 2 images of train are of a single colour "
        "(100.00%; max_constant_images is 50.00%)",
        "  1 of 2 images of train are copies of others "
        "(50.00%; max_duplicate_images is 40.00%)",
    ]
