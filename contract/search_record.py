"""The record of a search for hyper-parameters: the Tuner writes it, its page is made of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Outcome = Literal["ended", "stopped", "failed"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training of a search.

    Attributes:
        number: From 0; its summaries are in the folder `trial-000` and so on.
        values: What was chosen, by the name of the hyper-parameter.
        outcome: `stopped` is early, as hopeless.
        accuracy: Of the last evaluation on the held-out examples; None without any.
        curve: The step and the accuracy of each evaluation.
    """

    number: int
    values: Mapping[str, Any]
    outcome: Outcome
    accuracy: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class SearchRecord:
    """What was searched, how, and what was found.

    Attributes:
        preset: What the search started from.
        hyper_parameters: What every trial had, but for `values` of its own.
        space: The ranges and lists as they were given, such as `momentum=0.8,0.9`.
        held_out: The fraction of the train examples that judged.
        importance: What part of the differences in accuracy a hyper-parameter accounts for; all
            add up to 1. Empty for fewer than four trials.
    """

    trainer_module: str
    preset: str
    hyper_parameters: Mapping[str, Any]
    space: tuple[str, ...]
    held_out: float
    trials: tuple[Trial, ...]
    importance: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def best(self) -> Trial:
        """Returns the trial that ended with the highest accuracy."""
        ended = [trial for trial in self.trials if trial.outcome == "ended"]
        return max(ended, key=lambda trial: trial.accuracy or 0.0)
