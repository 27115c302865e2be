"""The record of a hyper-parameter search, which the Tuner writes for the search page."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Outcome = Literal["ended", "stopped", "failed"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training of a search.

    Attributes:
        number: From 0; its summaries are in the folder `trial-000` and so on.
        values: The chosen values, by hyper-parameter.
        outcome: `stopped` means stopped early, as hopeless.
        accuracy: From the last evaluation on the held-out examples; None without any.
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
    """The definition and the results of a search.

    Attributes:
        preset: The preset that the search started from.
        hyper_parameters: Those of every trial, except for its own `values`.
        space: The ranges and lists as given, such as `momentum=0.8,0.9`.
        held_out: The fraction of the train examples that scored the trials.
        importance: The share of the differences in accuracy that each hyper-parameter
            explains; they add up to 1. Empty for fewer than four trials.
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
