"""Training, from the newest intact checkpoint to the last step, with evaluations.

Any trainer module may call `run` with a model_fn, its hyper-parameters and what the network
sees of an image. This module adds inputs, checkpoints, hooks, the record of the training, the
export and the predictions that later stages compare.
"""

import dataclasses
import logging
import os
import posixpath
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.compat import v1
from tfx.components.trainer.fn_args_utils import FnArgs

from contract import events, example_files, features, image_set, training_record
from contract.cluster import is_chief, is_cluster, is_evaluator
from contract.image_set import ImageSet
from contract.training_record import Evaluation, TrainingRecord
from trainer_module import (
    checkpoints,
    cluster,
    compute_dtype,
    hand_over,
    hooks,
    inputs,
    preprocessing,
    warm_start,
)
from trainer_module.loop import Loop

log = logging.getLogger("cifar.train")

PREDICTION_COUNT = 200  # eval examples whose predictions the serving check compares
MAX_SKEW = 1e-4  # of standardized pixels
_KEPT_CHECKPOINTS = 3

ModelFn = Callable[..., tf.estimator.EstimatorSpec]
Prepare = Callable[[tf.Tensor], dict[str, tf.Tensor]]
Augment = Callable[[tf.Tensor, tf.Tensor, Any], dict[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Data:
    """What a training reads."""

    train_files: list[str]
    num_train_examples: int
    eval_files: list[str]
    transform_output: tft.TFTransformOutput
    image_set: ImageSet


@dataclasses.dataclass(frozen=True)
class Task:
    """The definition of a training.

    Attributes:
        model_fn: As for `tf.estimator.Estimator`.
        params: Its params: `hyper_parameters`, `class_names` in the order of the labels, and
            `num_train_examples` per epoch.
        make_features: Returns what the network sees of images in training, given a seed.
        start: The weights that it starts from.
    """

    model_fn: ModelFn
    params: dict[str, Any]
    loop: Loop
    make_features: inputs.MakeFeatures
    start: warm_start.Start


def run(
    fn_args: FnArgs,
    model_fn: ModelFn,
    kind: type,
    prepare: Prepare,
    augment: Augment | None = None,
) -> None:
    """Trains a classifier, or resumes a killed run, and exports it for serving.

    Args:
        fn_args: The Trainer's arguments. `custom_config` contains `hyper_parameters`, by name,
            and `checkpoint_dir`, the folder from which a run with the same data, network and
            hyper-parameters resumes. It may name a version to start from.
        model_fn: As for `tf.estimator.Estimator`, with params as in `Task.params`.
            `head.classifier_spec` makes its result from logits.
        kind: The dataclass of the hyper-parameters; `Loop` lists those that are read here.
        prepare: Returns what the network sees of images, uint8, (n, height, width, 3), by
            name. The transform graph must do the same; `preprocessing.transform` ensures it.
        augment: Returns what the network sees of images in training, given a seed, int64,
            (2,), and the hyper-parameters; by default what `prepare` returns.

    Raises:
        FileNotFoundError: There are no examples.
        RuntimeError: Training and the transform graph disagree about pixels, or the export
            failed.
        ValueError: Training cannot start from the version that the settings name.
        hooks.TrainingDivergedError: The loss or a weight is NaN or infinite.
    """
    hyper_parameters = compute_dtype.resolved(kind(**fn_args.custom_config["hyper_parameters"]))
    checkpoint_dir = fn_args.custom_config["checkpoint_dir"]
    data = find_data(fn_args)
    examples = example_files.read_first(data.eval_files, PREDICTION_COUNT)
    check_no_skew(data.transform_output, data.image_set.image_size, examples, prepare)
    params = {
        "hyper_parameters": hyper_parameters,
        "class_names": data.image_set.class_names,
        "num_train_examples": data.num_train_examples,
    }

    def build_network() -> None:
        images = v1.placeholder(tf.uint8, [None, *data.image_set.image_shape])
        model_fn(prepare(images), None, mode=tf.estimator.ModeKeys.PREDICT, params=params)

    start = warm_start.find(
        fn_args.custom_config,
        checkpoint_dir,
        data.image_set.class_names,
        lambda: warm_start.shapes_in_graph(build_network),
    )
    hyper_parameters = warm_start.with_rate(hyper_parameters, start)
    task = Task(
        model_fn,
        {**params, "hyper_parameters": hyper_parameters},
        loop=Loop.of(hyper_parameters),
        make_features=lambda images, seed: (
            augment(images, seed, hyper_parameters) if augment else prepare(images)
        ),
        start=start,
    )
    estimator = train(task, checkpoint_dir, data)
    if is_chief():
        with hand_over.failed_export_explained(fn_args.serving_model_dir, checkpoint_dir):
            image_shape = data.image_set.image_shape
            hand_over.hand_over(
                estimator, fn_args, data.transform_output, image_shape, examples
            )


def find_data(fn_args: FnArgs) -> Data:
    """Returns the data to train on; raises FileNotFoundError if there are no examples."""
    train_files = example_files.find(fn_args.train_files)
    return Data(
        train_files,
        example_files.count(train_files),
        example_files.find(fn_args.eval_files),
        tft.TFTransformOutput(fn_args.transform_graph_path),
        image_set.read(posixpath.dirname(fn_args.schema_path)),
    )


def check_no_skew(
    transform_output: tft.TFTransformOutput,
    image_size: int,
    examples: Sequence[bytes],
    prepare: Prepare,
) -> None:
    """Checks that training without distortion and the transform graph see the same pixels.

    Raises:
        RuntimeError: They differ by more than MAX_SKEW, for example because a cached transform
            graph is older than the code.
    """
    spec = transform_output.raw_feature_spec()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        raw = tf.io.parse_example(list(examples), spec)
        expected = prepare(preprocessing.decode(raw[features.IMAGE], image_size))
        transformed = transform_output.transform_raw_features(raw)
        if missing := expected.keys() - transformed.keys():
            raise RuntimeError(
                f"The transform graph has no {', '.join(sorted(missing))}, which training "
                f"prepares: preprocessing_fn returns {', '.join(sorted(transformed))}."
            )
        differences = [
            tf.reduce_max(tf.abs(transformed[name] - tensor))
            for name, tensor in expected.items()
        ]
        skew = float(max(session.run(differences)))
    if not skew <= MAX_SKEW:
        raise RuntimeError(
            f"The transform graph and the training path disagree by up to {skew:.3g} in what "
            f"the network sees; {MAX_SKEW:g} is allowed. Different code made the graph; run "
            "the pipeline from Transform on (`--set enable_cache=false`)."
        )


class Journal:
    """Keeps the record of a training beside its checkpoints.

    It is written before each checkpoint, so that a run that resumes from one, even from the
    last, has the record up to that point.
    """

    def __init__(self, checkpoint_dir: str, start_step: int, record: TrainingRecord) -> None:
        """Takes the step at which this process resumes, and the record of earlier steps."""
        self.start_step = start_step
        self._checkpoint_dir = checkpoint_dir
        self._record = record
        self._start_seconds = time.perf_counter()

    @property
    def evaluated_step(self) -> int:
        """Returns the last evaluated step; 0 without any."""
        return self._record.evaluations[-1].step if self._record.evaluations else 0

    def write(self, step: int, log_hook: hooks.LogHook) -> None:
        """Writes the record of this process up to a step."""
        self._record = dataclasses.replace(
            self._record,
            steps=step,
            start_step=self.start_step,
            loss=log_hook.loss,
            examples_per_second=log_hook.examples_per_second,
            seconds=time.perf_counter() - self._start_seconds,
            optimizer=log_hook.optimizer,
        )
        training_record.write(self._checkpoint_dir, self._record)

    def add(self, evaluation: Evaluation) -> None:
        """Writes the result of an evaluation."""
        evaluations = (*self._record.evaluations, evaluation)
        self._record = dataclasses.replace(self._record, evaluations=evaluations)
        training_record.write(self._checkpoint_dir, self._record)


def train(task: Task, checkpoint_dir: str, data: Data) -> tf.estimator.Estimator:
    """Returns the Estimator, trained up to `train_steps`.

    It writes checkpoints, summaries and the training record to `checkpoint_dir`.
    """
    if is_chief():
        checkpoints.repair(checkpoint_dir)
    with tf.Graph().as_default():  # in eager mode a cluster would have to be set up earlier
        estimator = build_estimator(task, checkpoint_dir)
        journal = open_journal(checkpoint_dir, task, data)
        if journal.start_step >= task.loop.train_steps:
            log.info(f"All {journal.start_step:,} steps have been trained already.")
        elif is_cluster():
            train_in_cluster(estimator, task, data, journal)
        else:
            train_alone(estimator, task, data, journal)
        if is_chief() and journal.evaluated_step < task.loop.train_steps:
            evaluate(estimator, data, journal)
    return estimator


def build_estimator(task: Task, checkpoint_dir: str) -> tf.estimator.Estimator:
    """Returns the Estimator, which finds its earlier checkpoints in `checkpoint_dir`."""
    cpus = tf.config.list_logical_devices("CPU")
    run_config = tf.estimator.RunConfig(
        model_dir=checkpoint_dir,
        train_distribute=cluster.distribution_strategy(task.loop.distribution),
        tf_random_seed=task.loop.seed,
        save_summary_steps=task.loop.summary_every_steps,
        save_checkpoints_steps=min(
            task.loop.checkpoint_every_steps, task.loop.eval_every_steps
        ),
        keep_checkpoint_max=_KEPT_CHECKPOINTS,
        log_step_count_steps=task.loop.log_every_steps,
        session_config=tf.compat.v1.ConfigProto(
            allow_soft_placement=True,
            log_device_placement=task.loop.log_device_placement,
            device_count={"CPU": len(cpus)},
        ),
    )
    return tf.estimator.Estimator(task.model_fn, config=run_config, params=task.params)


def open_journal(checkpoint_dir: str, task: Task, data: Data) -> Journal:
    """Returns the journal of a training, with the record of earlier steps."""
    loop = task.loop
    start_step = checkpoints.newest_step(checkpoint_dir)
    record = training_record.read(checkpoint_dir)
    evaluations = tuple(e for e in record.evaluations if e.step <= start_step)
    if not record.steps == start_step >= loop.train_steps:
        record = TrainingRecord(
            steps=start_step,
            train_examples=data.num_train_examples,
            batch_size=loop.batch_size,
            compute_dtype=loop.compute_dtype,
            devices=tuple(device.name for device in tf.config.list_logical_devices()),
            cores=os.cpu_count() or 1,
            start_version=task.start.version,
            start_refusal=task.start.refusal,
        )
    return Journal(
        checkpoint_dir, start_step, dataclasses.replace(record, evaluations=evaluations)
    )


def train_alone(
    estimator: tf.estimator.Estimator,
    task: Task,
    data: Data,
    journal: Journal,
) -> None:
    """Trains in this process only, with evaluations in between."""
    log_hook = hooks.LogHook(task.loop, estimator.model_dir)
    listeners = [
        hooks.FiniteGuard(task.loop.learning_rate),
        hooks.RecordListener(lambda step: journal.write(step, log_hook)),
        hooks.EvalListener(lambda: evaluate(estimator, data, journal), task.loop, log_hook),
    ]
    input_fn = train_input_fn(task, data, journal.start_step)
    estimator.train(
        input_fn, [*start_hooks(task), log_hook], None, task.loop.train_steps, listeners
    )
    journal.write(log_hook.step, log_hook)


def train_in_cluster(
    estimator: tf.estimator.Estimator,
    task: Task,
    data: Data,
    journal: Journal,
) -> None:
    """Runs this process's role in training; the evaluator process evaluates in parallel."""
    log_hook = hooks.LogHook(task.loop, estimator.model_dir if is_chief() else "")
    listeners = [hooks.FiniteGuard(task.loop.learning_rate)]
    if is_chief():
        listeners.append(hooks.RecordListener(lambda step: journal.write(step, log_hook)))
    tf.estimator.train_and_evaluate(
        estimator,
        tf.estimator.TrainSpec(
            train_input_fn(task, data, journal.start_step),
            task.loop.train_steps,
            [*start_hooks(task), log_hook, hooks.NoRecovery()],
            listeners,
        ),
        tf.estimator.EvalSpec(
            inputs.eval_input_fn(data.eval_files, data.transform_output),
            steps=None,
            start_delay_secs=0,
            throttle_secs=0,
        ),
    )
    if not is_evaluator() and log_hook.step < task.loop.train_steps:
        raise RuntimeError(
            f"Training ended at step {log_hook.step:,} of {task.loop.train_steps:,}, because "
            "another process of the cluster was lost."
        )
    if is_chief():
        journal.write(log_hook.step, log_hook)


def start_hooks(task: Task) -> list[warm_start.StartHook]:
    """Returns the hook that restores the weights to start from, if there are any."""
    return [warm_start.StartHook(task.start.variables)] if task.start.variables else []


def train_input_fn(task: Task, data: Data, start_step: int) -> Callable[..., tf.data.Dataset]:
    """Returns the input_fn of this process, starting with the batch of `start_step`."""

    def make_batches(
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        batches = inputs.train_dataset(
            data.train_files,
            data.num_train_examples,
            data.image_set.image_size,
            task.loop,
            start_step,
            task.make_features,
        )
        return inputs.parts_of_process(batches, input_context)

    return make_batches


def evaluate(estimator: tf.estimator.Estimator, data: Data, journal: Journal) -> None:
    """Evaluates the newest checkpoint on all of eval, only for the record."""
    metrics = estimator.evaluate(inputs.eval_input_fn(data.eval_files, data.transform_output))
    step, accuracy, loss = (metrics[name] for name in ("global_step", "accuracy", "loss"))
    by_class = tuple(round(float(value), 4) for value in metrics.get("class_accuracy", ()))
    journal.add(Evaluation(int(step), float(accuracy), float(loss), by_class))
    log.info(f"step {step:,} evaluated  accuracy {accuracy:.1%}  loss {loss:.3f}")
    events.send(events.Evaluated(int(step), float(accuracy)))
