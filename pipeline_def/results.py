"""What a run came to: the numbers of `run.json`, read from the artifacts it made."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfx import types

from components import baseline_model, serving_check
from contract import training_record
from pipeline_def.config import PipelineConfig
from report import evaluation, runs


def read_push(pushed: types.Artifact) -> dict[str, Any]:
    """Returns the status of a run by what its Pusher did, and the version if it pushed one."""
    if not pushed.get_int_custom_property("pushed"):
        return {"status": runs.NOT_BLESSED, "pushed_version": None, "pushed_path": None}
    return {
        "status": runs.PUSHED,
        "pushed_version": pushed.get_string_custom_property("pushed_version"),
        "pushed_path": pushed.get_string_custom_property("pushed_destination"),
    }


def read_results(
    config: PipelineConfig, outputs: Mapping[str, Mapping[str, types.Artifact]]
) -> dict[str, Any]:
    """Returns the results of a run that came past its Pusher.

    Args:
        config: The run's config.
        outputs: Node name → output name → artifact.
    """
    evaluation_dir = outputs["Evaluator"]["evaluation"].uri
    serving_blessing = outputs["ServingCheck"]["blessing"]
    model_run_dir = outputs["Trainer"]["model_run"].uri
    training = training_record.read(model_run_dir)
    return {
        **evaluation.read_metrics(evaluation_dir),
        "blessed": all(
            blessing.get_int_custom_property("blessed")
            for blessing in (outputs["Evaluator"]["blessing"], serving_blessing)
        ),
        "gate": evaluation.read_gate(
            evaluation_dir,
            config.min_accuracy,
            config.max_accuracy_drop,
            baseline_model.version_of(outputs["BaselineModel"]["model"]),
        ),
        "serving_check": serving_check.read_report(serving_blessing),
        "train_steps": training.steps,
        "examples_per_second": training.examples_per_second,
        "training": dataclasses.asdict(training),
        "tensorboard_dir": model_run_dir,
    }
