"""The report as a node: one HTML page, with lineage on every runner.

The page shows what the artifacts contain. The durations of stages are known only after the
run, when the local runner writes `report.html` again into the output folder.
"""

import json
import logging
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.types.experimental import simple_artifacts
from tfx.utils import path_utils

from components import baseline_model
from contract import records
from contract.files import FACTS_FILE, PAGE_FILE
from report import collect, page
from report.facts import Report

log = logging.getLogger("cifar.report_gen")


class ReportGenSpec(component_spec.ComponentSpec):
    """Inputs, parameter and output of ReportGen."""

    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "infra_blessing": component_spec.ChannelParameter(
            type=standard_artifacts.InfraBlessing
        ),
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    # A type that Kubeflow Pipelines knows without our code.
    OUTPUTS = {"report": component_spec.ChannelParameter(type=simple_artifacts.File)}


class Executor(base_executor.BaseExecutor):
    """Reads the artifacts, draws the plots and writes the page."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `report.html`, and its facts and plots to `report.json`."""
        from report import plots  # Matplotlib, which no other node needs

        inputs = {
            name: artifact_utils.get_single_instance(input_dict[name]) for name in input_dict
        }
        pushed = inputs["pushed_model"]
        is_pushed = bool(pushed.get_int_custom_property("pushed"))
        facts = collect.collect_facts(
            collect.Sources(
                config=json.loads(exec_properties["config"]),
                examples=inputs["examples"].uri,
                schema=inputs["schema"].uri,
                anomalies=inputs["anomalies"].uri,
                model=path_utils.serving_model_dir(inputs["model"].uri),
                model_run=inputs["model_run"].uri,
                evaluation=inputs["evaluation"].uri,
                serving_check=inputs["infra_blessing"].uri,
                baseline_version=baseline_model.version_of(inputs["baseline_model"]),
                pushed_version=pushed.get_string_custom_property("pushed_version")
                if is_pushed
                else None,
                pushed_path=pushed.get_string_custom_property("pushed_destination")
                if is_pushed
                else None,
            )
        )
        drawings = plots.draw_all(facts)
        html = page.render(facts, drawings)
        folder = artifact_utils.get_single_uri(output_dict["report"])
        for name, content in (
            (FACTS_FILE, records.to_json(Report(facts, drawings))),
            (PAGE_FILE, html),
        ):
            with fileio.open(f"{folder}/{name}", "w") as file:
                file.write(content)
        log.info("Wrote a page of %.1f MB", len(html.encode()) / 1e6)


class ReportGen(base_component.BaseComponent):
    """Makes the report page from the artifacts of the run."""

    SPEC_CLASS = ReportGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, config: dict[str, Any], **inputs: types.BaseChannel) -> None:
        """Makes the node.

        Args:
            config: The fields of PipelineConfig that the page shows.
            **inputs: The channels that ReportGenSpec.INPUTS names.
        """
        super().__init__(
            spec=ReportGenSpec(
                config=json.dumps(config, sort_keys=True),
                report=types.Channel(type=simple_artifacts.File),
                **inputs,
            )
        )
