"""The record of a training: the Trainer writes it, whoever reports on the training reads it."""

import dataclasses
import logging
import posixpath

from contract import records
from contract.files import TRAINING_FILE

log = logging.getLogger("cifar.train")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the averaged weights reached on the eval split at a step."""

    step: int
    accuracy: float
    loss: float


@dataclasses.dataclass(frozen=True)
class TrainingRecord:
    """How a training went; None stands for what nobody measured or what was lost."""

    steps: int = 0  # trained so far, in all
    start_step: int = 0  # where the last process to train went on; 0 if it was the only one
    train_examples: int = 0
    loss: float | None = None  # of the last step
    examples_per_second: float | None = None
    seconds: float | None = None  # of the last process
    compute_dtype: str = ""
    devices: tuple[str, ...] = ()
    cores: int = 0
    evaluations: tuple[Evaluation, ...] = ()  # in order of steps


def read(directory: str) -> TrainingRecord:
    """Returns the record kept in a folder; without one, or with a damaged one, an empty one."""
    import tensorflow as tf  # seconds, which whoever only reads of a run does without

    path = posixpath.join(directory, TRAINING_FILE)
    if not tf.io.gfile.exists(path):
        return TrainingRecord()
    try:
        with tf.io.gfile.GFile(path) as file:
            return records.from_json(TrainingRecord, file.read())
    except ValueError as error:
        log.warning(
            f"{path} is no record of a training ({error}) and is not used: how the steps "
            "before this run went is not known any more."
        )
        return TrainingRecord()


def write(directory: str, record: TrainingRecord) -> None:
    """Writes the record into a folder, at once or not at all."""
    import tensorflow as tf

    path = posixpath.join(directory, TRAINING_FILE)
    with tf.io.gfile.GFile(path + ".new", "w") as file:
        file.write(records.to_json(record))
    tf.io.gfile.rename(path + ".new", path, overwrite=True)
