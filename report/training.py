"""How training went: the curves in the event files that TensorBoard reads."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from contract import event_files, training_record

MAX_POINTS = 400  # of one curve: more than a screen has room for
STEPS_PER_SECOND = "global_step/sec"
CURVES = {
    "loss": "total_loss/raw",
    "loss_averaged": "total_loss/averaged",
    "cross_entropy": "cross_entropy/raw",
    "cross_entropy_averaged": "cross_entropy/averaged",
    "learning_rate": "learning_rate",
}


def training_facts(model_run_dir: str, batch_size: int) -> dict[str, Any]:
    """Returns the summary that the Trainer wrote, and `curves` of [step, value] pairs."""
    scalars = event_files.read_scalars(model_run_dir)
    record = training_record.read(model_run_dir)
    curves = {name: thin(scalars.get(tag, [])) for name, tag in CURVES.items()}
    for name in ("loss_averaged", "cross_entropy_averaged"):
        # An average that was summarized before its first update is 0.
        curves[name] = [point for point in curves[name] if point[1] != 0]
    curves["images_per_second"] = thin(
        [(step, value * batch_size) for step, value in scalars.get(STEPS_PER_SECOND, [])]
    )
    curves["eval_accuracy"] = [(e.step, e.accuracy) for e in record.evaluations]
    curves["eval_loss"] = [(e.step, e.loss) for e in record.evaluations]
    return {**dataclasses.asdict(record), "curves": curves}


def thin(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Returns at most MAX_POINTS of the points, evenly chosen, the last one included."""
    stride = -(-len(points) // MAX_POINTS) or 1
    return list(reversed(points[::-1][::stride]))
