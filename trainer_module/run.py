"""run_fn: what TFX's Trainer calls, and what it leaves in the model and the model run."""

import contextlib
import io
import posixpath
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from contract import example_files, features
from contract.files import PREDICTIONS_FILE, TRAINING_FILE
from trainer_module import cluster, export, inputs, preprocessing, training
from trainer_module.hyper_parameters import HyperParameters

PREDICTION_COUNT = 200  # eval examples whose predictions the serving check compares
MAX_SKEW = 1e-4  # of standardized pixels


def run_fn(fn_args: FnArgs) -> None:
    """Trains the classifier, or goes on where a killed run was, and exports it for serving.

    Args:
        fn_args: What Trainer hands over. `custom_config` holds `hyper_parameters`, by name, and
            `checkpoint_dir`, the folder that a run with the same data, network and
            hyper-parameters comes back to.

    Raises:
        FileNotFoundError: There are no examples.
        RuntimeError: Training and the transform graph disagree about pixels, or the export
            failed.
        TrainingDivergedError: The loss or a weight is no number any more.
    """
    hyper_parameters = HyperParameters(**fn_args.custom_config["hyper_parameters"])
    checkpoint_dir = fn_args.custom_config["checkpoint_dir"]
    data = find_data(fn_args)
    examples = example_files.read_first(data.eval_files, PREDICTION_COUNT)
    check_no_skew(data.transform_output, examples)
    estimator = training.train(hyper_parameters, checkpoint_dir, data)
    if cluster.is_chief():
        with failed_export_explained(fn_args.serving_model_dir, checkpoint_dir):
            hand_over(estimator, fn_args, data.transform_output, examples)


def find_data(fn_args: FnArgs) -> training.Data:
    """Returns what is to be trained on; raises FileNotFoundError if there are no examples."""
    train_files = example_files.find(fn_args.train_files)
    return training.Data(
        train_files,
        example_files.count(train_files),
        example_files.find(fn_args.eval_files),
        tft.TFTransformOutput(fn_args.transform_graph_path),
    )


def check_no_skew(transform_output: tft.TFTransformOutput, examples: Sequence[bytes]) -> None:
    """Proves that training without distortion and the transform graph see the same pixels.

    Raises:
        RuntimeError: They differ by more than MAX_SKEW, as they do when a cached transform
            graph is older than the code.
    """
    spec = transform_output.raw_feature_spec()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        raw = tf.io.parse_example(list(examples), spec)
        raw_images = raw[features.IMAGE]
        expected = preprocessing.standardize(
            preprocessing.central_crop(preprocessing.decode(raw_images))
        )
        transformed = transform_output.transform_raw_features(raw)
        difference = tf.abs(transformed[preprocessing.STANDARDIZED_IMAGE] - expected)
        skew = float(session.run(tf.reduce_max(difference)))
    if not skew <= MAX_SKEW:
        raise RuntimeError(
            f"The transform graph and the training path disagree by up to {skew:.3g} in "
            f"standardized pixels; {MAX_SKEW:g} is allowed. The graph is from other code: "
            "run the pipeline from Transform on (`--set enable_cache=false`)."
        )


@contextlib.contextmanager
def failed_export_explained(export_dir: str, checkpoint_dir: str) -> Iterator[None]:
    """Says that the training is safe when what follows it fails.

    Raises:
        RuntimeError: The model could not be exported.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise RuntimeError(
            f"The model could not be exported to {export_dir}: {reason} Its training is "
            f"finished and kept in {checkpoint_dir}: mend the reason and run again, and only "
            "the export is repeated. Versions pushed before are untouched."
        ) from error


def hand_over(
    estimator: tf.estimator.Estimator,
    fn_args: FnArgs,
    transform_output: tft.TFTransformOutput,
    examples: Sequence[bytes],
) -> None:
    """Writes the model, and into the model run what later stages know of its training."""
    export.export_for_serving(estimator, fn_args.serving_model_dir, transform_output, examples)
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
    """Writes what the Estimator itself predicts: `keys` (n,) and `probabilities` (n, 10)."""
    predicted = estimator.predict(inputs.predict_input_fn(examples, transform_output))
    probabilities = np.stack([prediction["probabilities"] for prediction in predicted])
    content = io.BytesIO()  # np.savez seeks, which files of a bucket cannot
    np.savez(
        content, keys=np.array(example_files.keys_of(examples)), probabilities=probabilities
    )
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(content.getvalue())
