"""Our reading of the examples against TFDV's own and against NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tfx.types import standard_artifacts

from components import statistics_gen
from contract import data_facts, image_set
from data_sources.cifar_format import CIFAR10
from tests.components.test_example_validator import artifact, example

SHARDS = 3


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Returns the folder of a split of three shards, one of them empty."""
    folder = tmp_path / "examples" / "Split-train"
    folder.mkdir(parents=True)
    (tmp_path / "schema").mkdir()
    image_set.write(str(tmp_path / "schema"), CIFAR10.image_set)
    rng = np.random.default_rng(0)
    for shard, count in enumerate((1_200, 7, 0)):
        path = folder / f"data_tfrecord-{shard:05d}-of-{SHARDS:05d}"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in range(count):
                label = int(rng.integers(10)) if number % 5 else None
                writer.write(example(label=label, key=f"{shard}:{number}".encode()))
    return folder


def describe(folder: Path) -> Path:
    examples = artifact(standard_artifacts.Examples, folder / "examples")
    examples.split_names = json.dumps(["train"])
    statistics = artifact(standard_artifacts.ExampleStatistics, folder / "statistics")
    schema = artifact(standard_artifacts.Schema, folder / "schema")
    statistics_gen.Executor().Do(
        {"examples": [examples], "schema": [schema]}, {"statistics": [statistics]}, {}
    )
    assert statistics.split_names == examples.split_names
    return folder / "statistics"


def test_the_statistics_are_those_that_tfdv_finds_with_its_own_reader(split, tmp_path):
    path = describe(tmp_path) / "Split-train" / "FeatureStats.pb"
    found = tfdv.load_stats_binary(str(path)).datasets[0]
    stock = tfdv.generate_statistics_from_tfrecord(f"{split}/*").datasets[0]
    assert found.num_examples == stock.num_examples == 1_207
    by_name = [
        {feature.path.step[0]: feature for feature in dataset.features}
        for dataset in (found, stock)
    ]
    assert sorted(by_name[0]) == sorted(by_name[1]) == ["image", "key", "label"]
    label, expected = (features["label"].num_stats for features in by_name)
    assert label.common_stats.num_missing == expected.common_stats.num_missing == 240 + 2
    assert label.mean == pytest.approx(expected.mean)
    assert label.std_dev == pytest.approx(expected.std_dev)
    key, expected_key = (features["key"].string_stats for features in by_name)
    assert key.unique == expected_key.unique == 1_207


def test_a_split_without_files_is_an_error_that_says_so(split, tmp_path):
    for shard in split.iterdir():
        shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"No examples match .*Split-train"):
        describe(tmp_path)


def test_facts_and_statistics_count_the_same(split, tmp_path):
    facts = data_facts.read(str(describe(tmp_path))).splits["train"]
    assert facts.examples == 1_207
    assert sum(facts.labels) == 1_207 - 240 - 2
    assert facts.constant == facts.duplicates + 1 == 1_207
