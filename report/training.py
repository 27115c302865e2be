"""The curves of a training, from the event files that TensorBoard reads."""

from collections.abc import Sequence

from contract import event_files, training_record
from report.facts import Curves, Point, TrainingFacts

MAX_POINTS = 2_000  # of one curve: every logged step of 200,000
STEPS_PER_SECOND = "global_step/sec"


def training_facts(model_run_dir: str) -> TrainingFacts:
    """Returns the record of a training, and the curves in its event files."""
    scalars = event_files.read_scalars(model_run_dir)
    record = training_record.read(model_run_dir)

    def curve(tag: str) -> list[Point]:
        return thin(scalars.get(tag, []))

    # An Estimator writes `loss` itself.
    raw = "total_loss/raw" if "total_loss/raw" in scalars else "loss"
    speeds = curve(STEPS_PER_SECOND) if record.batch_size else []
    return TrainingFacts(
        record,
        Curves(
            loss=curve(raw),
            loss_averaged=_updated(curve("total_loss/averaged")),
            cross_entropy=curve("cross_entropy/raw"),
            cross_entropy_averaged=_updated(curve("cross_entropy/averaged")),
            learning_rate=curve("learning_rate"),
            train_accuracy=curve("accuracy/raw"),
            train_accuracy_averaged=_updated(curve("accuracy/averaged")),
            images_per_second=[(step, value * record.batch_size) for step, value in speeds],
            eval_accuracy=[(e.step, e.accuracy) for e in record.evaluations],
            eval_loss=[(e.step, e.loss) for e in record.evaluations],
        ),
    )


def _updated(points: Sequence[Point]) -> list[Point]:
    """Returns a running average without the points before its first update, which are 0."""
    return [point for point in points if point[1] != 0]


def thin(points: Sequence[Point]) -> list[Point]:
    """Returns at most MAX_POINTS of the points, evenly chosen, the last one included."""
    stride = -(-len(points) // MAX_POINTS) or 1
    return list(reversed(points[::-1][::stride]))
