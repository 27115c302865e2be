"""What the entrypoint does around a node; whole steps are run in test_compiled_run.py."""

import json

from google.protobuf.struct_pb2 import Value

from kubeflow import entrypoint
from kubeflow.parameters import RunParameters, batches_of, config_of
from pipeline_def.pipeline import create_pipeline


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
