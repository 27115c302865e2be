"""The metrics of an evaluation, compared with NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from trainer_module import head


def evaluate(batches: list[tuple[np.ndarray, np.ndarray]], num_classes: int) -> dict:
    """Returns what Estimator would report of batches of logits and labels."""
    with tf.Graph().as_default(), v1.Session() as session:
        logits = v1.placeholder(tf.float32, (None, num_classes))
        labels = v1.placeholder(tf.int64, (None,))
        metrics = head.eval_spec(logits, labels).eval_metric_ops
        session.run(v1.local_variables_initializer())
        for values, truth in batches:
            updates = [update for _, update in metrics.values()]
            session.run(updates, {logits: values, labels: truth})
        return session.run({name: value for name, (value, _) in metrics.items()})


def test_the_accuracy_on_each_class_counts_the_images_of_all_batches():
    draws = np.random.default_rng(0)
    batches = [
        (draws.normal(size=(n, 4)).astype(np.float32), draws.integers(3, size=n))
        for n in (32, 7)
    ]
    found = evaluate(batches, num_classes=4)
    logits, labels = map(np.concatenate, zip(*batches, strict=True))
    is_right = logits.argmax(axis=1) == labels
    expected = [is_right[labels == label].mean() for label in range(3)]
    assert found["class_accuracy"] == pytest.approx([*expected, 0.0])  # no image of the last
    assert found["accuracy"] == pytest.approx(is_right.mean())


def test_more_classes_than_a_record_holds_have_no_accuracy_of_their_own():
    num_classes = head.MAX_CLASSES + 1
    logits = np.eye(num_classes, dtype=np.float32)
    found = evaluate([(logits, np.arange(num_classes))], num_classes)
    assert found == {"accuracy": 1.0}
