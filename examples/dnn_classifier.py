"""A canned Estimator: `tf.estimator.DNNClassifier` on the pixels as they are.

cifar run --trainer-module examples.dnn_classifier
"""

import dataclasses
from typing import Any

import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from contract.settings import Fraction, PositiveInt
from trainer_module import head, preprocessing, training


@dataclasses.dataclass(frozen=True)
class HyperParameters:
    """What `--set` takes; the comments are its help."""

    train_steps: PositiveInt = 5_000  # batches in all
    batch_size: PositiveInt = 128  # images of a batch
    hidden_units: PositiveInt = 256  # of the first layer; the second has half
    dropout: Fraction = 0.1  # fraction of a layer left out at a time


PRESETS = {
    "quick": HyperParameters(),
    "smoke": HyperParameters(train_steps=30, batch_size=32, hidden_units=64),
}
GATES = {
    "quick": {"min_accuracy": 0.4},
    "smoke": {"min_accuracy": 0.0, "max_accuracy_drop": 0.5, "max_class_accuracy_drop": 1.0},
}


def prepare(images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns what the network sees of images: every value, from -1 to 1, in one row."""
    pixels = tf.reshape(images, [-1, images.shape[1:].num_elements()])
    return {"pixels": tf.cast(pixels, tf.float32) / 127.5 - 1}


def model_fn(
    features: dict[str, tf.Tensor],
    labels: tf.Tensor,
    mode: str,
    params: dict[str, Any],
    config: tf.estimator.RunConfig,
) -> tf.estimator.EstimatorSpec:
    """Returns what the canned Estimator makes, with the pipeline's signatures around it."""
    hyper_parameters, class_names = params["hyper_parameters"], params["class_names"]
    units = hyper_parameters.hidden_units
    pixels = tf.feature_column.numeric_column("pixels", features["pixels"].shape[1:].as_list())
    classifier = tf.estimator.DNNClassifier(
        hidden_units=[units, units // 2],
        feature_columns=[pixels],
        n_classes=len(class_names),
        optimizer="Adam",
        dropout=hyper_parameters.dropout,
        config=config,
    )
    spec = classifier.model_fn(features, labels, mode, config)
    if mode == tf.estimator.ModeKeys.PREDICT:
        return head.predict_spec(logits_of_all(spec.predictions["logits"]), class_names)
    return spec


def logits_of_all(logits: tf.Tensor) -> tf.Tensor:
    """Returns a logit for each class; of two classes, the Estimator has only the second's."""
    if logits.shape[-1] > 1:
        return logits
    return tf.concat([tf.zeros_like(logits), logits], axis=1)


def preprocessing_fn(
    inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor]:
    """Returns the features of raw examples, and their labels: for Transform."""
    return preprocessing.transform(inputs, custom_config, prepare)


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports: for the Trainer."""
    training.run(fn_args, model_fn, HyperParameters, prepare)
