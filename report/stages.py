"""The stages in the order of the flow, with their captions."""

import dataclasses

from report import run_record
from report.run_record import RunRecord

STAGES = {
    "CifarExampleGen": "batches → examples and schema",
    "StatisticsGen": "examples → statistics",
    "ExampleValidator": "checks statistics against the schema",
    "Transform": "the transform graph",
    "Trainer": "examples → model",
    "BaselineModel": "the version to compare with",
    "Evaluator": "the quality gate",
    "ServingCheck": "the serving gate",
    "Pusher": "model → serving folder",
    "ReportGen": "this report",
}
OPTIONAL_STAGES = {
    "Tuner": "the search for hyper-parameters",
    "BulkInferrer": "predictions by the pushed model",
}


@dataclasses.dataclass(frozen=True)
class StageStatus:
    """A stage of a run.

    Attributes:
        what: Its purpose, in a few words.
        status: `done`, `cached`, `not run`, the status of a run that ended in this stage
            (`failed`, `stopped`, …), or empty if unknown.
    """

    name: str
    what: str
    status: str
    seconds: float | None


def stage_list(run: RunRecord | None) -> list[StageStatus]:
    """Returns each stage in the order it ran; without a record, with unknown status."""
    ran = run.stages if run else {}
    names = [*ran, *(name for name in STAGES if name not in ran)]
    return [
        StageStatus(
            name,
            (STAGES | OPTIONAL_STAGES).get(name, ""),
            _status(run, name) if run else "",
            ran[name].seconds if name in ran else None,
        )
        for name in names
    ]


def _status(run: RunRecord, stage: str) -> str:
    if stage in run.stages:
        return "cached" if run.stages[stage].cached else "done"
    if stage == run.failed_stage:
        return run.status if run.status in run_record.UNFINISHED else run_record.FAILED
    return "not run"
