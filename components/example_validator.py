"""The anomalies gate: the stock ExampleValidator, which here stops the run.

The stock component writes the anomalies it finds and lets the run continue
(tfx/components/example_validator/executor.py).
"""

from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as stock_executor
from tfx.components.example_validator.component import (
    ExampleValidator as StockExampleValidator,
)
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from report.anomalies import describe_anomalies


class Executor(stock_executor.Executor):
    """Validates the statistics, then stops the run at any anomaly."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Writes the anomalies of each split.

        Raises:
            ValueError: A split is empty or its statistics differ from the schema; every
                anomaly is in the message.
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
                + "\nMend the data; contract/image_set.py says what an example is."
            )
        return output


class ExampleValidator(StockExampleValidator):
    """Compares statistics with the schema and stops the run at any anomaly."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


def _read_anomalies(
    output_dict: dict[str, list[types.Artifact]], split: str
) -> anomalies_pb2.Anomalies:
    """Returns the anomalies the stock executor wrote for a split."""
    folder = artifact_utils.get_split_uri(output_dict["anomalies"], split)
    with fileio.open(f"{folder}/{stock_executor.DEFAULT_FILE_NAME}", "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())
