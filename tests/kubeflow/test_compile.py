"""What the compiler adds to TFX's output, and what it rejects."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from benchmarks.emulator.backend import parse
from cli.main import main
from kubeflow.cluster import Beam, Cluster, Secret, StepPod, Toleration, TrainerPod
from kubeflow.compile import compile_pipeline
from kubeflow.parameters import RunParameters
from pipeline_def.code_version import ROOT
from tests.kubeflow.conftest import SETTINGS

IMAGE = "registry.test/cifar:1"
MAX_ARGUMENT_BYTES = 128 * 1024  # of one argument: MAX_ARG_STRLEN in Linux


def container_of(documents, node):
    return documents[0]["deploymentSpec"]["executors"][f"{node}_executor"]["container"]


def task_of(documents, node):
    return documents[0]["root"]["dag"]["tasks"][node]


def platform_of(documents, node):
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return executors[f"{node}_executor"]


def run_parameters_of(documents, node):
    return {
        source["componentInputParameter"]
        for source in task_of(documents, node)["inputs"]["parameters"].values()
        if "componentInputParameter" in source
    }


def test_a_run_that_is_told_nothing_has_every_value(documents):
    definitions = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert {name: each["defaultValue"] for name, each in definitions.items()} == {
        "preset": "smoke",
        "data": "sample",
        "data_fingerprint": "",
        "train_steps": 0,
        "push_destination": "/mnt/cifar10/serving",
    }


def test_a_node_gets_the_parameters_it_depends_on_and_no_others(documents):
    assert run_parameters_of(documents, "CifarExampleGen") == {"data", "data_fingerprint"}
    assert run_parameters_of(documents, "StatisticsGen") == set()
    assert run_parameters_of(documents, "Evaluator") == {"preset"}
    assert run_parameters_of(documents, "Trainer") == {
        *("preset", "data", "data_fingerprint", "train_steps"),
    }
    assert run_parameters_of(documents, "Pusher") == {
        *("preset", "data", "data_fingerprint", "train_steps", "push_destination"),
    }


def test_the_official_protos_take_every_field(pipeline_yaml):
    spec, deployment, _ = parse(pipeline_yaml)
    assert len(spec.root.dag.tasks) == len(deployment.executors)


def test_every_step_is_a_container_the_launcher_can_start(documents):
    for node, task in documents[0]["root"]["dag"]["tasks"].items():
        executor = documents[0]["deploymentSpec"]["executors"][f"{node}_executor"]
        assert set(executor) == {"container"}, "open-source backends have no resolvers"
        container = executor["container"]
        assert "lifecycle" not in container, "nor drivers of an ExampleGen"
        assert container["command"] == ["python", "-m", "kubeflow.entrypoint"]
        values = str(task["inputs"]["parameters"])
        for argument in container["args"]:
            assert "{{" not in argument.replace("{{$}}", "")
            size = len(argument.replace("{{$}}", values).encode())
            assert size < MAX_ARGUMENT_BYTES / 2, "the rest is for addresses of artifacts"


def test_every_input_is_an_output_of_a_step_that_is_waited_for(documents):
    tasks, components = documents[0]["root"]["dag"]["tasks"], documents[0]["components"]
    for node, task in tasks.items():
        defined = components[node]["inputDefinitions"].get("artifacts", {})
        assert set(defined) == set(task["inputs"].get("artifacts", {}))
        for name, source in task["inputs"].get("artifacts", {}).items():
            made_by = source["taskOutputArtifact"]
            assert made_by["producerTask"] in task["dependentTasks"]
            outputs = components[made_by["producerTask"]]["outputDefinitions"]["artifacts"]
            made = outputs[made_by["outputArtifactKey"]]
            assert made["artifactType"] == defined[name]["artifactType"]
        parameters = components[node]["inputDefinitions"].get("parameters", {})
        assert set(parameters) == set(task["inputs"]["parameters"])


def test_no_value_of_this_machine_is_in_the_file(pipeline_yaml):
    assert str(ROOT) not in pipeline_yaml


def test_every_run_looks_at_the_pushed_versions_and_pushes_again(documents):
    cached = {
        node: "cachingOptions" in task
        for node, task in documents[0]["root"]["dag"]["tasks"].items()
    }
    assert {node for node, is_cached in cached.items() if not is_cached} == {
        "ExampleValidator",
        "BaselineModel",
        "Pusher",
    }


def test_predictions_are_made_anew_from_the_volume():
    settings = ["predict_batch=/mnt/cifar10/inbox"]
    documents = compile_pipeline(IMAGE, Cluster(), RunParameters(preset="smoke"), settings)
    assert "cachingOptions" not in task_of(documents, "BulkInferrer")
    assert platform_of(documents, "BulkInferrer")["pvcMount"]
    told = {
        node: container_of(documents, node)["args"]
        for node in documents[0]["root"]["dag"]["tasks"]
    }
    assert settings[0] in told["BulkInferrer"]  # or its container's pipeline would not have it
    assert settings[0] not in told["Trainer"]


def test_the_code_of_a_node_is_part_of_its_cache_key(documents):
    versions = [
        task_of(documents, node)["inputs"]["parameters"]["code_version"]["runtimeValue"]
        for node in ("CifarExampleGen", "Transform", "Trainer")
    ]
    assert len({version["constant"] for version in versions}) == 3


def test_only_nodes_that_use_the_volume_mount_it(documents):
    mounts = {
        node
        for node in documents[0]["root"]["dag"]["tasks"]
        if platform_of(documents, node).get("pvcMount")
    }
    assert mounts == {
        *("CifarExampleGen", "ExampleValidator", "Trainer", "BaselineModel", "Pusher"),
        "ReportGen",  # its page names the folders
        *("StatisticsGen", "Evaluator"),  # for their jobs on Flink
    }


def test_only_the_environment_says_where_the_beam_steps_work(documents):
    """The backend's cache key has a step's arguments, image and volumes."""
    cluster = Cluster(beam=Beam(runner="flink", parallelism=3))
    on_flink = compile_pipeline(
        "registry.test/cifar:1", cluster, RunParameters(preset="smoke"), SETTINGS
    )
    told = {}
    for node in documents[0]["root"]["dag"]["tasks"]:
        here, there = container_of(documents, node), container_of(on_flink, node)
        variables = {each["name"]: each["value"] for each in there["env"]}
        if "CIFAR_BEAM" in variables:
            told[node] = json.loads(variables["CIFAR_BEAM"])
        there["env"] = here["env"]
    assert on_flink == documents
    assert set(told) == {"CifarExampleGen", "StatisticsGen", "Evaluator"}
    assert told["Evaluator"] == {
        "job_server": "cifar10-beam:8099",
        "flink_url": "http://cifar10-flink-rest:8081",
        "parallelism": 3,
        "folder": "/mnt/cifar10/beam",
    }


def test_the_ui_gets_outputs_of_its_own_types(documents):
    titles = {
        (node, name): output["artifactType"].get("schemaTitle")
        for node, component in documents[0]["components"].items()
        for name, output in component["outputDefinitions"]["artifacts"].items()
    }
    assert {where: title for where, title in titles.items() if title} == {
        ("Evaluator", "metrics"): "system.Metrics",
        ("Evaluator", "confusion_matrix"): "system.ClassificationMetrics",
        ("ReportGen", "report"): "system.HTML",
    }


def test_everything_of_a_cluster_reaches_the_documents():
    cluster = Cluster(
        volume_claim="models",
        mount_path="/models",
        steps=StepPod(node_selector={"pool": "batch"}),
        trainer=TrainerPod(
            cpu=8,
            memory_gib=16,
            gpu=1,
            node_selector={"pool": "gpu"},
            tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists"),),
        ),
        retries=4,
        retry_backoff_seconds=5,
        timeout_seconds=7200,
        env={"HTTPS_PROXY": "http://proxy.test:3128"},
        secrets=(Secret(name="database", key="password", env="DB_PASSWORD"),),
        image_pull_secrets=("registry",),
    )
    defaults = RunParameters(data="/models/data", push_destination="/models/serving")
    documents = compile_pipeline(IMAGE, cluster, defaults, pipeline_root="s3://bucket/root")
    trainer = container_of(documents, "Trainer")
    assert trainer["image"] == f"{IMAGE}-gpu"
    assert container_of(documents, "Evaluator")["image"] == IMAGE
    assert trainer["resources"] == {
        "cpuLimit": 8.0,
        "memoryLimit": 17.179869184,  # × 1e9 bytes: 16 GiB
        "accelerator": {"type": "nvidia.com/gpu", "count": "1"},
    }
    assert container_of(documents, "Pusher")["resources"] == {
        "cpuLimit": 2.0,
        "memoryLimit": 4.294967296,
    }
    assert {"name": "HTTPS_PROXY", "value": "http://proxy.test:3128"} in trainer["env"]
    assert trainer["args"][-2:] == ["--setting", "output_dir=/models"]
    assert task_of(documents, "Trainer")["retryPolicy"]["maxRetryCount"] == 4
    assert task_of(documents, "Trainer")["retryPolicy"]["backoffDuration"] == "5s"
    assert documents[0]["defaultPipelineRoot"] == "s3://bucket/root"
    assert platform_of(documents, "Trainer") == {
        "pvcMount": [{"constant": "models", "mountPath": "/models"}],
        "secretAsEnv": [
            {
                "secretName": "database",
                "keyToEnv": [{"secretKey": "password", "envVar": "DB_PASSWORD"}],
            }
        ],
        "nodeSelector": {"labels": {"pool": "gpu"}},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "imagePullSecret": [{"secretName": "registry"}],
        "activeDeadlineSeconds": "7200",
    }
    others = platform_of(documents, "Evaluator")
    assert others["nodeSelector"] == {"labels": {"pool": "batch"}}
    assert "tolerations" not in others


def test_retries_are_not_cut_short_by_a_long_training(documents):
    for node in documents[0]["root"]["dag"]["tasks"]:
        limit = task_of(documents, node)["retryPolicy"]["backoffMaxDuration"]
        assert int(limit.removesuffix("s")) > 365 * 24 * 3600


def test_a_setting_reaches_the_nodes_it_changes_in_every_preset():
    # 0.70 is the value of preset quick, but not of reference.
    documents = compile_pipeline(
        IMAGE, Cluster(), RunParameters(preset="quick"), ["min_accuracy=0.70", "seed=7"]
    )
    assert "min_accuracy=0.70" in container_of(documents, "Evaluator")["args"]
    assert "seed=7" in container_of(documents, "Trainer")["args"]
    assert "seed=7" not in container_of(documents, "Evaluator")["args"]


def test_spans_reach_the_node_that_looks_for_the_data():
    documents = compile_pipeline(IMAGE, Cluster(), RunParameters(), ["spans=last:2"])
    nodes = {
        node
        for node in documents[0]["root"]["dag"]["tasks"]
        if "spans=last:2" in container_of(documents, node)["args"]
    }
    assert nodes == {"CifarExampleGen", "ReportGen"}


def test_a_warm_start_reaches_all_that_name_the_training():
    documents = compile_pipeline(IMAGE, Cluster(), RunParameters(), ["warm_start=latest"])
    nodes = {
        node
        for node in documents[0]["root"]["dag"]["tasks"]
        if "warm_start=latest" in container_of(documents, node)["args"]
    }
    assert nodes == {"Trainer", "BaselineModel", "Pusher", "ReportGen"}
    assert "push_destination" in run_parameters_of(documents, "Trainer")


@pytest.mark.parametrize(
    ("start", "is_cached"), [("latest", False), ("none", True), ("1795386836", True)]
)
def test_a_training_from_the_latest_version_never_comes_from_the_cache(start, is_cached):
    settings = [f"warm_start={start}"]
    documents = compile_pipeline(IMAGE, Cluster(), RunParameters(), settings)
    assert ("cachingOptions" in task_of(documents, "Trainer")) == is_cached


OAK = """
import dataclasses
from trainer_module.preprocessing import preprocessing_fn
from trainer_module.run import run_fn

@dataclasses.dataclass(frozen=True)
class HyperParameters:
    train_steps: int = 3
    leaves: int = 5

PRESETS = {"spring": HyperParameters()}
"""


def test_another_estimator_reaches_the_nodes_it_changes(tmp_path, monkeypatch):
    (tmp_path / "oak_estimator.py").write_text(OAK)
    monkeypatch.syspath_prepend(tmp_path)
    documents = compile_pipeline(
        IMAGE, Cluster(), RunParameters(), ["leaves=7"], trainer_module="oak_estimator"
    )
    nodes = {
        node
        for node in documents[0]["root"]["dag"]["tasks"]
        if "oak_estimator" in container_of(documents, node)["args"]
    }
    # Steps that no Estimator changes come from the cache of another's run.
    assert nodes == {
        "Transform",
        "Trainer",
        "BaselineModel",
        "Evaluator",
        "Pusher",
        "ReportGen",
    }
    arguments = container_of(documents, "Trainer")["args"]
    assert arguments[arguments.index("--trainer_module") + 1] == "oak_estimator"
    assert "leaves=7" in arguments


def test_a_preset_file_brings_its_values_along(tmp_path):
    preset = tmp_path / "tuned.yaml"
    preset.write_text(
        "trainer_module: trainer_module\npreset: smoke\nsettings: {learning_rate: 0.07}"
    )
    output = tmp_path / "pipeline.yaml"
    arguments = ["kubeflow", "compile", "--image", "registry.test/cifar:1"]
    result = CliRunner().invoke(
        main, [*arguments, "--preset", str(preset), "--output", str(output)]
    )
    assert result.exit_code == 0, result.output
    document = next(yaml.safe_load_all(output.read_text()))
    parameters = document["root"]["inputDefinitions"]["parameters"]
    assert parameters["preset"]["defaultValue"] == "smoke"
    assert "- learning_rate=0.07" in output.read_text()


def test_the_command_writes_what_can_be_uploaded(tmp_path):
    output = tmp_path / "new/pipeline.yaml"
    arguments = ["kubeflow", "compile", "--image", IMAGE, "--preset", "smoke"]
    result = CliRunner().invoke(main, [*arguments, "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "steps of registry.test/cifar:1" in result.output
    spec, platform = yaml.safe_load_all(output.read_text())
    assert spec["schemaVersion"] == "2.1.0"
    assert list(platform) == ["platforms"]


def test_an_image_without_a_version_is_refused(tmp_path):
    result = CliRunner().invoke(
        main, ["kubeflow", "compile", "--image", "cifar", "--output", str(tmp_path / "p.yaml")]
    )
    assert result.exit_code == 1
    assert "Give it a version or a digest" in result.output
    assert not (tmp_path / "p.yaml").exists()


@pytest.mark.slow
def test_the_newest_official_protos_take_the_file_too(tmp_path, pipeline_yaml):
    """With kfp-pipeline-spec and kfp-kubernetes of 2.17, which need a newer protobuf."""
    packages = ["kfp-pipeline-spec==2.17.3", "kfp-kubernetes==2.17.3", "protobuf>=6.31,<7"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--target", str(tmp_path / "new"), *packages], check=True)
    (tmp_path / "pipeline.yaml").write_text(pipeline_yaml)
    (tmp_path / "parse.py").write_text(PARSE_WITH_NEWEST)
    done = subprocess.run(
        [sys.executable, "-S", "parse.py", "pipeline.yaml", "new"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path / 'new'}:{Path(yaml.__file__).parents[1]}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "11 executors\n"


# The package kfp.kubernetes imports the whole SDK; its one module of protos does not.
PARSE_WITH_NEWEST = """
import importlib.util, sys, yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
protos = sys.argv[2] + "/kfp/kubernetes/kubernetes_executor_config_pb2.py"
module = importlib.util.spec_from_file_location("kubernetes_executor_config_pb2", protos)
kubernetes_executor_config_pb2 = importlib.util.module_from_spec(module)
module.loader.exec_module(kubernetes_executor_config_pb2)
spec, platform = yaml.safe_load_all(open(sys.argv[1]))
json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
json_format.ParseDict(spec["deploymentSpec"], deployment)
json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
for executor in executors.values():
    json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
print(len(deployment.executors), "executors")
"""


SECRET_URL = "mysql://tfx:S3c:r@t/pw@db/mlmd"


def compile_command(path, *arguments):
    command = ["kubeflow", "compile", "--image", IMAGE, "--output", str(path), *arguments]
    return CliRunner().invoke(main, command, env={"CIFAR_METADATA_URL": SECRET_URL})


def test_the_password_of_a_metadata_store_is_not_compiled(tmp_path):
    result = compile_command(tmp_path / "pipeline.yaml")
    assert result.exit_code == 0, result.output
    assert "S3c" not in result.output + (tmp_path / "pipeline.yaml").read_text()


@pytest.mark.parametrize("url", [SECRET_URL, "mysql://tfx@db/mlmd"])
def test_a_metadata_store_is_no_setting_of_kubeflow(tmp_path, url):
    result = compile_command(tmp_path / "pipeline.yaml", "--set", f"metadata_url={url}")
    assert result.exit_code == 1
    assert "Kubernetes secret" in result.output
    assert "S3c" not in result.output
    assert not (tmp_path / "pipeline.yaml").exists()
