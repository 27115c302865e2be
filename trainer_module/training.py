"""Training: from the newest whole checkpoint to the last step, evaluating on the way."""

import dataclasses
import logging
import os
import time
from collections.abc import Callable

import tensorflow as tf
import tensorflow_transform as tft

from contract import training_record
from contract.training_record import Evaluation, TrainingRecord
from trainer_module import checkpoints, cluster, hooks, inputs, model
from trainer_module.hyper_parameters import HyperParameters

log = logging.getLogger("cifar.train")

_KEPT_CHECKPOINTS = 3


@dataclasses.dataclass(frozen=True)
class Data:
    """What a training reads."""

    train_files: list[str]
    num_train_examples: int
    eval_files: list[str]
    transform_output: tft.TFTransformOutput


class Journal:
    """Keeps the record of a training beside its checkpoints.

    It is written ahead of each checkpoint: whoever goes on from one, even from the last, knows
    how the training went until there.
    """

    def __init__(self, checkpoint_dir: str, start_step: int, record: TrainingRecord) -> None:
        """Takes where this process goes on, and what is known of the steps before."""
        self.start_step = start_step
        self._checkpoint_dir = checkpoint_dir
        self._record = record
        self._start_seconds = time.perf_counter()

    @property
    def evaluated_step(self) -> int:
        """Returns the step evaluated last; 0 without any."""
        return self._record.evaluations[-1].step if self._record.evaluations else 0

    def write(self, step: int, log_hook: hooks.LogHook) -> None:
        """Writes how this process trained up to a step."""
        self._record = dataclasses.replace(
            self._record,
            steps=step,
            start_step=self.start_step,
            loss=log_hook.loss,
            examples_per_second=log_hook.examples_per_second,
            seconds=time.perf_counter() - self._start_seconds,
        )
        training_record.write(self._checkpoint_dir, self._record)

    def add(self, evaluation: Evaluation) -> None:
        """Writes what an evaluation found."""
        evaluations = (*self._record.evaluations, evaluation)
        self._record = dataclasses.replace(self._record, evaluations=evaluations)
        training_record.write(self._checkpoint_dir, self._record)


def train(
    hyper_parameters: HyperParameters, checkpoint_dir: str, data: Data
) -> tf.estimator.Estimator:
    """Returns the Estimator, trained up to `train_steps`.

    Checkpoints, summaries and the record of the training are left in `checkpoint_dir`.
    """
    if cluster.is_chief():
        checkpoints.repair(checkpoint_dir)
    with tf.Graph().as_default():  # in eager mode a cluster would have to be set up earlier
        estimator = build_estimator(hyper_parameters, checkpoint_dir, data.num_train_examples)
        journal = open_journal(checkpoint_dir, hyper_parameters, data)
        if journal.start_step >= hyper_parameters.train_steps:
            log.info(f"All {journal.start_step:,} steps were trained before; nothing to train.")
        elif cluster.is_cluster():
            train_in_cluster(estimator, hyper_parameters, data, journal)
        else:
            train_alone(estimator, hyper_parameters, data, journal)
        if cluster.is_chief() and journal.evaluated_step < hyper_parameters.train_steps:
            evaluate(estimator, data, journal)
    return estimator


def build_estimator(
    hyper_parameters: HyperParameters, checkpoint_dir: str, num_train_examples: int
) -> tf.estimator.Estimator:
    """Returns the Estimator, which finds its earlier checkpoints in `checkpoint_dir`."""
    cpus = tf.config.list_logical_devices("CPU")
    run_config = tf.estimator.RunConfig(
        model_dir=checkpoint_dir,
        train_distribute=cluster.distribution_strategy(hyper_parameters.distribution),
        tf_random_seed=hyper_parameters.seed,
        save_summary_steps=hyper_parameters.summary_every_steps,
        save_checkpoints_steps=hyper_parameters.checkpoint_every_steps,
        keep_checkpoint_max=_KEPT_CHECKPOINTS,
        log_step_count_steps=hyper_parameters.log_every_steps,
        session_config=tf.compat.v1.ConfigProto(
            allow_soft_placement=True,
            log_device_placement=hyper_parameters.log_device_placement,
            device_count={"CPU": len(cpus)},
        ),
    )
    params = {"hyper_parameters": hyper_parameters, "num_train_examples": num_train_examples}
    return tf.estimator.Estimator(model.model_fn, config=run_config, params=params)


def open_journal(checkpoint_dir: str, hyper_parameters: HyperParameters, data: Data) -> Journal:
    """Returns the journal of a training, with what is known of the steps before."""
    start_step = checkpoints.newest_step(checkpoint_dir)
    record = training_record.read(checkpoint_dir)
    evaluations = tuple(e for e in record.evaluations if e.step <= start_step)
    if not record.steps == start_step >= hyper_parameters.train_steps:
        record = TrainingRecord(
            steps=start_step,
            train_examples=data.num_train_examples,
            compute_dtype=hyper_parameters.compute_dtype,
            devices=tuple(device.name for device in tf.config.list_logical_devices()),
            cores=os.cpu_count() or 1,
        )
    return Journal(
        checkpoint_dir, start_step, dataclasses.replace(record, evaluations=evaluations)
    )


def train_alone(
    estimator: tf.estimator.Estimator,
    hyper_parameters: HyperParameters,
    data: Data,
    journal: Journal,
) -> None:
    """Trains in this process alone, and evaluates beside it."""
    log_hook = hooks.LogHook(hyper_parameters)
    listeners = [
        hooks.FiniteGuard(hyper_parameters.learning_rate),
        hooks.RecordListener(lambda step: journal.write(step, log_hook)),
        hooks.EvalListener(
            lambda: evaluate(estimator, data, journal),
            hyper_parameters.eval_every_steps,
            log_hook,
        ),
    ]
    input_fn = train_input_fn(hyper_parameters, data, journal.start_step)
    estimator.train(input_fn, [log_hook], None, hyper_parameters.train_steps, listeners)
    journal.write(log_hook.step, log_hook)


def train_in_cluster(
    estimator: tf.estimator.Estimator,
    hyper_parameters: HyperParameters,
    data: Data,
    journal: Journal,
) -> None:
    """Takes this process's part in training; the one named evaluator evaluates beside it."""
    log_hook = hooks.LogHook(hyper_parameters)
    listeners = [hooks.FiniteGuard(hyper_parameters.learning_rate)]
    if cluster.is_chief():
        listeners.append(hooks.RecordListener(lambda step: journal.write(step, log_hook)))
    tf.estimator.train_and_evaluate(
        estimator,
        tf.estimator.TrainSpec(
            train_input_fn(hyper_parameters, data, journal.start_step),
            hyper_parameters.train_steps,
            [log_hook],
            listeners,
        ),
        tf.estimator.EvalSpec(
            inputs.eval_input_fn(data.eval_files, data.transform_output),
            steps=None,
            start_delay_secs=0,
            throttle_secs=0,
        ),
    )
    if cluster.is_chief():
        journal.write(log_hook.step, log_hook)


def train_input_fn(
    hyper_parameters: HyperParameters, data: Data, start_step: int
) -> Callable[..., tf.data.Dataset]:
    """Returns the input_fn of this process, whose first batch is that of `start_step`."""

    def make_batches(
        input_context: tf.distribute.InputContext | None = None,
    ) -> tf.data.Dataset:
        batches = inputs.train_dataset(
            data.train_files, data.num_train_examples, hyper_parameters, start_step
        )
        return inputs.parts_of_process(batches, input_context)

    return make_batches


def evaluate(estimator: tf.estimator.Estimator, data: Data, journal: Journal) -> None:
    """Evaluates the newest checkpoint on all of eval, for the record; it selects nothing."""
    metrics = estimator.evaluate(inputs.eval_input_fn(data.eval_files, data.transform_output))
    step, accuracy, loss = (metrics[name] for name in ("global_step", "accuracy", "loss"))
    journal.add(Evaluation(int(step), float(accuracy), float(loss)))
    log.info(f"step {step:,} evaluated  accuracy {accuracy:.4f}  loss {loss:.3f}")
