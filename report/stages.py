"""What each stage does, in the order of the flow: the captions of the pipeline's picture."""

from typing import Any

from report import runs
from report.runs import Record

STAGES = {
    "CifarExampleGen": "batches → examples",
    "ImportSchemaGen": "the curated schema",
    "StatisticsGen": "examples → statistics",
    "ExampleValidator": "statistics against schema",
    "Transform": "the transform graph",
    "Trainer": "examples → model",
    "BaselineModel": "the newest pushed model",
    "Evaluator": "the gate on quality",
    "ServingCheck": "the gate on serving",
    "Pusher": "model → serving folder",
    "ReportGen": "this report",
}


def stage_list(run: Record | None) -> list[dict[str, Any]]:
    """Returns `name`, `what`, `status` and `seconds` of each stage, in the order it ran.

    Status is `done`, `cached`, `not run`, what became of the run in its last stage (`failed`,
    `stopped`, …), or empty where nobody knows yet.
    """
    ran = run["stages"] if run else {}
    last = run.get("failed_stage") if run else None
    stages = []
    for name in [*ran, *(name for name in STAGES if name not in ran)]:
        if name in ran:
            status = "cached" if ran[name]["cached"] else "done"
        elif run and name == last:
            status = run["status"] if run["status"] in runs.UNFINISHED else runs.FAILED
        else:
            status = "not run" if run else ""
        stages.append(
            {
                "name": name,
                "what": STAGES.get(name, ""),
                "status": status,
                "seconds": ran.get(name, {}).get("seconds"),
            }
        )
    return stages
