"""Logging and checks during training."""

import logging
import math
import re
import statistics
import time
from collections.abc import Callable

import tensorflow as tf
from tensorflow.compat import v1
from tensorflow.python.training import monitored_session

from contract import events
from trainer_module import summaries
from trainer_module.loop import Loop

log = logging.getLogger("cifar.train")

_APPLIES = re.compile(r"(?:Resource)?(?:Sparse)?Apply(\w+?)(?:V2)?")  # operations of optimizers
_STARTUP_STEPS = 10  # graph optimization and first allocations make these slow


class TrainingDivergedError(tf.estimator.NanLossDuringTrainingError):
    """The loss or the weights are NaN or infinite."""

    __str__ = RuntimeError.__str__  # TensorFlow's has one message for all

    def __init__(self, found: str, step: int, learning_rate: float | None) -> None:
        """Says what was found where, and what to do."""
        rate, advice = "", "Try a lower learning rate"
        if learning_rate is not None:
            rate = f", with learning rate {learning_rate:g}"
            advice += f", for example --set learning_rate={learning_rate / 3:.1g}"
        super().__init__(
            f"Training diverged: {found} at step {step:,}{rate}. These weights were not "
            f"saved. {advice}, which starts a new training."
        )


class LogHook(v1.train.SessionRunHook):
    """Logs at regular steps, and stops at the first NaN or infinite loss.

    A line has the loss and the speed; the curves of the graph (summaries.py) go into the event
    file. They are requested each step: another request for some steps would be another graph
    to optimize, which takes seconds.

    Attributes:
        step: The last completed step.
        loss: The loss of that step; None before the first.
        optimizer: The optimizer in the graph; empty if it has no name.
    """

    def __init__(self, loop: Loop, events_dir: str = "") -> None:
        """Takes how often to log, facts for the lines, and any folder for the event file."""
        self.step = 0
        self.loss: float | None = None
        self.optimizer = ""
        self._train_steps = loop.train_steps
        self._batch_size = loop.batch_size
        self._log_every_steps = loop.log_every_steps
        self._learning_rate = loop.learning_rate
        self._events_dir = events_dir
        self._step_seconds: list[float] = []
        self._logged_steps = 0
        self._start_seconds = 0.0

    @property
    def examples_per_second(self) -> float | None:
        """Returns the median speed after the first few steps; None without any."""
        seconds = self._step_seconds[_STARTUP_STEPS:] or self._step_seconds[1:]
        return self._batch_size / statistics.median(seconds) if seconds else None

    def leave_out(self, seconds: float) -> None:
        """Excludes seconds that the current step did not spend on training."""
        self._start_seconds += seconds

    def begin(self) -> None:
        """Finds the loss that Estimator minimizes, and the optimizer."""
        kinds = {operation.type for operation in v1.get_default_graph().get_operations()}
        applied = filter(None, map(_APPLIES.fullmatch, kinds))
        self.optimizer = ", ".join(sorted({found[1] for found in applied}))
        self._loss_tensor = v1.get_collection(v1.GraphKeys.LOSSES)[-1]
        self._step_tensor = v1.train.get_global_step()
        curves = v1.get_collection(summaries.CURVES) if self._events_dir else ()
        self._curves = v1.summary.merge(curves) if curves else tf.constant(b"")

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        """Reads the step that was restored."""
        self.step = int(session.run(self._step_tensor))

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs:
        """Requests the loss and the curves of this step."""
        self._start_seconds = time.perf_counter()
        return v1.train.SessionRunArgs((self._loss_tensor, self._curves))

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        """Checks the loss, and logs when it is time.

        Raises:
            TrainingDivergedError: The loss is NaN or infinite.
        """
        self._step_seconds.append(time.perf_counter() - self._start_seconds)
        self.step += 1
        loss, curves = run_values.results
        self.loss = float(loss)
        if not math.isfinite(self.loss):
            raise TrainingDivergedError(
                f"the loss is {self.loss}", self.step, self._learning_rate
            )
        if self.step % self._log_every_steps == 0 or self.step == self._train_steps:
            self._log()
            if curves:
                writer = v1.summary.FileWriterCache.get(self._events_dir)
                writer.add_summary(curves, self.step)

    def _log(self) -> None:
        seconds = self._step_seconds[self._logged_steps :]
        self._logged_steps = len(self._step_seconds)
        seconds_per_batch = sum(seconds) / len(seconds)
        speed = self._batch_size / seconds_per_batch
        detail = f"loss {self.loss:.3f}  {speed:,.0f} images/s  {seconds_per_batch:.3f} s/batch"
        log.info(f"step {self.step:,} of {self._train_steps:,}  {detail}")
        events.send(events.WorkDone(self.step, self._train_steps, "step", detail))


class NoRecovery(v1.train.SessionRunHook):
    """Lets this process fail when another of its cluster is lost during training.

    TensorFlow would make a new session, restore the last checkpoint and go on with the batches
    after the failure; a process that comes back could not join it. When all processes fail and
    start again, they train as if nothing had happened. Before the first session, TensorFlow
    may wait for the others as usual.
    """

    def after_create_session(self, session: v1.Session, coord: tf.train.Coordinator) -> None:
        """Takes away the errors after which TensorFlow goes on."""
        monitored_session._PREEMPTION_ERRORS = ()


class FiniteGuard(v1.train.CheckpointSaverListener):
    """Prevents saving NaN or infinite weights, so that no run resumes from them."""

    def __init__(self, learning_rate: float | None) -> None:
        """Takes the learning rate, for the error message."""
        self._learning_rate = learning_rate

    def begin(self) -> None:
        """Adds the check to the graph."""
        floats = [v for v in v1.global_variables() if v.dtype.base_dtype.is_floating]
        checks = [tf.reduce_all(tf.math.is_finite(v)) for v in floats]
        self._all_finite = tf.reduce_all(tf.stack(checks))

    def before_save(self, session: v1.Session, global_step_value: int) -> None:
        """Raises TrainingDivergedError when a weight or an average is NaN or infinite."""
        if not session.run(self._all_finite):
            raise TrainingDivergedError(
                "a weight is NaN or infinite", int(global_step_value), self._learning_rate
            )


class RecordListener(v1.train.CheckpointSaverListener):
    """Writes the record before each checkpoint, so that a resumed run finds it."""

    def __init__(self, write_record: Callable[[int], None]) -> None:
        """Takes the function that writes the record of a training up to a step."""
        self._write_record = write_record

    def before_save(self, session: v1.Session, global_step_value: int) -> None:
        """Writes the record up to the step about to be saved."""
        self._write_record(int(global_step_value))


class EvalListener(v1.train.CheckpointSaverListener):
    """Evaluates the newest checkpoint every `eval_every_steps` steps, except the last one."""

    def __init__(self, evaluate: Callable[[], None], loop: Loop, log_hook: LogHook) -> None:
        """Takes the function to call, how often, and the hook that measures the speed."""
        self._evaluate = evaluate
        self._loop = loop
        self._log_hook = log_hook
        self._rounds: int | None = None

    def after_save(self, session: v1.Session, global_step_value: int) -> None:
        """Evaluates when due, except at the start of a run."""
        step = int(global_step_value)
        rounds = step // self._loop.eval_every_steps
        is_due = self._rounds is not None and rounds > self._rounds
        if is_due and step < self._loop.train_steps:  # the end is evaluated after training
            start_seconds = time.perf_counter()
            self._evaluate()
            self._log_hook.leave_out(time.perf_counter() - start_seconds)
        self._rounds = rounds
