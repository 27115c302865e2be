"""Measures the same stages in a pipeline of unmodified TFX components.

Every option has its default, as in TFX's examples: Transform writes the transformed images and
their statistics. `python -m benchmarks.stock_pipeline EXAMPLES_DIR OUTPUT_DIR [MODEL_DIR]` runs
the pipeline with TFX's runner.
"""

import json
import sys
from pathlib import Path

import tensorflow_model_analysis as tfma
from ml_metadata import metadata_store
from tfx.components import Evaluator, ImportExampleGen, SchemaGen, StatisticsGen, Transform
from tfx.dsl.components.base import base_node
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts

from components.evaluator import Limits, eval_config
from contract import features
from contract.metrics import ACCURACY, CROSS_ENTROPY, top_k_metrics
from data_sources.cifar_format import CIFAR10

PREPROCESSING_FN = "trainer_module.preprocessing.preprocessing_fn"
STAGES_FILE = "stages.json"  # seconds by stage


def create_pipeline(
    examples_dir: Path, output_dir: Path, model_dir: Path | None
) -> pipeline.Pipeline:
    """Returns the pipeline: the data stages, and the Evaluator if there is a model.

    Args:
        examples_dir: Contains `Split-train` and `Split-eval`, TFRecords of tf.Examples.
        output_dir: For the artifacts and the metadata.
        model_dir: A model artifact's folder, with a SavedModel in `Format-Serving`.
    """
    splits = [
        example_gen_pb2.Input.Split(name=name, pattern=f"Split-{name}/*")
        for name in (features.TRAIN_SPLIT, features.EVAL_SPLIT)
    ]
    example_gen = ImportExampleGen(
        input_base=str(examples_dir), input_config=example_gen_pb2.Input(splits=splits)
    )
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"])
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn=PREPROCESSING_FN,
        custom_config={"image_size": CIFAR10.image_size},
    )
    nodes: list[base_node.BaseNode] = [example_gen, statistics_gen, schema_gen, transform]
    if model_dir:
        model = Importer(source_uri=str(model_dir), artifact_type=standard_artifacts.Model)
        evaluator = Evaluator(
            examples=example_gen.outputs["examples"],
            model=model.outputs["result"],
            schema=schema_gen.outputs["schema"],
            eval_config=stock_eval_config(CIFAR10.num_classes),
        )
        nodes += [model, evaluator]
    return pipeline.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(output_dir / "pipeline"),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            str(output_dir / "metadata.sqlite")
        ),
        components=nodes,
    )


def stock_eval_config(num_classes: int) -> tfma.EvalConfig:
    """Returns our Evaluator's config with TFMA's own metrics, which need no baseline."""
    config = eval_config(Limits())
    metrics = {
        "ExampleCount": {},
        "SparseCategoricalAccuracy": {"name": ACCURACY},
        "SparseCategoricalCrossentropy": {"name": CROSS_ENTROPY},
        "MultiClassConfusionMatrixPlot": {},
    }
    del config.metrics_specs[0].metrics[:]
    for class_name, arguments in metrics.items():
        config.metrics_specs[0].metrics.add(class_name=class_name, config=json.dumps(arguments))
    for name, k in top_k_metrics(num_classes).items():
        config.metrics_specs[0].metrics.add(
            class_name="SparseTopKCategoricalAccuracy",
            config=json.dumps({"name": name, "k": k}),
        )
    return config


def read_stage_seconds(definition: pipeline.Pipeline) -> dict[str, float]:
    """Returns the seconds of each stage that ran, in order, from the metadata."""
    store = metadata_store.MetadataStore(definition.metadata_connection_config)
    names = {kind.id: kind.name.rpartition(".")[2] for kind in store.get_execution_types()}
    return {
        names[execution.type_id]: (
            execution.last_update_time_since_epoch - execution.create_time_since_epoch
        )
        / 1000
        for execution in sorted(store.get_executions(), key=lambda execution: execution.id)
    }


def main(examples_dir: str, output_dir: str, model_dir: str = "") -> None:
    """Runs the pipeline and writes the seconds of its stages to `OUTPUT_DIR/stages.json`."""
    output = Path(output_dir).resolve()
    definition = create_pipeline(
        Path(examples_dir).resolve(), output, Path(model_dir).resolve() if model_dir else None
    )
    LocalDagRunner().run(definition)
    (output / STAGES_FILE).write_text(json.dumps(read_stage_seconds(definition)))


if __name__ == "__main__":
    main(*sys.argv[1:])
