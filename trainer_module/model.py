"""model_fn: the graph that the Estimator trains, evaluates and exports."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.compat import v1

from trainer_module import fast_operations, head, layers, network, summaries
from trainer_module.hyper_parameters import HyperParameters
from trainer_module.muon import MuonOptimizer
from trainer_module.preprocessing import STANDARDIZED_IMAGE

# Gradients below 6e-8 vanish in float16, so the loss is scaled up and the gradients down again.
FLOAT16_LOSS_SCALE = 1024.0


def model_fn(
    features: dict[str, tf.Tensor], labels: tf.Tensor, mode: str, params: dict[str, Any]
) -> tf.estimator.EstimatorSpec:
    """Returns the EstimatorSpec for a mode.

    Args:
        features: `standardized_image`, float32, shape (n, crop, crop, 3).
        labels: int64, shape (n,); None in PREDICT.
        mode: A key of `tf.estimator.ModeKeys`.
        params: `hyper_parameters`, `class_names`, and `num_train_examples` per epoch.
    """
    images = features[STANDARDIZED_IMAGE]
    hyper_parameters, class_names = params["hyper_parameters"], params["class_names"]
    if mode == tf.estimator.ModeKeys.TRAIN:
        num_train_examples = params["num_train_examples"]
        return train_spec(
            images, labels, hyper_parameters, len(class_names), num_train_examples
        )
    is_eval = mode == tf.estimator.ModeKeys.EVAL
    # What is judged and served is float32: any CPU computes it equally, and probabilities are
    # not rounded to 8 bits. Evaluations during training only watch it, so they may be faster.
    logits = layers.logits_of(
        images,
        layers_of(hyper_parameters, len(class_names)),
        hyper_parameters.compute_dtype if is_eval else "float32",
    )
    scaffold = head.averaged_scaffold(hyper_parameters.ema_decay)
    if is_eval:
        return head.eval_spec(logits, labels, scaffold)
    return head.predict_spec(logits, class_names, scaffold)


def train_spec(
    images: tf.Tensor,
    labels: tf.Tensor,
    hyper_parameters: HyperParameters,
    num_classes: int,
    num_train_examples: int,
) -> tf.estimator.EstimatorSpec:
    """Returns the loss and the op of one training step."""
    all_layers = layers_of(hyper_parameters, num_classes)
    # A replica has only a part of the batch.
    parts = fast_operations.num_parts(images.shape[0] or hyper_parameters.batch_size)
    logits = layers.logits_of(images, all_layers, hyper_parameters.compute_dtype, parts)
    v1.summary.image("images", images, max_outputs=8)
    losses = losses_of(logits, labels, all_layers, hyper_parameters)
    curves = {**losses, "accuracy": head.accuracy_of(logits, labels)}
    update = training_step(losses["total_loss"], hyper_parameters, num_train_examples)
    return tf.estimator.EstimatorSpec(
        tf.estimator.ModeKeys.TRAIN,
        loss=losses["total_loss"],
        train_op=tf.group(update, summaries.add_curves(curves)),
    )


def layers_of(hyper_parameters: HyperParameters, num_classes: int) -> tuple[network.Layer, ...]:
    """Returns the network that these hyper-parameters start from."""
    return network.layers(
        hyper_parameters.conv_stddev, num_classes, hyper_parameters.conv_identity
    )


def losses_of(
    logits: tf.Tensor,
    labels: tf.Tensor,
    all_layers: Sequence[network.Layer],
    hyper_parameters: HyperParameters,
) -> dict[str, tf.Tensor]:
    """Returns the loss as `total_loss`, and what it consists of; float32 scalars.

    It is the cross-entropy, plus weight_decay · ½ Σ w² of each layer that decays. With label
    smoothing, `cross_entropy` is without it, as on eval, and the total with it.
    """
    smoothed = head.cross_entropy_of(logits, labels, hyper_parameters.label_smoothing)
    losses = {}
    decaying = {f"{layer.name}/weights": layer.name for layer in network.decaying(all_layers)}
    for variable in v1.trainable_variables() if hyper_parameters.weight_decay else ():
        if name := decaying.get(summaries.name_of(variable)):
            losses[f"{name}/weight_loss"] = hyper_parameters.weight_decay * tf.nn.l2_loss(
                variable
            )
    return {
        "cross_entropy": head.cross_entropy_of(logits, labels),
        **losses,
        "total_loss": tf.add_n([smoothed, *losses.values()]),
    }


def training_step(
    loss: tf.Tensor, hyper_parameters: HyperParameters, num_train_examples: int
) -> tf.Operation:
    """Returns the op of one step: the update, then the averages of the new weights."""
    step = v1.train.get_or_create_global_step()
    learning_rate = learning_rate_at(step, hyper_parameters, num_train_examples)
    optimizer = optimizer_of(hyper_parameters, learning_rate)
    gradients = gradients_of(loss, optimizer, hyper_parameters.compute_dtype)
    summaries.add_curve("learning_rate", learning_rate)
    summaries.add_weights(gradients)
    update = optimizer.apply_gradients(gradients, global_step=step)
    with tf.control_dependencies([update]):
        return head.weight_averages(hyper_parameters.ema_decay).apply(v1.trainable_variables())


def learning_rate_at(
    step: tf.Tensor, hyper_parameters: HyperParameters, num_train_examples: int
) -> tf.Tensor:
    """Returns learning_rate · decay_factor^(step / decay_steps), optionally as a staircase."""
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
    """Returns gradient descent, optionally with momentum, or Muon with momentum."""
    if hyper_parameters.optimizer == "muon":
        return MuonOptimizer(
            learning_rate,
            hyper_parameters.momentum,
            layers=muon_layers_of(hyper_parameters),
            layers_momentum=hyper_parameters.muon_momentum,
            steps=hyper_parameters.muon_steps,
            weight_decay=hyper_parameters.muon_weight_decay,
        )
    if hyper_parameters.optimizer == "momentum":
        return v1.train.MomentumOptimizer(learning_rate, hyper_parameters.momentum)
    return v1.train.GradientDescentOptimizer(learning_rate)


def muon_layers_of(hyper_parameters: HyperParameters) -> dict[str, float]:
    """Returns the layers whose kernels Muon moves, each with the size of an update."""
    return {
        layer.name: hyper_parameters.muon_dense_update_rms
        if isinstance(layer, network.Dense)
        else hyper_parameters.muon_update_rms
        for layer in network.with_weights(layers_of(hyper_parameters, num_classes=2))
        if layer.name in hyper_parameters.muon_layers.split("+")
    }


def gradients_of(
    loss: tf.Tensor, optimizer: v1.train.Optimizer, compute_dtype: str
) -> list[tuple[tf.Tensor, tf.Variable]]:
    """Returns each variable with the gradient of the loss, float32."""
    scale = FLOAT16_LOSS_SCALE if compute_dtype == "float16" else 1.0
    scaled = optimizer.compute_gradients(loss * scale)
    return [(gradient / scale, variable) for gradient, variable in scaled]
