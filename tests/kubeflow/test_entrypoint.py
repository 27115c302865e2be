"""What the entrypoint does around a node; whole steps are run in test_compiled_run.py."""

import json
import multiprocessing
import time

import filelock
from google.protobuf.struct_pb2 import Value

from kubeflow import entrypoint
from kubeflow.parameters import RunParameters, batches_of, config_of
from pipeline_def.pipeline import create_pipeline


def use_alone(folder, seconds, entered, left):
    with entrypoint.sole_user(folder):
        entered.set()
        time.sleep(seconds)
        left.value = time.monotonic()


def test_runs_that_train_in_one_folder_take_turns(tmp_path, caplog):
    folder = tmp_path / "checkpoints/abc"
    context = multiprocessing.get_context("fork")
    entered, left = context.Event(), context.Value("d", 0.0)
    other = context.Process(target=use_alone, args=(folder, 0.5, entered, left))
    other.start()
    assert entered.wait(10)
    with entrypoint.sole_user(folder):
        assert 0 < left.value <= time.monotonic()
    other.join()
    assert f"Another run is training in {folder}" in caplog.text


def test_a_killed_step_leaves_no_lock(tmp_path):
    folder = tmp_path / "checkpoints/abc"
    context = multiprocessing.get_context("fork")
    entered, left = context.Event(), context.Value("d", 0.0)
    killed = context.Process(target=use_alone, args=(folder, 60, entered, left))
    killed.start()
    assert entered.wait(10)
    killed.kill()
    killed.join()
    with filelock.FileLock(f"{folder}.lock", timeout=0):
        pass


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
