"""Writes a training's output for later stages: the model, its record, its predictions."""

import contextlib
import io
import posixpath
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from contract import example_files
from contract.files import PREDICTIONS_FILE, TRAINING_FILE
from trainer_module import export, inputs


@contextlib.contextmanager
def failed_export_explained(export_dir: str, checkpoint_dir: str) -> Iterator[None]:
    """Explains, if the export fails, that the training itself is safe.

    Raises:
        RuntimeError: The model could not be exported.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise RuntimeError(
            f"The model could not be exported to {export_dir}: {reason} The training is "
            f"complete and kept in {checkpoint_dir}. Fix the cause and run again, which "
            "repeats only the export. Existing versions are not affected."
        ) from error


def hand_over(
    estimator: tf.estimator.Estimator,
    fn_args: FnArgs,
    transform_output: tft.TFTransformOutput,
    image_shape: tuple[int, int, int],
    examples: Sequence[bytes],
) -> None:
    """Writes the model, and the record of its training to the model run."""
    export.export_for_serving(
        estimator, fn_args.serving_model_dir, transform_output, image_shape, examples
    )
    copy_training_files(estimator.model_dir, fn_args.model_run_dir)
    predictions_path = posixpath.join(fn_args.model_run_dir, PREDICTIONS_FILE)
    write_predictions(estimator, predictions_path, examples, transform_output)


def copy_training_files(checkpoint_dir: str, model_run_dir: str) -> None:
    """Copies the record and the event files, for TensorBoard, to the model run."""
    for directory in ("", "eval"):
        source_dir = posixpath.join(checkpoint_dir, directory)
        target_dir = posixpath.join(model_run_dir, directory)
        tf.io.gfile.makedirs(target_dir)
        for pattern in ("events.out.*", TRAINING_FILE):
            for path in tf.io.gfile.glob(posixpath.join(source_dir, pattern)):
                target = posixpath.join(target_dir, posixpath.basename(path))
                tf.io.gfile.copy(path, target, overwrite=True)


def write_predictions(
    estimator: tf.estimator.Estimator,
    path: str,
    examples: Sequence[bytes],
    transform_output: tft.TFTransformOutput,
) -> None:
    """Writes the Estimator's predictions: `keys` (n,) and `probabilities` (n, classes)."""
    predicted = estimator.predict(inputs.predict_input_fn(examples, transform_output))
    probabilities = np.stack([prediction["probabilities"] for prediction in predicted])
    content = io.BytesIO()  # np.savez seeks, which files in a bucket do not support
    np.savez(
        content, keys=np.array(example_files.keys_of(examples)), probabilities=probabilities
    )
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(content.getvalue())
