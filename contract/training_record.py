"""The record of a training, which the Trainer writes for reports."""

import dataclasses
import logging
import posixpath
from collections.abc import Mapping
from typing import Any

from contract import records
from contract.files import TRAINING_FILE

log = logging.getLogger("cifar.train")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of the averaged weights on the eval split at a step.

    Attributes:
        class_accuracy: The accuracy on each class, in label order; empty if not measured.
    """

    step: int
    accuracy: float
    loss: float
    class_accuracy: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class TrainingRecord:
    """How a training went; None stands for values that were not measured or were lost."""

    steps: int = 0  # trained so far, in total
    start_step: int = 0  # where the last process resumed; 0 if it was the only one
    train_examples: int = 0
    loss: float | None = None  # of the last step
    examples_per_second: float | None = None
    seconds: float | None = None  # of the last process
    batch_size: int = 0
    optimizer: str = ""  # as the graph calls what it applies: Adam, Momentum, …
    compute_dtype: str = ""
    devices: tuple[str, ...] = ()
    cores: int = 0
    evaluations: tuple[Evaluation, ...] = ()  # in order of steps
    start_version: str = ""  # the version whose weights it started from; empty: random ones
    start_refusal: str = ""  # why it did not start from those it was to start from
    # Hyper-parameters that a search found, which replaced those of the settings.
    found: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read(directory: str) -> TrainingRecord:
    """Returns the record in a folder; an empty one if it is missing or damaged."""
    import tensorflow as tf  # takes seconds, so only when needed

    path = posixpath.join(directory, TRAINING_FILE)
    if not tf.io.gfile.exists(path):
        return TrainingRecord()
    try:
        with tf.io.gfile.GFile(path) as file:
            return records.from_json(TrainingRecord, file.read())
    except ValueError as error:
        log.warning(
            f"{path} is not a valid training record ({error}) and is ignored, so the history "
            "of the steps before this run is lost."
        )
        return TrainingRecord()


def write(directory: str, record: TrainingRecord) -> None:
    """Writes the record into a folder, atomically."""
    import tensorflow as tf

    path = posixpath.join(directory, TRAINING_FILE)
    with tf.io.gfile.GFile(path + ".new", "w") as file:
        file.write(records.to_json(record))
    tf.io.gfile.rename(path + ".new", path, overwrite=True)
