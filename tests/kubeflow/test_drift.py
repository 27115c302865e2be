"""The pipeline that watches what is served, run step by step as on Kubeflow."""

import json
import shutil

import pytest
import yaml
from click.testing import CliRunner

from benchmarks.emulator.backend import StepFailedError, parse
from cli.main import main
from tests.components.test_drift import give_facts, images_of, log_of, write

LIKE_TRAIN, CATS = list(range(10)) * 20, [3] * 200


@pytest.fixture(scope="module")
def drift_yaml(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("drift") / "drift.yaml"
    arguments = ["compile", "--drift", "--image", "registry.test/cifar:1"]
    arguments += ["--set", "model_name=colours", "--output", str(path)]
    result = CliRunner().invoke(main, ["kubeflow", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "2 steps" in result.output
    return path.read_text()


@pytest.fixture(scope="module")
def served(backend, models_dir):
    """Puts a version and its logs onto the volume; returns the folder of the logs."""
    version = backend.volume / "serving/colours/7"
    shutil.copytree(models_dir / "colours/7", version)
    give_facts(version, LIKE_TRAIN)
    logs = backend.volume / "logs"
    logs.mkdir()
    write(logs / "like.tfrecord", log_of(images_of(LIKE_TRAIN)))
    write(logs / "cats.tfrecord", log_of(images_of(CATS)))
    return logs


def test_the_official_protos_take_every_field(drift_yaml):
    spec, deployment, platform = parse(drift_yaml)
    assert {*spec.root.dag.tasks} == {"DriftCheck", "DriftGate"}
    assert len(deployment.executors) == 2
    assert platform["DriftCheck_executor"]["pvcMount"]
    assert spec.pipeline_info.name == "cifar10-drift"


def test_a_run_that_is_told_nothing_has_every_value(drift_yaml):
    root = next(yaml.safe_load_all(drift_yaml))["root"]
    parameters = root["inputDefinitions"]["parameters"]
    assert {name: each["defaultValue"] for name, each in parameters.items()} == {
        "logs": "/mnt/cifar10/logs",
        "push_destination": "/mnt/cifar10/serving",
        "version": "",
    }
    assert not any("cachingOptions" in task for task in root["dag"]["tasks"].values())


def test_requests_like_the_training_data_succeed(backend, drift_yaml, served):
    steps = backend.run(drift_yaml, logs="/mnt/cifar10/logs/like.tfrecord")
    assert {name: step.state for name, step in steps.items()} == {
        "DriftCheck": "SUCCEEDED",
        "DriftGate": "SUCCEEDED",
    }


def test_drift_fails_the_run_and_leaves_its_page(backend, drift_yaml, served):
    with pytest.raises(StepFailedError) as failure:
        backend.run(drift_yaml, logs="/mnt/cifar10/logs/c*.tfrecord", version="7")
    check, gate = failure.value.steps["DriftCheck"], failure.value.steps["DriftGate"]
    assert (check.state, gate.state, gate.attempts) == ("SUCCEEDED", "FAILED", 1)
    assert "label: the distance (L-infinity) is 0.900, at most 0.100" in gate.log
    assert "cat differs most, 100.0% against 10.0%" in gate.log
    uri = check.outputs["report"].uri
    assert uri.endswith("/drift.html")
    assert "Drifted: predicted class" in backend.store.get(uri.split("/", 3)[3]).decode()
    key = check.outputs["drift"].uri.split("/", 3)[3]
    assert json.loads(backend.store.get(f"{key}/drift.json"))["version"] == 7


def test_a_setting_without_effect_is_refused(tmp_path):
    command = ["kubeflow", "compile", "--drift", "--image", "registry.test/cifar:1"]
    command += ["--output", str(tmp_path / "drift.yaml"), "--set", "model_name=colours"]
    refused = CliRunner().invoke(
        main, [*command, "--set", "min_accuracy=0.9", "--set", "data=/mnt/cifar10/data"]
    )
    assert refused.exit_code == 1
    assert refused.output.strip() == (
        "Error: --set takes only max_label_distance, max_image_distance, model_name here; "
        "min_accuracy, data would have no effect."
    )
    assert not (tmp_path / "drift.yaml").exists()


def test_what_only_a_training_needs_is_refused():
    for option in (
        ("--preset", "quick"),
        ("--trainer-module", "examples.batch_norm"),
        ("--data", "/mnt/cifar10/data"),
    ):
        result = CliRunner().invoke(
            main,
            ["kubeflow", "compile", "--drift", "--image", "registry.test/cifar:1", *option],
        )
        assert result.exit_code == 2
        assert "nothing is trained" in result.output
