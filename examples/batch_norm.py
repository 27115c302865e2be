"""A model_fn of your own: convolutions with batch norm on whole images, without a crop.

cifar run --trainer-module examples.batch_norm
"""

import dataclasses
from typing import Any

import tensorflow as tf
from tensorflow.compat import v1
from tfx.components.trainer.fn_args_utils import FnArgs

from contract.settings import Fraction, PositiveFloat, PositiveInt
from trainer_module import head, preprocessing, training


@dataclasses.dataclass(frozen=True)
class HyperParameters:
    """What `--set` takes; the comments are its help."""

    train_steps: PositiveInt = 3_000  # batches in all
    batch_size: PositiveInt = 128  # images of a batch
    learning_rate: PositiveFloat = 1e-3  # of Adam
    ema_decay: Fraction = 0.99  # of the weights that are served


PRESETS = {
    "quick": HyperParameters(),
    "smoke": HyperParameters(train_steps=30, batch_size=32, ema_decay=0.8),
}
GATES = {
    "quick": {"min_accuracy": 0.7},
    "smoke": {"min_accuracy": 0.0, "max_accuracy_drop": 0.5, "max_class_accuracy_drop": 1.0},
}


def prepare(images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns what the network sees of images."""
    return {"pixels": preprocessing.standardize(images)}


def augment(images: tf.Tensor, seed: tf.Tensor, _: HyperParameters) -> dict[str, tf.Tensor]:
    """Returns what it sees of them in training: half of them mirrored."""
    return prepare(tf.image.stateless_random_flip_left_right(images, seed))


def model_fn(
    features: dict[str, tf.Tensor], labels: tf.Tensor, mode: str, params: dict[str, Any]
) -> tf.estimator.EstimatorSpec:
    """Returns what the Estimator trains, evaluates and exports."""
    hyper_parameters, class_names = params["hyper_parameters"], params["class_names"]
    is_training = mode == tf.estimator.ModeKeys.TRAIN
    x = features["pixels"]
    for channels in (32, 64, 128):
        x = v1.layers.conv2d(x, channels, kernel_size=3, padding="same", use_bias=False)
        x = v1.layers.batch_normalization(x, momentum=0.9, training=is_training)
        x = v1.layers.max_pooling2d(tf.nn.relu(x), pool_size=2, strides=2)
    logits = v1.layers.dense(tf.reduce_mean(x, axis=[1, 2]), len(class_names))
    optimizer = v1.train.AdamOptimizer(hyper_parameters.learning_rate)
    return head.classifier_spec(
        mode, logits, labels, class_names, optimizer, hyper_parameters.ema_decay
    )


def preprocessing_fn(
    inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor]:
    """Returns the features of raw examples, and their labels: for Transform."""
    return preprocessing.transform(inputs, custom_config, prepare)


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports: for the Trainer."""
    training.run(fn_args, model_fn, HyperParameters, prepare, augment)
