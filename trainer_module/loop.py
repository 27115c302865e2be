"""The hyper-parameters that training reads, for any Estimator."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Loop:
    """How long training lasts and how it is watched.

    Each field comes from the hyper-parameter of the same name; if there is none, it has the
    default here, and there are five evaluations.
    """

    train_steps: int  # one batch each
    eval_every_steps: int
    batch_size: int = 128
    seed: int = 0  # for everything random
    data_memory_gib: float = 1.0  # of images; more are streamed
    learning_rate: float | None = None  # for the error when training diverges
    compute_dtype: str = ""  # for the record; `training.run` replaces auto by the fastest
    distribution: str = "none"  # mirrored: all devices of this machine share each batch
    log_every_steps: int = 100
    summary_every_steps: int = 500
    checkpoint_every_steps: int = 1_000
    log_device_placement: bool = False

    @classmethod
    def of(cls, hyper_parameters: Any) -> Loop:
        """Returns the loop for the hyper-parameters of an Estimator."""
        names = {field.name for field in dataclasses.fields(cls)}
        given = {
            field.name: getattr(hyper_parameters, field.name)
            for field in dataclasses.fields(hyper_parameters)
            if field.name in names
        }
        return cls(**{"eval_every_steps": max(1, given["train_steps"] // 5), **given})
