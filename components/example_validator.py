"""The anomalies gate: the stock ExampleValidator, which here stops the run.

The stock component writes the anomalies it finds and lets the run continue
(tfx/components/example_validator/executor.py). Ours also checks the images themselves and the
distribution of the data (data_gate.py).
"""

from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as stock_executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.io import fileio
from tfx.types import (
    artifact_utils,
    component_spec,
    standard_artifacts,
    standard_component_specs,
)

from components import data_gate
from contract import data_facts, data_gate_record, image_set, records
from contract.data_gate_record import DataGateRecord, UnfitDataError
from report.anomalies import describe_anomalies
from serving import baseline


class Executor(stock_executor.Executor):
    """Validates the statistics, then stops the run at any anomaly."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Writes the anomalies of each split, and the distances between the images.

        Raises:
            ValueError: A split is empty, its statistics differ from the schema, or the images
                break a limit (UnfitDataError); everything found is in the message.
        """
        output = super().Do(input_dict, output_dict, exec_properties)
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        findings = []
        for split in artifact_utils.decode_split_names(statistics.split_names):
            view = stats_artifact_utils.load_statistics(statistics, split)
            if view.proto().datasets[0].num_examples == 0:
                findings.append(f"{split}: the split is empty")
            findings += describe_anomalies(split, _read_anomalies(output_dict, split))
        if findings:
            raise ValueError(
                "The examples do not fit their schema:\n  "
                + "\n  ".join(findings)
                + "\nRepair the data; contract/image_set.py defines an example."
            )
        found = examine_data(input_dict, exec_properties)
        data_gate_record.write(artifact_utils.get_single_uri(output_dict["anomalies"]), found)
        if found.faults:
            raise UnfitDataError(
                "These images are not fit for training:\n  "
                + "\n  ".join(found.faults)
                + "\nRepair the data. If they are correct, raise the limit in parentheses with "
                "`--set max_…=`; 1 allows anything.",
                found,
            )
        return output


class ExampleValidatorSpec(standard_component_specs.ExampleValidatorSpec):
    """The stock specification, plus the parameters of the data gate."""

    PARAMETERS = {
        **standard_component_specs.ExampleValidatorSpec.PARAMETERS,
        "data_limits": component_spec.ExecutionParameter(type=str),
        "model_dir": component_spec.ExecutionParameter(type=str),
        "reference_version": component_spec.ExecutionParameter(type=str),
    }


class ExampleValidator(base_component.BaseComponent):
    """Checks statistics against schema, limits and the last pushed; stops at any anomaly."""

    SPEC_CLASS = ExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        limits: data_gate.DataLimits,
        model_dir: str,
        reference_version: str,
    ) -> None:
        """Makes the node.

        Args:
            statistics: From our StatisticsGen, with the facts about the images.
            schema: From our CifarExampleGen, with the fingerprint of the data.
            limits: The limits for the images.
            model_dir: The folder of the pushed versions.
            reference_version: The version whose data to compare with, `latest` to look when the
                node runs, or `none`.
        """
        super().__init__(
            spec=ExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                exclude_splits="[]",
                data_limits=records.to_json(limits),
                model_dir=model_dir,
                reference_version=reference_version,
                anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )


def examine_data(
    input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]
) -> DataGateRecord:
    """Returns what the data gate finds in the facts about the images."""
    facts = data_facts.read(artifact_utils.get_single_uri(input_dict["statistics"]))
    limits = records.from_json(data_gate.DataLimits, exec_properties["data_limits"])
    schema = artifact_utils.get_single_instance(input_dict["schema"])
    version = baseline.find_reference(
        Path(exec_properties["model_dir"]),
        exec_properties["reference_version"],
        schema.get_string_custom_property(image_set.DATA_FINGERPRINT),
    )
    if version is None:
        return data_gate.examine(facts, limits)
    return data_gate.examine(facts, limits, version.provenance.data_facts, str(version.number))


def _read_anomalies(
    output_dict: dict[str, list[types.Artifact]], split: str
) -> anomalies_pb2.Anomalies:
    """Returns the anomalies the stock executor wrote for a split."""
    folder = artifact_utils.get_split_uri(output_dict["anomalies"], split)
    with fileio.open(f"{folder}/{stock_executor.DEFAULT_FILE_NAME}", "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())
