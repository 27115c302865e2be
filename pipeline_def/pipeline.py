"""The pipeline: one definition for the laptop and for Kubeflow.

batches → examples → statistics → schema check → transform graph → (tune →) train → evaluate
→ serving check → push → report (→ predict)
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TypeVar

import tensorflow_data_validation as tfdv
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base import base_node
from tfx.orchestration import pipeline
from tfx.proto import pusher_pb2, trainer_pb2

from components import trainer as trainer_node
from components.baseline_model import BaselineModel
from components.bulk_inferrer import BulkInferrer
from components.data_gate import DataLimits
from components.evaluator import Evaluator, Limits, eval_config
from components.example_gen import CifarExampleGen
from components.example_validator import ExampleValidator
from components.pusher import Pusher
from components.report_gen import ReportGen
from components.serving_check import ServingCheck
from components.statistics_gen import StatisticsGen
from components.transform import Transform
from components.tuner import Tuner
from contract import estimator, records, warm_start
from contract.warm_start import WarmStart
from pipeline_def.batches import Batches
from pipeline_def.code_version import ROOT, algorithm_version, code_version
from pipeline_def.config import PipelineConfig
from serving import baseline
from serving.baseline import Candidate

Node = TypeVar("Node", bound=base_node.BaseNode)

PIPELINE_NAME = "cifar10-estimator"


def create_pipeline(
    config: PipelineConfig,
    batches: Batches,
    baseline_version: str,
    reference_version: str = baseline.LATEST,
    banned_by: str = "",
    predict_digest: str = "",
) -> pipeline.Pipeline:
    """Returns the pipeline.

    Args:
        config: The settings.
        batches: The batches to train and judge on.
        baseline_version: As in the config, but `latest` may be resolved when the run starts.
        reference_version: The version whose data to compare with; `latest` as above.
        banned_by: The version whose quarantine bars this training from being pushed, if any.
            The Pusher checks it itself; here it keeps the cache from offering an earlier push.
        predict_digest: Identifies the files of `predict_batch`.
    """
    model_dir = str(serving_model_dir(config))
    fingerprint = training_fingerprint(config, batches)
    trainer_module = estimator.load(config.trainer_module)
    start = start_of(config, batches)

    example_gen = CifarExampleGen(
        batches.directory,
        batches.fingerprint,
        batches.checksums,
        dataclasses.replace(config.data_options, spans=batches.spans or config.spans),
    )
    schema = example_gen.outputs["schema"]
    statistics_gen = StatisticsGen(
        examples=example_gen.outputs["examples"],
        schema=schema,
        # Sketches find frequent values with one Beam combiner instead of half the graph, which
        # takes longer to build than to run for 60,000 images (6.4 s → 4.0 s).
        stats_options=tfdv.StatsOptions(experimental_use_sketch_based_topk_uniques=True),
    )
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema,
        limits=records.from_fields(DataLimits, dataclasses.asdict(config)),
        model_dir=model_dir,
        reference_version=reference_version,
    )
    # Nothing to analyse or materialize, so TFX traces the graph without reading data.
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema,
        preprocessing_fn=f"{trainer_module.preprocessing_module}.preprocessing_fn",
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
        force_tf_compat_v1=True,
    )
    tuner = tuner_of(config, batches, example_gen, transform)
    if tuner:
        tuner.add_upstream_node(example_validator)
    trainer = Trainer(
        run_fn=trainer_node.RUN_FN,
        examples=example_gen.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        train_args=trainer_pb2.TrainArgs(num_steps=config.hyper_parameters.train_steps),
        eval_args=trainer_pb2.EvalArgs(),
        hyperparameters=tuner and tuner.outputs["best_hyperparameters"],
        custom_config={
            "trainer_module": trainer_module.name,
            "hyper_parameters": dataclasses.asdict(config.hyper_parameters),
            "checkpoint_dir": str(Path(config.output_dir) / "checkpoints" / fingerprint),
            **({warm_start.KEY: dataclasses.asdict(start)} if start else {}),
        },
    )
    trainer.add_upstream_node(example_validator)
    baseline_model = BaselineModel(
        model_dir, baseline_version, config.baseline, candidate(config, batches)
    )
    baseline_model.add_upstream_node(trainer)
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=baseline_model.outputs["model"],
        schema=schema,
        eval_config=eval_config(
            Limits(
                config.min_accuracy,
                config.max_accuracy_drop,
                config.min_class_accuracy,
                config.max_class_accuracy_drop,
            )
        ),
    )
    serving_check = ServingCheck(
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        examples=example_gen.outputs["examples"],
        max_difference=config.max_serving_difference,
        max_latency_milliseconds=config.max_latency_milliseconds,
    )
    serving_check.add_upstream_node(evaluator)
    is_looked_up = config.baseline_version == baseline.LATEST
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        statistics=statistics_gen.outputs["statistics"],
        baseline_model=baseline_model.outputs["model"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=model_dir)
        ),
        custom_config={
            "keep_versions": config.keep_versions,
            "baseline_rule": config.baseline if is_looked_up else "",
            "training_fingerprint": fingerprint,
            "data_fingerprint": batches.fingerprint,
            "eval_fingerprint": batches.eval_fingerprint,
            "banned_by": banned_by,
            **(
                {"start_version": batches.start.version, "start_weights": batches.start.weights}
                if batches.start
                else {}
            ),
        },
    )
    report_gen = ReportGen(
        config.as_record() | batches.as_record(),
        examples=example_gen.outputs["examples"],
        schema=schema,
        anomalies=example_validator.outputs["anomalies"],
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        baseline_model=baseline_model.outputs["model"],
        evaluation=evaluator.outputs["evaluation"],
        infra_blessing=serving_check.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
    )
    inferrer = None
    if config.predict_batch:
        inferrer = BulkInferrer(
            config.predict_batch,
            predict_digest,
            model=trainer.outputs["model"],
            pushed_model=pusher.outputs["pushed_model"],
        )
        inferrer.add_upstream_node(report_gen)  # which a fault in it should not prevent
    return pipeline.Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=str(Path(config.output_dir) / "pipeline"),
        components=[
            depends_on_code(example_gen, "components.example_gen"),
            depends_on_code(statistics_gen, "components.statistics_gen"),
            depends_on_code(example_validator, "components.example_validator"),
            depends_on_code(
                transform, "components.transform", trainer_module.preprocessing_module
            ),
            *([tuner] if tuner else []),
            depends_on_code(
                trainer,
                trainer_node.__name__,
                trainer_module.run_module,
                # Its values are parameters of the node already.
                without=trainer_module.settings_module,
            ),
            depends_on_code(baseline_model, "components.baseline_model"),
            depends_on_code(evaluator, "components.evaluator"),
            depends_on_code(
                serving_check, "components.serving_check", "serving.model_server.__main__"
            ),
            depends_on_code(pusher, "components.pusher"),
            depends_on_code(report_gen, "components.report_gen", files=report_templates()),
            *([depends_on_code(inferrer, "components.bulk_inferrer")] if inferrer else []),
        ],
        enable_cache=config.enable_cache,
    )


def tuner_of(
    config: PipelineConfig,
    batches: Batches,
    example_gen: base_node.BaseNode,
    transform: base_node.BaseNode,
) -> Tuner | None:
    """Returns the node that searches hyper-parameters; None without a search."""
    if not config.tuned:
        return None
    trainer_module = estimator.load(config.trainer_module)
    tuner = Tuner(
        examples=example_gen.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=example_gen.outputs["schema"],
        custom_config={
            "trainer_module": config.trainer_module,
            "preset": config.preset,
            "hyper_parameters": dataclasses.asdict(config.hyper_parameters),
            "space": config.tuned.split(),
            "trials": config.tuning_trials,
            "held_out": config.tuning_held_out,
            "parallel": config.tuning_parallel,
            "study_dir": str(study_dir(config, batches)),
        },
    )
    return depends_on_code(
        tuner,
        "components.tuner",
        trainer_module.run_module,
        without=trainer_module.settings_module,
    )


def study_dir(config: PipelineConfig, batches: Batches) -> Path:
    """Returns the folder of a search, from which it continues if killed or extended."""
    return Path(config.output_dir) / "tuning" / training_fingerprint(config, batches)


def serving_model_dir(config: PipelineConfig) -> Path:
    """Returns the folder of the pushed versions, which TensorFlow Serving watches."""
    root = Path(config.serving_dir or Path(config.output_dir) / "serving")
    return root / config.model_name


def report_templates() -> tuple[str, ...]:
    """Returns the templates of the report, as paths below the project's root."""
    templates = (ROOT / "report" / "templates").iterdir()
    return tuple(str(path.relative_to(ROOT)) for path in templates)


def training_fingerprint(config: PipelineConfig, batches: Batches) -> str:
    """Returns the identity of a training: a hash of everything that shapes the weights.

    This includes the data and their conversion to examples, the network with its inputs, and
    the hyper-parameters or their search, but not how training is run, logged and exported.
    """
    trainer_module = estimator.load(config.trainer_module)
    facts = {
        "data": batches.fingerprint,
        "code": algorithm_version(
            *trainer_module.weight_modules,
            "data_sources.example_format",
            without=trainer_module.settings_module,
        ),
        "data_options": config.data_options.of_an_image,
        "hyper_parameters": estimator.weight_settings(config.hyper_parameters),
        "search": [config.tuned, config.tuning_held_out] if config.tuned else [],
    }
    if start := start_of(config, batches):
        facts["start"] = [start.weights or start.version, start.learning_rate]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def start_of(config: PipelineConfig, batches: Batches) -> WarmStart | None:
    """Returns the weights that training starts from; None for random ones."""
    start = batches.start or unresolved_start(config, serving_model_dir(config))
    return None if start.version == warm_start.NONE else start


def unresolved_start(config: PipelineConfig, model_dir: Path) -> WarmStart:
    """Returns the start of a training as the settings say, before anyone looks for it."""
    return WarmStart(
        str(model_dir),
        config.warm_start,
        config.warm_start_learning_rate,
        is_required=config.warm_start != warm_start.LATEST,
    )


def candidate(config: PipelineConfig, batches: Batches) -> Candidate:
    """Returns what is known about a candidate before its training."""
    return Candidate(
        training_fingerprint(config, batches), batches.fingerprint, batches.eval_fingerprint
    )


def depends_on_code(
    node: Node, *modules: str, without: str = "", files: tuple[str, ...] = ()
) -> Node:
    """Returns the node with a hash of its code in its parameters, and so in its cache key."""
    node.exec_properties["code_version"] = code_version(*modules, without=without, files=files)
    return node
