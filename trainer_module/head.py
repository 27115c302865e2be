"""The parts of a classifier after its logits: loss, metrics, averages, predictions."""

from collections.abc import Sequence

import tensorflow as tf
from tensorflow.compat import v1

from trainer_module import summaries

MODES = tf.estimator.ModeKeys
MAX_CLASSES = 100  # with an accuracy of their own in the record; more would swell it


def classifier_spec(
    mode: str,
    logits: tf.Tensor,
    labels: tf.Tensor | None,
    class_names: Sequence[str],
    optimizer: v1.train.Optimizer,
    ema_decay: float = 0.0,
) -> tf.estimator.EstimatorSpec:
    """Returns the EstimatorSpec of a model_fn, for any mode.

    Args:
        mode: A key of `tf.estimator.ModeKeys`.
        logits: float32, shape (n, classes).
        labels: int64, shape (n,); None in PREDICT.
        class_names: In the order of the labels.
        optimizer: Minimizes the cross-entropy and the regularization losses of the graph.
        ema_decay: The fraction of the averaged weights kept each step; these are evaluated and
            served. 0 for the weights as they are.
    """
    if mode == MODES.TRAIN:
        return train_spec(logits, labels, optimizer, ema_decay)
    scaffold = averaged_scaffold(ema_decay) if ema_decay else None
    if mode == MODES.EVAL:
        return eval_spec(logits, labels, scaffold)
    return predict_spec(logits, class_names, scaffold)


def train_spec(
    logits: tf.Tensor,
    labels: tf.Tensor,
    optimizer: v1.train.Optimizer,
    ema_decay: float = 0.0,
) -> tf.estimator.EstimatorSpec:
    """Returns the loss and the op of one step, including updates of batch norm and averages."""
    losses = {"cross_entropy": cross_entropy_of(logits, labels)}
    penalties = v1.losses.get_regularization_losses()
    losses["total_loss"] = tf.add_n([*losses.values(), *penalties])
    step = v1.train.get_or_create_global_step()
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        update = optimizer.minimize(losses["total_loss"], global_step=step)
    if ema_decay:
        with tf.control_dependencies([update]):
            update = weight_averages(ema_decay).apply(v1.trainable_variables())
    curves = {**losses, "accuracy": accuracy_of(logits, labels)}
    train_op = tf.group(update, summaries.add_curves(curves))
    return tf.estimator.EstimatorSpec(MODES.TRAIN, loss=losses["total_loss"], train_op=train_op)


def eval_spec(
    logits: tf.Tensor, labels: tf.Tensor, scaffold: v1.train.Scaffold | None = None
) -> tf.estimator.EstimatorSpec:
    """Returns the loss, the accuracy and the accuracy on each of up to MAX_CLASSES classes."""
    metrics = {"accuracy": v1.metrics.accuracy(labels, tf.argmax(logits, axis=1))}
    if logits.shape[-1] <= MAX_CLASSES:
        metrics["class_accuracy"] = class_accuracy_of(logits, labels)
    return tf.estimator.EstimatorSpec(
        MODES.EVAL,
        loss=cross_entropy_of(logits, labels),
        eval_metric_ops=metrics,
        scaffold=scaffold,
    )


def predict_spec(
    logits: tf.Tensor, class_names: Sequence[str], scaffold: v1.train.Scaffold | None = None
) -> tf.estimator.EstimatorSpec:
    """Returns the predictions, and the outputs of the signatures."""
    predictions = predictions_of(logits, class_names)
    return tf.estimator.EstimatorSpec(
        MODES.PREDICT,
        predictions=predictions,
        export_outputs=export_outputs_of(predictions, class_names),
        scaffold=scaffold,
    )


def cross_entropy_of(logits: tf.Tensor, labels: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Returns -ln of the probability of the true class, averaged over the batch.

    With smoothing, it is (1 - smoothing) times that, plus smoothing times the mean over all
    classes, so that no class has to be certain. Source: C. Szegedy et al., "Rethinking the
    Inception Architecture for Computer Vision", section 7 (2015).
    """
    cross_entropy = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    )
    if not smoothing:
        return cross_entropy
    of_all_classes = -tf.reduce_mean(tf.nn.log_softmax(logits))
    return (1 - smoothing) * cross_entropy + smoothing * of_all_classes


def accuracy_of(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the fraction of a batch whose largest logit is the true class's."""
    is_right = tf.equal(tf.argmax(logits, axis=1), labels)
    return tf.reduce_mean(tf.cast(is_right, tf.float32))


def class_accuracy_of(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Operation]:
    """Returns the metric of the accuracy on each class, float32, (classes,); 0 of no images."""
    is_of_class = tf.one_hot(labels, logits.shape[-1])
    is_right = tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32)
    counts = tf.reduce_sum(is_of_class, axis=0)
    right = tf.linalg.matvec(is_of_class, is_right, transpose_a=True)
    return v1.metrics.mean_tensor(tf.math.divide_no_nan(right, counts), counts)


def weight_averages(ema_decay: float) -> tf.train.ExponentialMovingAverage:
    """Returns the moving average of the weights, which moves faster in the first steps.

    At step t, it keeps min(ema_decay, (1 + t) / (10 + t)) of its value.
    """
    step = v1.train.get_or_create_global_step()
    return tf.train.ExponentialMovingAverage(ema_decay, num_updates=step)


def averaged_scaffold(ema_decay: float) -> v1.train.Scaffold:
    """Returns the scaffold that restores the averaged weights in place of the weights."""
    saver = v1.train.Saver(weight_averages(ema_decay).variables_to_restore())
    return v1.train.Scaffold(saver=saver)


def predictions_of(logits: tf.Tensor, class_names: Sequence[str]) -> dict[str, tf.Tensor]:
    """Returns `probabilities` (n, classes), `class_ids` (n,) and `classes` (n,), the names."""
    class_ids = tf.argmax(logits, axis=1)
    return {
        "probabilities": tf.nn.softmax(logits),
        "class_ids": class_ids,
        "classes": tf.gather(tf.constant(class_names), class_ids),
    }


def export_outputs_of(
    predictions: dict[str, tf.Tensor], class_names: Sequence[str]
) -> dict[str, tf.estimator.export.ExportOutput]:
    """Returns the outputs of signatures: the predictions, or every class with its score."""
    scores = predictions["probabilities"]
    all_classes = tf.tile(tf.constant([class_names]), [tf.shape(scores)[0], 1])
    return {
        "serving_default": tf.estimator.export.PredictOutput(predictions),
        "classify": tf.estimator.export.ClassificationOutput(scores, all_classes),
    }
