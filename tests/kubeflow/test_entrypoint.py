"""What the entrypoint does around a node; whole steps are run in test_compiled_run.py."""

import json

from google.protobuf.struct_pb2 import Value

from kubeflow import entrypoint
from kubeflow.parameters import RunParameters, batches_of, config_of
from pipeline_def.pipeline import create_pipeline
from serving import model_registry, version_store
from serving.model_registry import Provenance


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
    node = entrypoint.find_node(options.node, config, batches_of(RunParameters()))
    told = json.loads(node.exec_properties["custom_config"])
    assert told["trainer_module"] == "examples.batch_norm"
    assert told["hyper_parameters"]["ema_decay"] == 0.5
    assert not for_beam


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
        return entrypoint.find_node(node, config, started).exec_properties

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
