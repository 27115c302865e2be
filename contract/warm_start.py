"""The pushed version whose weights a training starts from, in place of random ones."""

import dataclasses
from collections.abc import Sequence
from typing import Final

NONE: Final = "none"
LATEST: Final = "latest"
KEY: Final = "warm_start"  # in the Trainer's custom_config


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """Which weights a training starts from, and how it goes on.

    Attributes:
        model_dir: The folder of the pushed versions.
        version: One of them, `latest` to look when training starts, or `none`.
        learning_rate: The fraction of the learning rate to train with.
        is_required: Whether to fail, rather than start anew, if the weights do not fit.
        weights: Identifies the weights; empty for `latest`.
        path: The folder of the version, once it was looked up.
        class_names: Its classes, in label order; empty if unknown.
        fault: Why there are no weights to start from.
    """

    model_dir: str
    version: str
    learning_rate: float = 1.0
    is_required: bool = False
    weights: str = ""
    path: str = ""
    class_names: Sequence[str] = ()
    fault: str = ""


def check_version(version: str) -> None:
    """Raises ValueError unless it is `none`, `latest` or the number of a version."""
    if version not in (NONE, LATEST) and not (version.isascii() and version.isdigit()):
        raise ValueError(
            f"warm_start must be none, latest or the number of a version, got {version!r}. "
            "`cifar versions` lists them."
        )
