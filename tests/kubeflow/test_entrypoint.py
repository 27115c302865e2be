"""What the entrypoint does around a node; whole steps are run in test_compiled_run.py."""

import json
import subprocess
import sys

import pytest
from google.protobuf.struct_pb2 import Value
from tfx import types
from tfx.dsl.components.base import base_node

from kubeflow import entrypoint
from kubeflow.compile import tasks_of
from kubeflow.parameters import RunParameters, batches_of, config_of
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig
from pipeline_def.pipeline import create_pipeline
from serving import model_registry, version_store
from serving.model_registry import Provenance

# Modules that are there only if a library is really imported, not if it is put off.
TENSORFLOW, BEAM, MATPLOTLIB = "tensorflow.python", "apache_beam", "matplotlib"
TFDV, TFMA = "tensorflow_data_validation.api", "tensorflow_model_analysis.api"


def node_alone(name: str, config: PipelineConfig, batches: Batches) -> base_node.BaseNode:
    """Returns a node as its step makes it."""
    definition = create_pipeline(config, batches, config.baseline_version)
    (node,) = (each for each in definition.components if each.id == name)
    inputs = {key: types.Channel(type=channel.type) for key, channel in node.inputs.items()}
    return entrypoint.find_node(name, config, batches, inputs)


def test_only_the_trainer_keeps_a_folder_to_itself():
    parameters = RunParameters(preset="smoke")
    config, batches = config_of(parameters, ()), batches_of(parameters)
    folders = {
        node.id: entrypoint.checkpoint_dir(
            {
                name: Value(string_value=str(value))
                for name, value in node.exec_properties.items()
            }
        )
        for node in create_pipeline(config, batches, config.baseline_version).components
    }
    assert [node for node, folder in folders.items() if folder] == ["Trainer"]


def test_a_step_of_another_estimator_finds_its_own_hyper_parameters():
    arguments = ["--node", "Trainer", "--trainer_module", "examples.batch_norm"]
    arguments += ["--setting", "ema_decay=0.5"]
    for name in ("executor_class_path", "invocation_args", "inputs_spec_args"):
        prefix = "" if name.startswith("executor") else "json_serialized_"
        arguments += [f"--{prefix}{name}", "{}"]
    options, for_beam = entrypoint.parse(arguments)
    config = config_of(RunParameters(preset="smoke"), options.settings, options.trainer_module)
    node = node_alone(options.node, config, batches_of(RunParameters()))
    told = json.loads(node.exec_properties["custom_config"])
    assert told["trainer_module"] == "examples.batch_norm"
    assert told["hyper_parameters"]["ema_decay"] == 0.5
    assert not for_beam


@pytest.mark.parametrize(
    "settings", [(), ("tuned=learning_rate=0.01..0.1", "predict_batch=/mnt/inbox")]
)
def test_a_step_makes_the_node_that_the_pipeline_contains(settings):
    config = config_of(RunParameters(preset="smoke"), settings)
    batches = batches_of(RunParameters())
    for node in create_pipeline(config, batches, config.baseline_version).components:
        alone = node_alone(node.id, config, batches)
        assert alone.id == node.id
        assert alone.exec_properties == node.exec_properties
        assert alone.executor_spec.class_path == node.executor_spec.class_path
        types_of = {name: channel.type for name, channel in node.outputs.items()}
        assert {name: channel.type for name, channel in alone.outputs.items()} == types_of


START = """
import sys
from kubeflow import entrypoint
from kubeflow.parameters import RunParameters, batches_of, config_of
_, name, spec, *needless = sys.argv
parameters = RunParameters("smoke")
inputs = entrypoint.pipeline_spec_pb2.ComponentInputsSpec()
entrypoint.json_format.Parse(spec, inputs)
channels = entrypoint.executor.channels(inputs)
entrypoint.find_node(name, config_of(parameters, ()), batches_of(parameters), channels)
needless += ["google.cloud.bigquery.client", "docker", "kubernetes"]
print([module for module in needless if module in sys.modules])
"""


@pytest.mark.parametrize(
    ("name", "needless"),
    [
        ("BaselineModel", [TENSORFLOW, BEAM, TFDV, TFMA, MATPLOTLIB]),
        ("Pusher", [TENSORFLOW, BEAM, TFDV, TFMA, MATPLOTLIB]),
        ("ServingCheck", [TENSORFLOW, BEAM, TFDV, TFMA, MATPLOTLIB]),  # yet; see its executor
        ("Trainer", [TFDV, TFMA, MATPLOTLIB]),
        ("Evaluator", [MATPLOTLIB]),
    ],
)
def test_a_step_imports_nothing_for_other_nodes(documents, name, needless):
    (args,) = (
        container["args"] for node, _, _, container in tasks_of(documents[0]) if node == name
    )
    spec = args[args.index("--json_serialized_inputs_spec_args") + 1]
    done = subprocess.run(
        [sys.executable, "-c", START, name, spec, *needless], capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_node_that_the_image_lacks_is_named_with_those_it_has():
    config = config_of(RunParameters(preset="smoke"), ())
    with pytest.raises(ValueError, match=r"has no Ranker, only CifarExampleGen, StatisticsGen"):
        entrypoint.find_node("Ranker", config, batches_of(RunParameters()), {})
    with pytest.raises(ValueError, match=r"has no Trainer, only DriftCheck, DriftGate"):
        entrypoint.find_drift_node("Trainer")


def test_all_that_name_a_training_agree_on_the_version_it_starts_from(tmp_path):
    parameters = RunParameters(preset="smoke", push_destination=str(tmp_path / "serving"))
    config, batches = config_of(parameters, ["warm_start=latest"]), batches_of(parameters)

    def push(weights: str) -> str:
        model = tmp_path / weights
        (model / "variables").mkdir(parents=True)
        (model / "saved_model.pb").write_text(weights)
        (model / "variables/variables.data-00000-of-00001").write_text(weights)
        provenance = Provenance(weights, checksums=model_registry.checksums(model))
        return version_store.push(model, tmp_path / "serving/cifar10", provenance).name

    def properties(node: str) -> dict:
        started = entrypoint.with_start(node, config, batches)
        return node_alone(node, config, started).exec_properties

    fingerprints = []
    for weights in ("first", "second"):
        version = push(weights)
        trainer = json.loads(properties("Trainer")["custom_config"])
        pusher = json.loads(properties("Pusher")["custom_config"])
        candidate = json.loads(properties("BaselineModel")["candidate"])
        assert trainer["warm_start"]["version"] == pusher["start_version"] == version
        fingerprints.append(pusher["training_fingerprint"])
        assert candidate["training_fingerprint"] == fingerprints[-1]
        assert trainer["checkpoint_dir"].endswith(f"/checkpoints/{fingerprints[-1]}")
    assert fingerprints[0] != fingerprints[1]
