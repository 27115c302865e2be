"""The hyper-parameter search: Optuna's trials, each a training by the trainer module.

`study.db` always has the current state, so a killed search can be continued, and its last trial
resumes from its checkpoint. Trials are in adjacent folders for TensorBoard.
"""

import dataclasses
import functools
import logging
import operator
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import tensorflow as tf
from optuna.trial import TrialState
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorflow.compat import v1
from tfx.components.trainer.fn_args_utils import FnArgs

from components import parallel_trials
from contract import events, example_files
from contract.events import Evaluated
from contract.search_record import Outcome, Trial
from contract.search_space import Choice, Range, Space

log = logging.getLogger("cifar.tuner")

STUDY_FILE = "study.db"
TRIALS_DIR = "trials"
_DATA_DIR = "data"
_OUTCOMES: dict[TrialState, Outcome] = {
    TrialState.COMPLETE: "ended",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
}
_ENDED = tuple(_OUTCOMES)
_UNPRUNED_TRIALS = 4  # this many finish before any is stopped early
_TRIALS_FOR_IMPORTANCE = 4
_EVALUATIONS = 5  # at least, so that a hopeless trial can be stopped


@dataclasses.dataclass(frozen=True)
class Search:
    """The definition of a search.

    Attributes:
        directory: Where its state is kept, so that it can be continued.
        space: The values to choose from.
        hyper_parameters: All hyper-parameters, by name; the space replaces some.
        kind: Their class, which raises ValueError for values that exclude one another.
        trials: The total number of trials, including stopped and failed ones.
        held_out: The fraction of the train examples that scores the trials.
        parallel: How many trials train at the same time.
    """

    directory: Path
    space: Space
    hyper_parameters: Mapping[str, Any]
    kind: Callable[..., Any]
    trials: int
    held_out: float
    parallel: int = 1


def run(search: Search, fn_args: FnArgs, run_fn: Callable[[FnArgs], None]) -> optuna.Study:
    """Returns the study, with all its trials.

    Args:
        search: The definition of the search.
        fn_args: As from a Trainer; the eval files are not read.
        run_fn: The trainer module's function.

    Raises:
        RuntimeError: No trial finished.
    """
    search.directory.mkdir(parents=True, exist_ok=True)
    study = open_study(search)
    if tasks := tasks_of(study, search.trials):
        fn_args = with_held_out(fn_args, search.held_out, search.directory / _DATA_DIR)
        run_tasks(tasks, study, search, fn_args, run_fn)
    shutil.rmtree(search.directory / _DATA_DIR, ignore_errors=True)
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise RuntimeError(
            f"None of {search.trials} trials finished; see the log for the reasons. Search "
            "smaller values, for example of the learning rate."
        )
    return study


def open_study(search: Search) -> optuna.Study:
    """Returns the study in a folder, new or continued.

    A trial is stopped early if it is worse at a step than the median of the earlier ones.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{search.directory / STUDY_FILE}",
        study_name="search",
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED_TRIALS),
    )


def tasks_of(study: optuna.Study, trials: int) -> list[int | None]:
    """Returns what is missing from so many ended trials.

    A task is the id of a trial that a killed search left running, or None for a new trial.
    """
    killed = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    missing = trials - len(study.get_trials(deepcopy=False, states=_ENDED))
    return [*(trial._trial_id for trial in killed), *[None] * missing][: max(missing, 0)]


def run_tasks(
    tasks: Sequence[int | None],
    study: optuna.Study,
    search: Search,
    fn_args: FnArgs,
    run_fn: Callable[[FnArgs], None],
) -> None:
    """Runs each task: here, one after another, or several at once in other processes."""
    if search.parallel == 1:
        for task in tasks:
            run_task(task, search, fn_args, run_fn)
        return

    def show() -> None:
        ended = study.get_trials(deepcopy=False, states=_ENDED)
        best = max((trial.value or 0.0 for trial in ended), default=0.0)
        events.send(
            events.WorkDone(len(ended), search.trials, "trial", f"best accuracy {best:.1%}")
        )

    work = functools.partial(
        run_task, search=search, fn_args=_with(fn_args, data_accessor=None), run_fn=run_fn
    )
    parallel_trials.run_all(work, tasks, search.parallel, show)


def run_task(
    task: int | None, search: Search, fn_args: FnArgs, run_fn: Callable[[FnArgs], None]
) -> None:
    """Runs a new trial, or continues the one with this id.

    The sampler is Optuna's tree-structured Parzen estimator: J. Bergstra et al., "Algorithms
    for Hyper-Parameter Optimization" (2011).
    """
    study = open_study(search)
    trial = study.ask() if task is None else optuna.Trial(study, task)
    # No two trials may draw the same values, even if the search is continued in between. Those
    # that run at the same time count as bad, so that a new one tries something else.
    study.sampler = optuna.samplers.TPESampler(
        seed=trial.number, constant_liar=search.parallel > 1
    )
    run_trial(study, trial, search, fn_args, run_fn)


def run_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    search: Search,
    fn_args: FnArgs,
    run_fn: Callable[[FnArgs], None],
) -> None:
    """Trains with the values that the study suggests, and reports the result to it.

    A trial fails if its training diverges or its values exclude one another. Any other error,
    for example a full disk, ends the search, which tries these values again when it is
    continued.
    """
    values = {name: suggest(trial, name, space) for name, space in search.space.items()}
    words = in_words(values)
    log.info(f"trial {trial.number + 1} of {search.trials}  {words}")
    directory = search.directory / TRIALS_DIR / f"trial-{trial.number:03d}"
    hyper_parameters = evaluated_often({**search.hyper_parameters, **values})

    def prune(evaluated: Evaluated) -> None:
        trial.report(evaluated.accuracy, evaluated.step)
        if evaluated.step < hyper_parameters["train_steps"] and trial.should_prune():
            raise optuna.TrialPruned(f"stopped after step {evaluated.step:,}")

    try:
        check(search.kind, hyper_parameters)
        with events.sent_to(prune, Evaluated):
            run_fn(args_of_trial(fn_args, directory, hyper_parameters))
    except optuna.TrialPruned as pruned:
        study.tell(trial, state=TrialState.PRUNED)
        outcome = str(pruned)
    except (InvalidTrialError, tf.estimator.NanLossDuringTrainingError) as error:
        log.warning(f"trial {trial.number + 1} failed: {error}")
        study.tell(trial, state=TrialState.FAIL)
        outcome = "failed"
    else:
        accuracy = last_accuracy(study, trial)
        study.tell(trial, accuracy)
        outcome = f"accuracy {accuracy:.1%}"
    log.info(f"trial {trial.number + 1} of {search.trials}  {outcome}  {words}")
    leave_for_tensorboard(directory, values)


class InvalidTrialError(ValueError):
    """The values of a trial exclude one another."""


def check(kind: Callable[..., Any], hyper_parameters: Mapping[str, Any]) -> None:
    """Raises InvalidTrialError for values that exclude one another."""
    try:
        kind(**hyper_parameters)
    except ValueError as error:
        raise InvalidTrialError(error) from error


def evaluated_often(hyper_parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the hyper-parameters of a trial, which can be compared before it ends."""
    often = dict(hyper_parameters)
    if "eval_every_steps" in often:
        few_steps = max(1, often["train_steps"] // _EVALUATIONS)
        often["eval_every_steps"] = min(often["eval_every_steps"], few_steps)
    return often


def last_accuracy(study: optuna.Study, trial: optuna.Trial) -> float:
    """Returns the accuracy of a trial's last evaluation, even if it was before a kill.

    Raises:
        ValueError: There was none.
    """
    accuracies = study.get_trials(deepcopy=False)[trial.number].intermediate_values
    if not accuracies:
        raise ValueError(
            "The trainer module reports no accuracy, so trials cannot be compared. Let run_fn "
            "call contract.events.send(Evaluated(step, accuracy)) after each evaluation."
        )
    return accuracies[max(accuracies)]


def suggest(trial: optuna.Trial, name: str, space: Range | Choice) -> Any:
    """Returns a value for a hyper-parameter; in a resumed trial, the one it had."""
    if isinstance(space, Choice):
        return trial.suggest_categorical(name, space.values)
    if isinstance(space.low, int):
        return trial.suggest_int(name, space.low, int(space.high), log=space.is_log)
    return trial.suggest_float(name, space.low, space.high, log=space.is_log)


def in_words(values: Mapping[str, Any]) -> str:
    """Returns values in a readable form, with three digits."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def trials_of(study: optuna.Study) -> Iterator[Trial]:
    """Yields the record of each ended trial, including stopped and failed ones."""
    for trial in study.get_trials(states=_ENDED):
        curve = tuple(sorted(trial.intermediate_values.items()))
        yield Trial(
            number=trial.number,
            values=trial.params,
            outcome=_OUTCOMES[trial.state],
            accuracy=trial.value if trial.value is not None or not curve else curve[-1][1],
            curve=curve,
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        )


def results_of(study: optuna.Study) -> list[dict[str, Any]]:
    """Returns the finished trials, best first, in the stock Tuner's format."""
    ended = study.get_trials(states=(TrialState.COMPLETE,))
    results = [
        {"trial_id": str(trial.number), "score": trial.value, **trial.params} for trial in ended
    ]
    return sorted(results, key=operator.itemgetter("score"), reverse=True)


def importance_of(study: optuna.Study) -> dict[str, float]:
    """Returns the share of the differences that each hyper-parameter explains, highest first.

    Source: S. Watanabe, A. Bansal and F. Hutter, "PED-ANOVA: Efficiently Quantifying
    Hyperparameter Importance in Arbitrary Subspaces" (2023). Empty for too few trials.
    """
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(ended) < _TRIALS_FOR_IMPORTANCE or len({trial.value for trial in ended}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _with(fn_args: FnArgs, **changes: Any) -> FnArgs:
    return FnArgs(**{**vars(fn_args), **changes})


def args_of_trial(fn_args: FnArgs, directory: Path, hyper_parameters: dict) -> FnArgs:
    """Returns the arguments of run_fn as from a Trainer, with every output below a folder."""
    return _with(
        fn_args,
        serving_model_dir=str(directory / "model" / "Format-Serving"),
        model_run_dir=str(directory / "model_run"),
        custom_config={
            **fn_args.custom_config,
            "hyper_parameters": hyper_parameters,
            "checkpoint_dir": str(directory),
        },
    )


def leave_for_tensorboard(directory: Path, values: Mapping[str, Any]) -> None:
    """Adds a trial's values to its summaries, and removes its model and checkpoints."""
    for folder in ("model", "model_run"):
        shutil.rmtree(directory / folder, ignore_errors=True)
    for pattern in ("model.ckpt-*", "checkpoint", "graph.pbtxt"):
        for path in directory.glob(pattern):
            path.unlink()
    tried = hparams.hparams_pb(dict(values), trial_id=directory.name)
    with tf.Graph().as_default(), v1.summary.FileWriter(str(directory)) as writer:
        writer.add_summary(tried.SerializeToString())


def with_held_out(fn_args: FnArgs, share: float, directory: Path) -> FnArgs:
    """Returns the arguments with a share of the train examples in place of eval's.

    An example's checksum decides whether it is held out, independent of files and their order.

    Args:
        fn_args: The arguments whose train files are split.
        share: The fraction to hold out.
        directory: The output folder, which is replaced.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    train, held_out = (str(directory / f"{name}.tfrecord") for name in ("train", "held-out"))
    with tf.io.TFRecordWriter(train) as rest, tf.io.TFRecordWriter(held_out) as judges:
        for example in example_files.read(example_files.find(fn_args.train_files)):
            serialized = example.numpy()
            is_held_out = zlib.crc32(serialized) < share * 2**32
            (judges if is_held_out else rest).write(serialized)
    return _with(fn_args, train_files=[train], eval_files=[held_out])
