"""The nodes of the pipeline, one function for each.

Each function imports what its own node needs, so that a step on Kubeflow, which builds and runs
a single node, imports nothing for the others.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tfx.dsl.components.base import base_node
from tfx.types import BaseChannel

from contract import estimator, records, warm_start
from pipeline_def import identity
from pipeline_def.batches import Batches
from pipeline_def.code_version import ROOT, code_version
from pipeline_def.config import PipelineConfig
from serving import baseline

Node = TypeVar("Node", bound=base_node.BaseNode)


def example_gen(config: PipelineConfig, batches: Batches) -> base_node.BaseNode:
    """Returns the node that converts batches to examples."""
    from components.example_gen import CifarExampleGen

    node = CifarExampleGen(
        batches.directory,
        batches.fingerprint,
        batches.checksums,
        dataclasses.replace(config.data_options, spans=batches.spans or config.spans),
        batches.eval_fingerprint,
    )
    return depends_on_code(node, "components.example_gen")


def statistics_gen(
    config: PipelineConfig, batches: Batches, **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that describes the examples."""
    from components.statistics_gen import StatisticsGen

    node = StatisticsGen(**inputs)
    return depends_on_code(node, "components.statistics_gen")


def example_validator(
    config: PipelineConfig,
    batches: Batches,
    reference_version: str = baseline.LATEST,
    **inputs: BaseChannel,
) -> base_node.BaseNode:
    """Returns the node that stops the pipeline if the data are unfit."""
    from components.data_gate import DataLimits
    from components.example_validator import ExampleValidator

    node = ExampleValidator(
        limits=records.from_fields(DataLimits, dataclasses.asdict(config)),
        model_dir=str(identity.serving_model_dir(config)),
        reference_version=reference_version,
        **inputs,
    )
    return depends_on_code(node, "components.example_validator")


def transform(
    config: PipelineConfig, batches: Batches, **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that traces the preprocessing into a graph."""
    from components.transform import Transform

    preprocessing_module = estimator.load(config.trainer_module).preprocessing_module
    # Nothing to analyse or materialize, so TFX traces the graph without reading data.
    node = Transform(
        preprocessing_fn=f"{preprocessing_module}.preprocessing_fn",
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
        force_tf_compat_v1=True,
        **inputs,
    )
    return depends_on_code(node, "components.transform", preprocessing_module)


def tuner(
    config: PipelineConfig, batches: Batches, **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that searches hyper-parameters."""
    from components.tuner import Tuner

    node = Tuner(
        custom_config={
            "trainer_module": config.trainer_module,
            "preset": config.preset,
            "hyper_parameters": dataclasses.asdict(config.hyper_parameters),
            "space": config.tuned.split(),
            "trials": config.tuning_trials,
            "held_out": config.tuning_held_out,
            "parallel": config.tuning_parallel,
            "study_dir": str(identity.study_dir(config, batches)),
        },
        **inputs,
    )
    return trains(node, config, "components.tuner")


def trainer(
    config: PipelineConfig, batches: Batches, **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that trains the Estimator and exports it."""
    from tfx.components.trainer.component import Trainer
    from tfx.proto import trainer_pb2

    from components import trainer

    fingerprint = identity.training_fingerprint(config, batches)
    start = identity.start_of(config, batches)
    node = Trainer(
        run_fn=trainer.RUN_FN,
        train_args=trainer_pb2.TrainArgs(num_steps=config.hyper_parameters.train_steps),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={
            "trainer_module": estimator.load(config.trainer_module).name,
            "hyper_parameters": dataclasses.asdict(config.hyper_parameters),
            "checkpoint_dir": str(Path(config.output_dir) / "checkpoints" / fingerprint),
            **({warm_start.KEY: dataclasses.asdict(start)} if start else {}),
        },
        **inputs,
    )
    return trains(node, config, trainer.__name__)


def baseline_model(
    config: PipelineConfig, batches: Batches, baseline_version: str = "", **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that finds the model to compare with."""
    from components.baseline_model import BaselineModel

    node = BaselineModel(
        str(identity.serving_model_dir(config)),
        baseline_version or config.baseline_version,
        config.baseline,
        identity.candidate(config, batches),
        **inputs,
    )
    return depends_on_code(node, "components.baseline_model")


def evaluator(
    config: PipelineConfig, batches: Batches, **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that judges the model."""
    from components.evaluator import Evaluator, Limits, eval_config

    limits = Limits(
        config.min_accuracy,
        config.max_accuracy_drop,
        config.min_class_accuracy,
        config.max_class_accuracy_drop,
    )
    node = Evaluator(eval_config=eval_config(limits), **inputs)
    return depends_on_code(node, "components.evaluator")


def serving_check(
    config: PipelineConfig, batches: Batches, **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that lets the model server serve the model."""
    from components.serving_check import ServingCheck

    node = ServingCheck(
        max_difference=config.max_serving_difference,
        max_latency_milliseconds=config.max_latency_milliseconds,
        **inputs,
    )
    return depends_on_code(node, "components.serving_check", "serving.model_server.__main__")


def pusher(
    config: PipelineConfig, batches: Batches, banned_by: str = "", **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that pushes a blessed model to the serving folder."""
    from tfx.proto import pusher_pb2

    from components.pusher import Pusher

    is_looked_up = config.baseline_version == baseline.LATEST
    node = Pusher(
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(
                base_directory=str(identity.serving_model_dir(config))
            )
        ),
        custom_config={
            "keep_versions": config.keep_versions,
            "baseline_rule": config.baseline if is_looked_up else "",
            "training_fingerprint": identity.training_fingerprint(config, batches),
            "data_fingerprint": batches.fingerprint,
            "banned_by": banned_by,
            **(
                {"start_version": batches.start.version, "start_weights": batches.start.weights}
                if batches.start
                else {}
            ),
        },
        **inputs,
    )
    return depends_on_code(node, "components.pusher")


def report_gen(
    config: PipelineConfig, batches: Batches, **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that writes the report."""
    from components.report_gen import ReportGen

    node = ReportGen(config.as_record() | batches.as_record(), **inputs)
    return depends_on_code(node, "components.report_gen", files=report_templates())


def bulk_inferrer(
    config: PipelineConfig, batches: Batches, predict_digest: str = "", **inputs: BaseChannel
) -> base_node.BaseNode:
    """Returns the node that predicts a folder with the model that was pushed."""
    from components.bulk_inferrer import BulkInferrer

    node = BulkInferrer(config.predict_batch, predict_digest, **inputs)
    return depends_on_code(node, "components.bulk_inferrer")


BY_NAME: Mapping[str, Callable[..., base_node.BaseNode]] = {
    "CifarExampleGen": example_gen,
    "StatisticsGen": statistics_gen,
    "ExampleValidator": example_validator,
    "Transform": transform,
    "Tuner": tuner,
    "Trainer": trainer,
    "BaselineModel": baseline_model,
    "Evaluator": evaluator,
    "ServingCheck": serving_check,
    "Pusher": pusher,
    "ReportGen": report_gen,
    "BulkInferrer": bulk_inferrer,
}


def report_templates() -> tuple[str, ...]:
    """Returns the templates of the report, as paths below the project's root."""
    templates = (ROOT / "report" / "templates").iterdir()
    return tuple(str(path.relative_to(ROOT)) for path in templates)


def trains(node: Node, config: PipelineConfig, module: str) -> Node:
    """Returns the node with a hash of its code and the Estimator's in its parameters."""
    trainer_module = estimator.load(config.trainer_module)
    return depends_on_code(
        node,
        module,
        trainer_module.run_module,
        # Its values are parameters of the node already.
        without=trainer_module.settings_module,
    )


def depends_on_code(
    node: Node, *modules: str, without: str = "", files: tuple[str, ...] = ()
) -> Node:
    """Returns the node with a hash of its code in its parameters, and so in its cache key."""
    node.exec_properties["code_version"] = code_version(*modules, without=without, files=files)
    return node
