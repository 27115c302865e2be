"""The drift of served requests as two nodes, for a pipeline of its own.

DriftCheck writes numbers and page; DriftGate then fails if anything drifted. With one node, a
failed step would leave no page, because Kubeflow keeps no outputs of it.
"""

import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec
from tfx.types.experimental import simple_artifacts

from components import data_gate, drift
from contract import records
from contract.drift_record import DRIFT_FILE, DRIFT_PAGE_FILE, DriftRecord
from report import drift as drift_report

log = logging.getLogger("cifar.drift_check")


class CheckExecutor(base_executor.BaseExecutor):
    """Reads the logs, compares, and writes what it found."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `drift.json` and `drift.html`.

        Raises:
            UnusableLogsError, FileNotFoundError, ValueError: As `drift.examine` does.
        """
        version = exec_properties["version"]
        found = drift.examine(
            exec_properties["logs"].split(),
            Path(exec_properties["serving_dir"]) / exec_properties["model_name"],
            records.from_json(data_gate.DataLimits, exec_properties["data_limits"]),
            int(version) if version else None,
        )
        for output, name, content in (
            ("drift", DRIFT_FILE, records.to_json(found)),
            ("report", DRIFT_PAGE_FILE, drift_report.render(found)),
        ):
            folder = artifact_utils.get_single_uri(output_dict[output])
            with fileio.open(f"{folder}/{name}", "w") as file:
                file.write(content)
        for line in drift_report.as_lines(found, None):
            log.info("%s", line)


class DriftCheckSpec(component_spec.ComponentSpec):
    """Parameters and outputs of DriftCheck."""

    INPUTS: dict[str, Any] = {}
    PARAMETERS = {
        "logs": component_spec.ExecutionParameter(type=str),
        "serving_dir": component_spec.ExecutionParameter(type=str),
        "model_name": component_spec.ExecutionParameter(type=str),
        "version": component_spec.ExecutionParameter(type=str),
        "data_limits": component_spec.ExecutionParameter(type=str),
    }
    # A type that Kubeflow Pipelines knows without our code.
    OUTPUTS = {
        "drift": component_spec.ChannelParameter(type=simple_artifacts.File),
        "report": component_spec.ChannelParameter(type=simple_artifacts.File),
    }


class DriftCheck(base_component.BaseComponent):
    """Compares logged requests with the data that a version was trained on."""

    SPEC_CLASS = DriftCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(CheckExecutor)

    def __init__(self, limits: data_gate.DataLimits, **parameters: Any) -> None:
        """Makes the node.

        Args:
            limits: The largest distances allowed.
            **parameters: `logs` (paths or patterns with spaces between them), `serving_dir`,
                `model_name`, `version` (empty: the one that is served).
        """
        super().__init__(
            spec=DriftCheckSpec(
                data_limits=records.to_json(limits),
                drift=types.Channel(type=simple_artifacts.File),
                report=types.Channel(type=simple_artifacts.File),
                **parameters,
            )
        )


class GateExecutor(base_executor.BaseExecutor):
    """Fails if anything drifted."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Raises ValueError with a line for each feature that drifted."""
        folder = artifact_utils.get_single_uri(input_dict["drift"])
        with fileio.open(f"{folder}/{DRIFT_FILE}") as file:
            found = records.from_json(DriftRecord, file.read())
        if found.drifted:
            raise ValueError(
                f"The requests to version {found.version} of {found.model} have drifted from "
                "its training data:\n  " + "\n  ".join(data_gate.in_words(found.comparison))
            )


class DriftGateSpec(component_spec.ComponentSpec):
    """Input of DriftGate."""

    INPUTS = {"drift": component_spec.ChannelParameter(type=simple_artifacts.File)}
    PARAMETERS: dict[str, Any] = {}
    OUTPUTS: dict[str, Any] = {}


class DriftGate(base_component.BaseComponent):
    """Fails a run in which anything drifted, so that whoever watches runs learns of it."""

    SPEC_CLASS = DriftGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(GateExecutor)

    def __init__(self, drift: types.BaseChannel) -> None:
        """Makes the node from the output `drift` of DriftCheck."""
        super().__init__(spec=DriftGateSpec(drift=drift))
