"""The pipeline that watches what is served: logs → comparison and page → verdict."""

import dataclasses
from typing import TypeAlias

from tfx.orchestration import data_types, pipeline

from components.data_gate import DataLimits
from components.drift_check import DriftCheck, DriftGate
from contract import records
from pipeline_def.config import PipelineConfig
from pipeline_def.nodes import depends_on_code, report_templates

PIPELINE_NAME = "cifar10-drift"
Text: TypeAlias = str | data_types.RuntimeParameter


def create_drift_pipeline(
    config: PipelineConfig, logs: Text, serving_dir: Text, version: Text
) -> pipeline.Pipeline:
    """Returns the pipeline.

    Args:
        config: The limits, and the name of the model.
        logs: Paths or patterns with spaces between them.
        serving_dir: The serving root.
        version: Whose requests to compare; empty: those of the version that is served.
    """
    check = DriftCheck(
        records.from_fields(DataLimits, dataclasses.asdict(config)),
        logs=logs,
        serving_dir=serving_dir,
        model_name=config.model_name,
        version=version,
    )
    gate = DriftGate(check.outputs["drift"])
    return pipeline.Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root="",
        components=[
            depends_on_code(check, "components.drift_check", files=report_templates()),
            depends_on_code(gate, "components.drift_check"),
        ],
        enable_cache=False,  # logs grow under the same name
    )
