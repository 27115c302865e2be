"""model_fn: what the Estimator trains, evaluates and exports around the network."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.compat import v1

from contract.features import CLASS_NAMES
from trainer_module import fast_operations, layers, network, summaries
from trainer_module.hyper_parameters import HyperParameters
from trainer_module.muon import MuonOptimizer
from trainer_module.preprocessing import STANDARDIZED_IMAGE

# Gradients below 6e-8 vanish in float16: scaled up on the way back, scaled down for the update.
FLOAT16_LOSS_SCALE = 1024.0


def model_fn(
    features: dict[str, tf.Tensor], labels: tf.Tensor, mode: str, params: dict[str, Any]
) -> tf.estimator.EstimatorSpec:
    """Returns what the Estimator runs in a mode.

    Args:
        features: `standardized_image`, float32, shape (n, 24, 24, 3).
        labels: int64, shape (n,); None in PREDICT.
        mode: A key of `tf.estimator.ModeKeys`.
        params: `hyper_parameters`, and `num_train_examples`, which an epoch is.
    """
    images = features[STANDARDIZED_IMAGE]
    hyper_parameters = params["hyper_parameters"]
    if mode == tf.estimator.ModeKeys.TRAIN:
        return train_spec(images, labels, hyper_parameters, params["num_train_examples"])
    if mode == tf.estimator.ModeKeys.EVAL:
        return eval_spec(images, labels, hyper_parameters)
    return predict_spec(images, hyper_parameters)


def train_spec(
    images: tf.Tensor,
    labels: tf.Tensor,
    hyper_parameters: HyperParameters,
    num_train_examples: int,
) -> tf.estimator.EstimatorSpec:
    """Returns the loss and the step that the Estimator runs again and again."""
    all_layers = network.layers(hyper_parameters.conv_stddev)
    parts = fast_operations.num_parts(hyper_parameters.batch_size)
    logits = layers.logits_of(images, all_layers, hyper_parameters.compute_dtype, parts)
    v1.summary.image("images", images, max_outputs=8)
    losses = losses_of(logits, labels, all_layers, hyper_parameters)
    return tf.estimator.EstimatorSpec(
        tf.estimator.ModeKeys.TRAIN,
        loss=losses["total_loss"],
        train_op=training_step(losses, hyper_parameters, num_train_examples),
    )


def eval_spec(
    images: tf.Tensor, labels: tf.Tensor, hyper_parameters: HyperParameters
) -> tf.estimator.EstimatorSpec:
    """Returns the loss and the accuracy of the averaged weights."""
    logits, scaffold = averaged_network(images, hyper_parameters)
    class_ids = predictions_of(logits)["class_ids"]
    return tf.estimator.EstimatorSpec(
        tf.estimator.ModeKeys.EVAL,
        loss=cross_entropy_of(logits, labels),
        eval_metric_ops={"accuracy": v1.metrics.accuracy(labels, class_ids)},
        scaffold=scaffold,
    )


def predict_spec(
    images: tf.Tensor, hyper_parameters: HyperParameters
) -> tf.estimator.EstimatorSpec:
    """Returns what the averaged weights predict, and what signatures give back of it."""
    logits, scaffold = averaged_network(images, hyper_parameters)
    predictions = predictions_of(logits)
    return tf.estimator.EstimatorSpec(
        tf.estimator.ModeKeys.PREDICT,
        predictions=predictions,
        export_outputs=export_outputs_of(predictions),
        scaffold=scaffold,
    )


def averaged_network(
    images: tf.Tensor, hyper_parameters: HyperParameters
) -> tuple[tf.Tensor, v1.train.Scaffold]:
    """Returns the logits, and what restores the averaged weights in place of the weights.

    The weights are float32 whatever training computed in, and so is what is judged and served:
    any CPU computes it alike, and probabilities are not rounded to 8 bits.
    """
    all_layers = network.layers(hyper_parameters.conv_stddev)
    logits = layers.logits_of(images, all_layers, compute_dtype="float32")
    saver = v1.train.Saver(weight_averages(hyper_parameters).variables_to_restore())
    return logits, v1.train.Scaffold(saver=saver)


def losses_of(
    logits: tf.Tensor,
    labels: tf.Tensor,
    all_layers: Sequence[network.Layer],
    hyper_parameters: HyperParameters,
) -> dict[str, tf.Tensor]:
    """Returns each part of the loss, and their sum as `total_loss`; float32 scalars.

    Those are the cross-entropy, and weight_decay · ½ Σ w² of each layer that decays.
    """
    smoothing = hyper_parameters.label_smoothing
    losses = {"cross_entropy": cross_entropy_of(logits, labels, smoothing)}
    decaying = {f"{layer.name}/weights": layer.name for layer in network.decaying(all_layers)}
    for variable in v1.trainable_variables():
        if name := decaying.get(summaries.name_of(variable)):
            losses[f"{name}/weight_loss"] = hyper_parameters.weight_decay * tf.nn.l2_loss(
                variable
            )
    losses["total_loss"] = tf.add_n(list(losses.values()))
    return losses


def cross_entropy_of(logits: tf.Tensor, labels: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Returns -ln of the probability of the true class, the mean over the batch.

    With smoothing it is (1 - smoothing) of that, and smoothing times the mean over all classes:
    no class is asked for with certainty. Source: C. Szegedy et al., "Rethinking the Inception
    Architecture for Computer Vision", section 7 (2015).
    """
    cross_entropy = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    )
    if not smoothing:
        return cross_entropy
    of_all_classes = -tf.reduce_mean(tf.nn.log_softmax(logits))
    return (1 - smoothing) * cross_entropy + smoothing * of_all_classes


def training_step(
    losses: dict[str, tf.Tensor], hyper_parameters: HyperParameters, num_train_examples: int
) -> tf.Operation:
    """Returns the op of one step: update, then the averages of the new weights."""
    step = v1.train.get_or_create_global_step()
    learning_rate = learning_rate_at(step, hyper_parameters, num_train_examples)
    optimizer = optimizer_of(hyper_parameters, learning_rate)
    gradients = gradients_of(losses["total_loss"], optimizer, hyper_parameters.compute_dtype)
    v1.summary.scalar("learning_rate", learning_rate)
    summaries.add_weights(gradients)
    update = optimizer.apply_gradients(gradients, global_step=step)
    with tf.control_dependencies([update]):
        averaged_weights = weight_averages(hyper_parameters).apply(v1.trainable_variables())
    return tf.group(averaged_weights, summaries.add_losses(losses))


def learning_rate_at(
    step: tf.Tensor, hyper_parameters: HyperParameters, num_train_examples: int
) -> tf.Tensor:
    """Returns learning_rate · decay_factor^(step / decay_steps), in whole steps if asked."""
    epochs = hyper_parameters.epochs_per_decay
    return v1.train.exponential_decay(
        hyper_parameters.learning_rate,
        step,
        decay_steps=max(1, int(epochs * num_train_examples / hyper_parameters.batch_size)),
        decay_rate=hyper_parameters.learning_rate_decay_factor,
        staircase=hyper_parameters.decay_staircase,
    )


def optimizer_of(
    hyper_parameters: HyperParameters, learning_rate: tf.Tensor
) -> v1.train.Optimizer:
    """Returns plain gradient descent, that with momentum, or Muon with it."""
    if hyper_parameters.optimizer == "muon":
        return MuonOptimizer(
            learning_rate,
            hyper_parameters.momentum,
            layers=hyper_parameters.muon_layers.split("+"),
            layers_momentum=hyper_parameters.muon_momentum,
            update_rms=hyper_parameters.muon_update_rms,
            steps=hyper_parameters.muon_steps,
        )
    if hyper_parameters.optimizer == "momentum":
        return v1.train.MomentumOptimizer(learning_rate, hyper_parameters.momentum)
    return v1.train.GradientDescentOptimizer(learning_rate)


def gradients_of(
    loss: tf.Tensor, optimizer: v1.train.Optimizer, compute_dtype: str
) -> list[tuple[tf.Tensor, tf.Variable]]:
    """Returns each variable with the gradient of the loss, float32."""
    scale = FLOAT16_LOSS_SCALE if compute_dtype == "float16" else 1.0
    scaled = optimizer.compute_gradients(loss * scale)
    return [(gradient / scale, variable) for gradient, variable in scaled]


def weight_averages(hyper_parameters: HyperParameters) -> tf.train.ExponentialMovingAverage:
    """Returns the moving average of the weights, quicker during the first steps.

    At a step t it keeps min(ema_decay, (1 + t) / (10 + t)) of what it was.
    """
    step = v1.train.get_or_create_global_step()
    return tf.train.ExponentialMovingAverage(hyper_parameters.ema_decay, num_updates=step)


def predictions_of(logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns `probabilities` (n, 10), `class_ids` (n,) and `classes` (n,), the names."""
    class_ids = tf.argmax(logits, axis=1)
    return {
        "probabilities": tf.nn.softmax(logits),
        "class_ids": class_ids,
        "classes": tf.gather(tf.constant(CLASS_NAMES), class_ids),
    }


def export_outputs_of(
    predictions: dict[str, tf.Tensor],
) -> dict[str, tf.estimator.export.ExportOutput]:
    """Returns what signatures give back: the predictions, or every class with its score."""
    scores = predictions["probabilities"]
    all_classes = tf.tile(tf.constant([CLASS_NAMES]), [tf.shape(scores)[0], 1])
    return {
        "serving_default": tf.estimator.export.PredictOutput(predictions),
        "classify": tf.estimator.export.ClassificationOutput(scores, all_classes),
    }
