"""run_fn: what TFX's Trainer calls, and the summary of this folder."""

import dataclasses
import io
import json
import logging
import math
import os
import posixpath
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from contract import example_files, features, training_record
from contract.files import PREDICTIONS_FILE, TRAINING_FILE
from pipeline_def.config import PipelineConfig
from trainer_module import (
    checkpoints,
    export,
    failures,
    hooks,
    inputs,
    model,
    preprocessing,
)

logger = logging.getLogger("cifar.train")

PREDICTION_COUNT = 200  # eval examples whose predictions the serving check compares
MAX_SKEW = 1e-4  # of standardized pixels
_KEPT_CHECKPOINTS = 3


def run_fn(fn_args: FnArgs) -> None:
    """Trains the classifier, or goes on where a killed run was, and exports it for serving.

    Args:
        fn_args: What Trainer hands over. `custom_config` holds `config`, the fields of
            PipelineConfig that training reads, and `checkpoint_dir`, the folder that a run
            with the same data, code and settings comes back to.

    Raises:
        FileNotFoundError: There are no examples.
        RuntimeError: Training and the transform graph disagree about pixels.
        TrainingDivergedError: The loss or a weight is no number any more.
    """
    config = PipelineConfig(**fn_args.custom_config["config"])
    train_files = example_files.find(fn_args.train_files)
    eval_files = example_files.find(fn_args.eval_files)
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    examples = example_files.read_first(eval_files, PREDICTION_COUNT)
    check_no_skew(transform_output, examples)

    num_train_examples = example_files.count(train_files)
    checkpoint_dir = fn_args.custom_config["checkpoint_dir"]
    if is_chief():
        checkpoints.repair(checkpoint_dir)
    with tf.Graph().as_default():  # in eager mode a cluster would have to be set up earlier
        estimator = build_estimator(config, checkpoint_dir, num_train_examples)
        with failures.disk_full_explained(
            "checkpoints and summaries",
            checkpoint_dir,
            "Training goes on from the last whole checkpoint.",
        ):
            train(
                estimator, config, train_files, num_train_examples, eval_files, transform_output
            )
    if not is_chief():
        return
    with failures.failed_export_explained(fn_args.serving_model_dir, checkpoint_dir):
        export.export_for_serving(
            estimator, fn_args.serving_model_dir, transform_output, examples
        )
        keep_run(estimator.model_dir, fn_args.model_run_dir)
        predictions_path = posixpath.join(fn_args.model_run_dir, PREDICTIONS_FILE)
        write_predictions(estimator, predictions_path, examples, transform_output)


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
        difference = tf.abs(transformed[features.STANDARDIZED_IMAGE] - expected)
        skew = float(session.run(tf.reduce_max(difference)))
    if not skew <= MAX_SKEW:
        raise RuntimeError(
            f"The transform graph and the training path disagree by up to {skew:.3g} in "
            f"standardized pixels; {MAX_SKEW:g} is allowed. The graph is from other code: "
            "run the pipeline from Transform on (`--set enable_cache=false`)."
        )


def build_estimator(
    config: PipelineConfig, checkpoint_dir: str, num_train_examples: int
) -> tf.estimator.Estimator:
    """Returns the Estimator, which finds its earlier checkpoints in `checkpoint_dir`."""
    cpus = tf.config.list_logical_devices("CPU")
    run_config = tf.estimator.RunConfig(
        model_dir=checkpoint_dir,
        train_distribute=distribution_strategy(config),
        tf_random_seed=config.seed,
        save_summary_steps=config.summary_every_steps,
        save_checkpoints_steps=config.checkpoint_every_steps,
        keep_checkpoint_max=_KEPT_CHECKPOINTS,
        log_step_count_steps=config.log_every_steps,
        session_config=tf.compat.v1.ConfigProto(
            allow_soft_placement=True,
            log_device_placement=config.log_device_placement,
            device_count={"CPU": len(cpus)},
        ),
    )
    params = {"config": config, "num_train_examples": num_train_examples}
    return tf.estimator.Estimator(model.model_fn, config=run_config, params=params)


def distribution_strategy(config: PipelineConfig) -> tf.distribute.Strategy | None:
    """Returns how a batch is shared: among the processes of TF_CONFIG, devices, or not at all.

    Gradients are averaged over all of them before each update, so the result is that of one
    device with the whole batch.
    """
    if is_cluster():
        evaluates = _tf_config()["task"]["type"] == "evaluator"
        return None if evaluates else tf.distribute.MultiWorkerMirroredStrategy()
    if config.distribution == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        return tf.distribute.MirroredStrategy(
            [device.name for device in tf.config.list_logical_devices(kind)]
        )
    return None


def is_cluster() -> bool:
    """Returns whether TF_CONFIG names this process a part of a cluster."""
    return "cluster" in _tf_config()


def is_chief() -> bool:
    """Returns whether this process hands over the model: alone it does, in a cluster one."""
    if not is_cluster():
        return True
    task = _tf_config()["task"]
    chief = "chief" if "chief" in _tf_config()["cluster"] else "worker"
    return task["type"] == chief and int(task["index"]) == 0


def _tf_config() -> dict[str, Any]:
    return json.loads(os.environ.get("TF_CONFIG", "{}"))


def train(
    estimator: tf.estimator.Estimator,
    config: PipelineConfig,
    train_files: Sequence[str],
    num_train_examples: int,
    eval_files: Sequence[str],
    transform_output: tft.TFTransformOutput,
) -> None:
    """Trains up to `train_steps`, evaluating beside it, and keeps the record of it.

    The record lies with the checkpoints and is written ahead of each, so that a run which
    finds its training already done still knows how it went.
    """
    model_dir = estimator.model_dir
    start_step = checkpoints.newest_step(model_dir)
    before = training_record.read(model_dir)
    evaluations = [e for e in before.evaluations if e.step <= start_step]
    record = training_record.TrainingRecord(
        steps=start_step,
        train_examples=num_train_examples,
        compute_dtype=config.compute_dtype,
        devices=tuple(device.name for device in tf.config.list_logical_devices()),
        cores=os.cpu_count() or 1,
    )
    if before.steps == start_step >= config.train_steps:
        record = before
    eval_fn = inputs.eval_input_fn(eval_files, transform_output)

    def train_input_fn(
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        batches = inputs.train_dataset(train_files, num_train_examples, config, start_step)
        return inputs.share(batches, input_context)

    def evaluate() -> None:
        metrics = estimator.evaluate(eval_fn)
        evaluation = training_record.Evaluation(
            int(metrics["global_step"]), float(metrics["accuracy"]), float(metrics["loss"])
        )
        evaluations.append(evaluation)
        logger.info(
            f"step {evaluation.step:,} evaluated  accuracy {evaluation.accuracy:.4f}  "
            f"loss {evaluation.loss:.3f}"
        )

    if start_step < config.train_steps:
        log_hook = hooks.LogHook(
            config.train_steps, config.batch_size, config.log_every_steps, config.learning_rate
        )
        start_seconds = time.perf_counter()

        def record_at(step: int) -> training_record.TrainingRecord:
            return dataclasses.replace(
                record,
                steps=step,
                start_step=start_step,
                loss=None if math.isnan(log_hook.loss) else log_hook.loss,
                examples_per_second=log_hook.examples_per_second,
                seconds=time.perf_counter() - start_seconds,
                evaluations=tuple(evaluations),
            )

        listeners = [hooks.FiniteGuard(config.learning_rate)]
        if is_chief():
            listeners.append(
                hooks.RecordListener(
                    lambda step: training_record.write(model_dir, record_at(step))
                )
            )
        if is_cluster():
            tf.estimator.train_and_evaluate(
                estimator,
                tf.estimator.TrainSpec(
                    train_input_fn, config.train_steps, [log_hook], listeners
                ),
                tf.estimator.EvalSpec(eval_fn, None, start_delay_secs=0, throttle_secs=0),
            )
            if not is_chief():
                return
        else:
            listeners.append(hooks.EvalListener(evaluate, config.eval_every_steps, log_hook))
            estimator.train(train_input_fn, [log_hook], None, config.train_steps, listeners)
        record = record_at(log_hook.step)
    else:
        logger.info(f"All {start_step:,} steps were trained before; nothing to train.")
    if not evaluations or evaluations[-1].step < config.train_steps:
        evaluate()
    record = dataclasses.replace(record, evaluations=tuple(evaluations))
    training_record.write(model_dir, record)


def keep_run(checkpoint_dir: str, model_run_dir: str) -> None:
    """Copies the summary and the event files, for TensorBoard, to the model run artifact."""
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
