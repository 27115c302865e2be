"""The results of a run, read from its artifacts."""

import dataclasses
from collections.abc import Mapping

from tfx import types

from components import baseline_model, pusher
from contract import image_set, serving_report, training_record
from contract.data_gate_record import DataGateRecord
from pipeline_def import launch
from pipeline_def.config import PipelineConfig
from report import evaluation, run_record
from report.data_change import DataDrift
from report.run_record import RunRecord, StageRecord

StageOutputs = Mapping[str, types.Artifact]  # by the name of the output
Outputs = Mapping[str, StageOutputs]  # by the name of the node


def with_stage(record: RunRecord, stage: launch.Stage) -> RunRecord:
    """Returns the record with the outcome of a finished node."""
    outputs = {name: artifact.uri for name, artifact in stage.outputs.items()}
    done = StageRecord(round(stage.seconds, 2), stage.cached, outputs)
    return dataclasses.replace(
        record, stages={**record.stages, stage.name: done}, failed_stage=None
    )


def with_drift(record: RunRecord, found: DataGateRecord | None) -> RunRecord:
    """Returns the record with the drift that the data gate measured, if it compared any."""
    comparisons = found.comparisons if found else ()
    drift = next((one for one in comparisons if one.kind == "drift"), None)
    if drift is None:
        return record
    distances = {one.feature: (one.value, one.limit) for one in drift.distances}
    return dataclasses.replace(record, data_drift=DataDrift(drift.other, distances))


def with_push(record: RunRecord, pushed: types.Artifact) -> RunRecord:
    """Returns the record with the outcome of the Pusher."""
    if not pushed.get_int_custom_property("pushed"):
        refusal = pushed.get_string_custom_property(pusher.REFUSAL_PROPERTY)
        return dataclasses.replace(record, status=run_record.NOT_BLESSED, push_refusal=refusal)
    return dataclasses.replace(
        record,
        status=run_record.PUSHED,
        pushed_version=pushed.get_string_custom_property("pushed_version"),
        pushed_path=pushed.get_string_custom_property("pushed_destination"),
    )


def with_results(record: RunRecord, config: PipelineConfig, outputs: Outputs) -> RunRecord:
    """Returns the record of a run after its Pusher, with the findings of the gates."""
    gates = (outputs["Evaluator"]["blessing"], outputs["ServingCheck"]["blessing"])
    model_run = outputs["Trainer"]["model_run"].uri
    training = training_record.read(model_run)
    return dataclasses.replace(
        _with_metrics(record, config, outputs),
        blessed=all(gate.get_int_custom_property("blessed") for gate in gates),
        serving_check=serving_report.read(outputs["ServingCheck"]["blessing"].uri),
        train_steps=training.steps,
        examples_per_second=training.examples_per_second,
        training=training,
    )


def _with_metrics(record: RunRecord, config: PipelineConfig, outputs: Outputs) -> RunRecord:
    evaluation_dir = outputs["Evaluator"]["evaluation"].uri
    class_names = image_set.read(outputs["CifarExampleGen"]["schema"].uri).class_names
    metrics = evaluation.read_metrics(evaluation_dir, class_names)
    if metrics is None:
        raise ValueError(f"{evaluation_dir} contains no metrics of the candidate.")
    return dataclasses.replace(
        record,
        accuracy=metrics.accuracy,
        top_3_accuracy=metrics.top_3_accuracy,
        top_5_accuracy=metrics.top_5_accuracy,
        cross_entropy=metrics.cross_entropy,
        eval_examples=metrics.eval_examples,
        class_accuracy=metrics.class_accuracy,
        gate=evaluation.read_gate(
            evaluation_dir,
            class_names,
            config.min_accuracy,
            config.max_accuracy_drop,
            baseline_model.version_of(outputs["BaselineModel"]["model"]),
        ),
    )
