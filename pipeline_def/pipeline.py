"""The pipeline: one definition for the laptop and for Kubeflow.

batches → examples → statistics → schema check → transform graph → (tune →) train → evaluate
→ serving check → push → report (→ predict)
"""

from pathlib import Path

# ruff: noqa: F401 - `nodes` imports a component when it makes the node. Here all are imported at
# once, within the `imports.fast` of whoever imports this module.
import tfx.components.trainer.component
from tfx.orchestration import pipeline

import components.baseline_model
import components.bulk_inferrer
import components.evaluator
import components.example_gen
import components.example_validator
import components.pusher
import components.report_gen
import components.serving_check
import components.statistics_gen
import components.trainer
import components.transform
import components.tuner
from pipeline_def import nodes
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig
from serving import baseline

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
    run = (config, batches)
    example_gen = nodes.example_gen(*run)
    examples, schema = example_gen.outputs["examples"], example_gen.outputs["schema"]
    statistics_gen = nodes.statistics_gen(*run, examples=examples, schema=schema)
    statistics = statistics_gen.outputs["statistics"]
    example_validator = nodes.example_validator(
        *run, reference_version, statistics=statistics, schema=schema
    )
    transform = nodes.transform(*run, examples=examples, schema=schema)
    transform_graph = transform.outputs["transform_graph"]
    tuner = (
        nodes.tuner(*run, examples=examples, transform_graph=transform_graph, schema=schema)
        if config.tuned
        else None
    )
    trainer = nodes.trainer(
        *run,
        examples=examples,
        transform_graph=transform_graph,
        schema=schema,
        **({"hyperparameters": tuner.outputs["best_hyperparameters"]} if tuner else {}),
    )
    model = trainer.outputs["model"]
    baseline_model = nodes.baseline_model(*run, baseline_version, schema=schema)
    evaluator = nodes.evaluator(
        *run,
        examples=examples,
        model=model,
        baseline_model=baseline_model.outputs["model"],
        schema=schema,
    )
    serving_check = nodes.serving_check(
        *run, model=model, model_run=trainer.outputs["model_run"], examples=examples
    )
    pusher = nodes.pusher(
        *run,
        banned_by,
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        statistics=statistics,
        schema=schema,
        baseline_model=baseline_model.outputs["model"],
    )
    report_gen = nodes.report_gen(
        *run,
        examples=examples,
        schema=schema,
        anomalies=example_validator.outputs["anomalies"],
        model=model,
        model_run=trainer.outputs["model_run"],
        baseline_model=baseline_model.outputs["model"],
        evaluation=evaluator.outputs["evaluation"],
        infra_blessing=serving_check.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
    )
    inferrer = (
        nodes.bulk_inferrer(
            *run, predict_digest, model=model, pushed_model=pusher.outputs["pushed_model"]
        )
        if config.predict_batch
        else None
    )
    # What no artifact says: bad data stop the run before it trains, and a bad model before it
    # is served; a fault in the prediction should not prevent the report.
    if tuner:
        tuner.add_upstream_node(example_validator)
    trainer.add_upstream_node(example_validator)
    baseline_model.add_upstream_node(trainer)
    serving_check.add_upstream_node(evaluator)
    if inferrer:
        inferrer.add_upstream_node(report_gen)
    return pipeline.Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=str(Path(config.output_dir) / "pipeline"),
        components=[
            example_gen,
            statistics_gen,
            example_validator,
            transform,
            *([tuner] if tuner else []),
            trainer,
            baseline_model,
            evaluator,
            serving_check,
            pusher,
            report_gen,
            *([inferrer] if inferrer else []),
        ],
        enable_cache=config.enable_cache,
    )
