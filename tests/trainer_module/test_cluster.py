import dataclasses
import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from contract import training_record
from contract.warm_start import WarmStart
from tests.trainer_module.conftest import TINY
from trainer_module import inputs
from trainer_module.hyper_parameters import HyperParameters

DISTRIBUTED = dataclasses.replace(TINY, distribution="mirrored")


def start(fn_args: FnArgs, tf_config: dict | None = None) -> subprocess.Popen:
    """Starts run_fn in its own process, with two CPU devices unless in a cluster."""
    script = f"""
        import tensorflow as tf
        if {tf_config is None}:
            (cpu,) = tf.config.list_physical_devices("CPU")
            halves = [tf.config.LogicalDeviceConfiguration()] * 2
            tf.config.set_logical_device_configuration(cpu, halves)
        from tfx.components.trainer.fn_args_utils import FnArgs
        from trainer_module import run
        run.run_fn(FnArgs(**{fn_args.__dict__!r}))
    """
    environment = {**os.environ, "TF_CONFIG": json.dumps(tf_config or {})}
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(processes: list[subprocess.Popen]) -> None:
    try:
        for process in processes:
            _, errors = process.communicate(timeout=180)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in processes:
            process.kill()


def free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{opened.getsockname()[1]}" for opened in sockets]
    for opened in sockets:
        opened.close()
    return addresses


def assert_same_weights(checkpoint_dir: Path, expected_dir: Path) -> None:
    """Allows for rounding, which Muon amplifies where a gradient is nearly zero."""
    found = tf.train.load_checkpoint(str(checkpoint_dir))
    expected = tf.train.load_checkpoint(str(expected_dir))
    for name in expected.get_variable_to_shape_map():
        if name.endswith(("weights", "biases", "ExponentialMovingAverage", "global_step")):
            difference = found.get_tensor(name) - expected.get_tensor(name)
            # A step moves a kernel of Muon by 5e-4 per weight.
            assert np.sqrt(np.mean(np.square(difference))) < 5e-5, name
            assert np.abs(difference).max() < 1e-3, name


def test_two_devices_train_as_one_does(make_fn_args, trained_dir, tmp_path):
    wait_for([start(make_fn_args(DISTRIBUTED, tmp_path))])
    assert_same_weights(tmp_path / "checkpoints", trained_dir / "checkpoints")
    record = training_record.read(str(tmp_path / "model_run"))
    assert len(record.devices) == 2
    assert record.loss == pytest.approx(
        training_record.read(str(trained_dir / "model_run")).loss, rel=1e-3
    )


def test_a_cluster_of_processes_trains_as_one_does(
    make_fn_args: Callable[[HyperParameters, Path], FnArgs], trained_dir: Path, tmp_path: Path
):
    addresses = free_addresses(2)
    cluster = {"chief": addresses[:1], "worker": addresses[1:]}
    fn_args = make_fn_args(TINY, tmp_path)
    tasks = [{"type": kind, "index": 0} for kind in ("chief", "worker", "evaluator")]
    wait_for([start(fn_args, {"cluster": cluster, "task": task}) for task in tasks])

    assert_same_weights(tmp_path / "checkpoints", trained_dir / "checkpoints")
    assert training_record.read(str(tmp_path / "model_run")).steps == 12
    assert (tmp_path / "model" / "Format-Serving" / "saved_model.pb").exists()
    assert list((tmp_path / "checkpoints" / "eval").glob("events.out.*"))


def test_each_process_takes_its_own_part_of_every_batch():
    batches = tf.data.Dataset.from_tensor_slices(({"x": tf.range(16)}, tf.range(16)))
    batches = batches.batch(8, drop_remainder=True)

    def rows_of(process: int) -> list[list[int]]:
        context = tf.distribute.InputContext(2, process, num_replicas_in_sync=4)
        return [
            labels.numpy().tolist() for _, labels in inputs.parts_of_process(batches, context)
        ]

    assert rows_of(0) == [[0, 1], [2, 3], [8, 9], [10, 11]]
    assert rows_of(1) == [[4, 5], [6, 7], [12, 13], [14, 15]]


def test_a_batch_that_cannot_be_shared_is_refused():
    batches = (
        tf.data.Dataset.range(6).map(lambda x: ({"x": x}, x)).batch(3, drop_remainder=True)
    )
    context = tf.distribute.InputContext(1, 0, num_replicas_in_sync=2)
    with pytest.raises(
        ValueError, match="batch_size must be a multiple of the 2 replicas, got 3"
    ):
        inputs.parts_of_process(batches, context)


def test_two_devices_start_from_the_weights_that_are_served(
    make_fn_args, trained_dir, tmp_path
):
    served = WarmStart(str(tmp_path), "7", path=str(trained_dir / "model/Format-Serving"))
    still = dataclasses.replace(DISTRIBUTED, train_steps=1, learning_rate=1e-12)
    fn_args = make_fn_args(still, tmp_path / "devices")
    fn_args.custom_config["warm_start"] = dataclasses.asdict(served)
    wait_for([start(fn_args)])
    found = tf.train.load_checkpoint(str(tmp_path / "devices/checkpoints"))
    expected = tf.train.load_checkpoint(f"{served.path}/variables/variables")
    for name in expected.get_variable_to_shape_map():
        if name != "global_step":
            weights = expected.get_tensor(name)
            for where in (name, name.removesuffix("/ExponentialMovingAverage")):
                np.testing.assert_allclose(found.get_tensor(where), weights, atol=1e-6)
