"""The stock pipeline on the sample: it does the same work, stage by stage."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.pipeline import DATA_STAGES
from benchmarks.process import measure
from components.example_gen import plan_shards, write_shard
from data_sources.cifar_format import CIFAR10, EVAL_FILES, TRAIN_FILES, decode_records
from data_sources.dataset import SAMPLE_DIR


@pytest.fixture(scope="module")
def stock_run(tmp_path_factory):
    """Returns the output folder, and what the whole command took."""
    folder = tmp_path_factory.mktemp("stock")
    for split, names in (("train", TRAIN_FILES), ("eval", EVAL_FILES)):
        split_dir = folder / f"examples/Split-{split}"
        split_dir.mkdir(parents=True)
        for shard in plan_shards(str(SAMPLE_DIR), names, str(split_dir), CIFAR10):
            write_shard(shard, str(folder))
    command = [sys.executable, "-m", "benchmarks.stock_pipeline"]
    measurement = measure([*command, str(folder / "examples"), str(folder / "output")])
    return folder / "output", measurement


def read_transformed(output_dir, split: str) -> list[tf.train.Example]:
    files = output_dir.glob(f"pipeline/Transform/transformed_examples/*/Split-{split}/*.gz")
    records = tf.data.TFRecordDataset([str(file) for file in files], "GZIP")
    return [tf.train.Example.FromString(record.numpy()) for record in records]


def test_every_stage_has_its_seconds(stock_run):
    output_dir, measurement = stock_run
    stages = json.loads((output_dir / "stages.json").read_text())
    assert list(stages) == [stock for stock, _ in DATA_STAGES.values()]
    assert all(seconds > 0 for seconds in stages.values())
    assert sum(stages.values()) < measurement.seconds


def test_each_image_is_written_standardized(stock_run):
    output_dir, _ = stock_run
    assert len(read_transformed(output_dir, "train")) == 1000
    written = np.array(
        [
            example.features.feature["standardized_image"].float_list.value
            for example in read_transformed(output_dir, "eval")
        ]
    )
    content = (SAMPLE_DIR / EVAL_FILES[0]).read_bytes()
    images, _ = decode_records(content, CIFAR10, EVAL_FILES[0])
    crops = images[:, 4:28, 4:28].reshape(len(images), -1).astype(np.float32)
    expected = (crops - crops.mean(1, keepdims=True)) / crops.std(1, keepdims=True)
    assert written.shape == expected.shape == (200, 24 * 24 * 3)
    for image in expected:  # Beam writes in any order
        assert np.abs(written - image).max(1).min() < 1e-4
