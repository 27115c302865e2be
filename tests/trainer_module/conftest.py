"""Tiny examples, their transform graph and a trained model, made the way TFX makes them."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
from tfx.components.trainer.fn_args_utils import FnArgs

from contract import features, image_set
from data_sources.cifar_format import CIFAR10, EVAL_FILES, TRAIN_FILES, decode_records
from trainer_module import preprocessing, run
from trainer_module.hyper_parameters import SMOKE, HyperParameters

# Long enough to see checkpoints, summaries and evaluations on the way; its kernels decay
# in the loss, as the classic network's do.
TINY = dataclasses.replace(
    SMOKE,
    weight_decay=0.004,
    train_steps=12,
    batch_size=16,
    log_every_steps=4,
    summary_every_steps=4,
    checkpoint_every_steps=4,
    eval_every_steps=8,
)


@pytest.fixture(scope="session")
def examples_dir(cifar_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hundred train and twenty eval examples, laid out as CifarExampleGen does."""
    directory = tmp_path_factory.mktemp("examples")
    for split, names in (("train", TRAIN_FILES), ("eval", EVAL_FILES)):
        (directory / split).mkdir()
        for number, name in enumerate(names):
            path = directory / split / f"data_tfrecord-{number:05d}-of-{len(names):05d}"
            images, labels = decode_records((cifar_dir / name).read_bytes())
            with tf.io.TFRecordWriter(str(path)) as writer:
                for record, (image, label) in enumerate(zip(images, labels, strict=True)):
                    writer.write(serialize(image, label, f"{name}:{record}"))
    return directory


def serialize(image: np.ndarray, label: int, key: str) -> bytes:
    example = tf.train.Example()
    feature = example.features.feature
    feature[features.IMAGE].bytes_list.value.append(image.tobytes())
    feature[features.LABEL].int64_list.value.append(int(label))
    feature[features.KEY].bytes_list.value.append(key.encode())
    return example.SerializeToString(deterministic=True)


@pytest.fixture(scope="session")
def transform_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph the stock Transform component writes in place."""
    directory = tmp_path_factory.mktemp("transform")
    config = {"image_size": 32}
    traced = functools.partial(preprocessing.preprocessing_fn, custom_config=config)
    write_transform_graph(traced, directory)
    return directory


def write_transform_graph(preprocessing_fn: Callable, directory: Path) -> None:
    spec = {
        features.IMAGE: tf.io.FixedLenFeature([], tf.string),
        features.LABEL: tf.io.FixedLenFeature([], tf.int64),
        features.KEY: tf.io.FixedLenFeature([], tf.string),
    }
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    metadata_io.write_metadata(metadata, str(directory / "metadata"))
    type_specs = {name: tf.TensorSpec([None], feature.dtype) for name, feature in spec.items()}
    impl_helper.analyze_in_place(preprocessing_fn, True, spec, type_specs, str(directory))


@pytest.fixture(scope="session")
def make_fn_args(
    examples_dir: Path, transform_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[HyperParameters, Path], FnArgs]:
    """What Trainer would hand to run_fn, with every output below a folder."""

    schema_dir = tmp_path_factory.mktemp("schema")
    image_set.write(str(schema_dir), CIFAR10.image_set)

    def make(hyper_parameters: HyperParameters, directory: Path) -> FnArgs:
        return FnArgs(
            train_files=[str(examples_dir / "train" / "*")],
            eval_files=[str(examples_dir / "eval" / "*")],
            transform_graph_path=str(transform_dir),
            schema_path=str(schema_dir / image_set.SCHEMA_FILE),
            serving_model_dir=str(directory / "model" / "Format-Serving"),
            model_run_dir=str(directory / "model_run"),
            custom_config={
                "hyper_parameters": dataclasses.asdict(hyper_parameters),
                "checkpoint_dir": str(directory / "checkpoints"),
            },
        )

    return make


@pytest.fixture(scope="session")
def trained_dir(
    make_fn_args: Callable[[HyperParameters, Path], FnArgs],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder in which run_fn has trained TINY; to be read only."""
    directory = tmp_path_factory.mktemp("trained")
    run.run_fn(make_fn_args(TINY, directory))
    return directory
