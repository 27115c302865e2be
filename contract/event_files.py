"""Reads event files: the scalars that training writes for TensorBoard."""

import logging
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.core.util import event_pb2

log = logging.getLogger(__name__)


def read_scalars(events_dir: str) -> dict[str, list[tuple[int, float]]]:
    """Returns every scalar in a folder's event files: by tag, (step, value) in step order.

    A run that was killed and resumed wrote some steps twice; the later value counts.
    """
    by_tag: dict[str, dict[int, float]] = {}
    for path in sorted(tf.io.gfile.glob(f"{events_dir}/events.out.tfevents.*")):
        for event in read_events(path):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    by_tag.setdefault(value.tag, {})[event.step] = value.simple_value
    return {tag: sorted(points.items()) for tag, points in by_tag.items()}


def read_events(path: str) -> Iterator[event_pb2.Event]:
    """Yields the events of a file, up to a truncated one: its writer may have been killed."""
    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            yield event_pb2.Event.FromString(record)
    except tf.errors.DataLossError as error:
        log.warning(f"{path} is truncated; the events before that are used: {error.message}.")
