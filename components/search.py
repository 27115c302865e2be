"""The search for hyper-parameters: trials by Optuna, each a training by the trainer module.

What is tried is in `study.db` as it stands, so that a killed search goes on, its last trial
from the checkpoint it left. Trials lie beside each other for TensorBoard.
"""

import dataclasses
import logging
import operator
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import tensorflow as tf
from optuna.trial import TrialState
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorflow.compat import v1
from tfx.components.trainer.fn_args_utils import FnArgs

from contract import events, example_files, training_record
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
_UNPRUNED_TRIALS = 4  # so many are seen to their end before any is stopped early
_TRIALS_FOR_IMPORTANCE = 4


@dataclasses.dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        directory: Where it is kept, and comes back to.
        space: What may be chosen.
        hyper_parameters: All that is not, by name.
        trials: How many are to be ended in all, well or not.
        held_out: The fraction of the train examples that judges.
    """

    directory: Path
    space: Space
    hyper_parameters: Mapping[str, Any]
    trials: int
    held_out: float


def run(search: Search, fn_args: FnArgs, run_fn: Callable[[FnArgs], None]) -> optuna.Study:
    """Returns the study, with as many trials as wanted.

    Args:
        search: What is searched.
        fn_args: As a Trainer hands them over; the eval files are not read.
        run_fn: Of the trainer module.

    Raises:
        RuntimeError: No trial came to its end.
    """
    search.directory.mkdir(parents=True, exist_ok=True)
    study = open_study(search)
    wanted = search.trials - len(study.get_trials(deepcopy=False, states=_ENDED))
    if wanted > 0:
        fn_args = with_held_out(fn_args, search.held_out, search.directory / _DATA_DIR)
    for _ in range(wanted):
        run_trial(study, next_trial(study), search, fn_args, run_fn)
    shutil.rmtree(search.directory / _DATA_DIR, ignore_errors=True)
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise RuntimeError(
            f"None of {search.trials} trials came to its end; the log says why. Search smaller "
            "values, for example of the learning rate."
        )
    return study


def open_study(search: Search) -> optuna.Study:
    """Returns the study of a folder: new, or as it was left.

    The sampler is Optuna's tree-structured Parzen estimator: J. Bergstra et al., "Algorithms
    for Hyper-Parameter Optimization" (2011). A trial is stopped that is worse at a step than
    the median of those before.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{search.directory / STUDY_FILE}",
        study_name="search",
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED_TRIALS),
    )
    # A search that goes on must not draw again what it drew first.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    return study


def next_trial(study: optuna.Study) -> optuna.Trial:
    """Returns the trial that a killed search left running, else a new one."""
    for killed in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        return optuna.Trial(study, killed._trial_id)
    return study.ask()


def run_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    search: Search,
    fn_args: FnArgs,
    run_fn: Callable[[FnArgs], None],
) -> None:
    """Trains with the values the study suggests, and tells it what they reached.

    A training that ends in a RuntimeError, as one that diverges does, is a failed trial. Any
    other error ends the search, which then tries these values again.
    """
    values = {name: suggest(trial, name, space) for name, space in search.space.items()}
    words = in_words(values)
    log.info(f"trial {trial.number + 1} of {search.trials}  {words}")
    directory = search.directory / TRIALS_DIR / f"trial-{trial.number:03d}"

    def prune(evaluated: Evaluated) -> None:
        trial.report(evaluated.accuracy, evaluated.step)
        if trial.should_prune():
            raise optuna.TrialPruned(f"stopped after step {evaluated.step:,}")

    try:
        with events.sent_to(prune, Evaluated):
            run_fn(args_of_trial(fn_args, directory, {**search.hyper_parameters, **values}))
    except optuna.TrialPruned as pruned:
        study.tell(trial, state=TrialState.PRUNED)
        outcome = str(pruned)
    except RuntimeError as error:
        log.warning(f"trial {trial.number + 1} failed: {error}")
        study.tell(trial, state=TrialState.FAIL)
        outcome = "failed"
    else:
        evaluations = training_record.read(str(directory / "model_run")).evaluations
        study.tell(trial, evaluations[-1].accuracy)
        outcome = f"accuracy {evaluations[-1].accuracy:.4f}"
    log.info(f"trial {trial.number + 1} of {search.trials}  {outcome}  {words}")
    leave_for_tensorboard(directory, values)


def suggest(trial: optuna.Trial, name: str, space: Range | Choice) -> Any:
    """Returns a value for a hyper-parameter; of a trial gone on with, the one it had."""
    if isinstance(space, Choice):
        return trial.suggest_categorical(name, space.values)
    if isinstance(space.low, int):
        return trial.suggest_int(name, space.low, int(space.high), log=space.is_log)
    return trial.suggest_float(name, space.low, space.high, log=space.is_log)


def in_words(values: Mapping[str, Any]) -> str:
    """Returns values as they are read with ease: three digits of a number."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def trials_of(study: optuna.Study) -> Iterator[Trial]:
    """Yields what is to be known of each trial that ended, well or not."""
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
    """Returns the trials that came to their end, the best first, in the stock Tuner's form."""
    ended = study.get_trials(states=(TrialState.COMPLETE,))
    results = [
        {"trial_id": str(trial.number), "score": trial.value, **trial.params} for trial in ended
    ]
    return sorted(results, key=operator.itemgetter("score"), reverse=True)


def importance_of(study: optuna.Study) -> dict[str, float]:
    """Returns what share of the differences each hyper-parameter accounts for, highest first.

    By S. Watanabe, A. Bansal and F. Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces" (2023); empty where trials are too few.
    """
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(ended) < _TRIALS_FOR_IMPORTANCE or len({trial.value for trial in ended}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _with(fn_args: FnArgs, **changes: Any) -> FnArgs:
    return FnArgs(**{**vars(fn_args), **changes})


def args_of_trial(fn_args: FnArgs, directory: Path, hyper_parameters: dict) -> FnArgs:
    """Returns what run_fn gets: as of a Trainer, with every output below a folder."""
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
    """Adds what was tried to a trial's summaries, and removes its model and checkpoints."""
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

    An example's checksum says on which side it is, whatever the files and their order.

    Args:
        fn_args: Their train files are read.
        share: The fraction that is held out.
        directory: Is written anew.
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
