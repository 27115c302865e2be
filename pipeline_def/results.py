"""What a run came to: the numbers of `run.json`, read from the artifacts it made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx import types

from components import baseline_model, serving_check
from pipeline_def.config import PipelineConfig
from report import evaluation


def read_results(
    config: PipelineConfig, outputs: Mapping[str, Mapping[str, types.Artifact]]
) -> dict[str, Any]:
    """Returns the results of a run whose nodes have all completed.

    Args:
        config: The run's config.
        outputs: Node name → output name → artifact.
    """
    pushed = outputs["Pusher"]["pushed_model"]
    evaluation_dir = outputs["Evaluator"]["evaluation"].uri
    serving_blessing = outputs["ServingCheck"]["blessing"]
    is_pushed = bool(pushed.get_int_custom_property("pushed"))
    training = json.loads(
        (Path(outputs["Trainer"]["model_run"].uri) / "training.json").read_text()
    )
    return {
        "status": "pushed" if is_pushed else "not_blessed",
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
        "pushed_version": (
            pushed.get_string_custom_property("pushed_version") if is_pushed else None
        ),
        "pushed_path": (
            pushed.get_string_custom_property("pushed_destination") if is_pushed else None
        ),
        "train_steps": training["steps"],
        "examples_per_second": training["examples_per_second"],
        "training": training,
        "tensorboard_dir": outputs["Trainer"]["model_run"].uri,
    }
