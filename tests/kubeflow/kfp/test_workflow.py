"""The compiled file, read by Kubeflow Pipelines' API server and compiled to Argo's Workflow."""

import json
import uuid

import pytest
import yaml

from kubeflow.cluster import Cluster, Secret, Toleration, TrainerPod
from kubeflow.compile import NEVER_CACHED, compile_pipeline
from kubeflow.parameters import RunParameters
from tests.kubeflow.kfp.workflow import RefusedError, compile_run
from tests.kubeflow.test_deployment import STEP_LABEL

PREFIX = "pipelines.kubeflow.org/"
EVERYTHING = Cluster(
    secrets=(Secret(name="database", key="password", env="DB_PASSWORD"),),
    trainer=TrainerPod(
        node_selector={"pool": "gpu"},
        tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),),
    ),
    image_pull_secrets=("registry",),
    timeout_seconds=7200,
    retries=3,
)


def compiled(text: str, **parameters) -> dict:
    return compile_run(text, str(uuid.uuid4()), **parameters)


def platform_of(workflow: dict, step: str) -> dict:
    """Returns the Kubernetes options passed to the driver."""
    return json.loads(workflow["metadata"]["annotations"][f"{PREFIX}kubernetes-{step}"])


def dag_tasks(workflow: dict, template: str) -> dict[str, dict]:
    (found,) = (each for each in workflow["spec"]["templates"] if each["name"] == template)
    return {task["name"]: task for task in found["dag"]["tasks"]}


def argument(task: dict, name: str) -> str:
    (value,) = (
        each["value"] for each in task["arguments"]["parameters"] if each["name"] == name
    )
    return value


@pytest.fixture(scope="module")
def workflow(pipeline_yaml) -> dict:
    return compiled(pipeline_yaml, train_steps=21)


@pytest.fixture(scope="module")
def full_workflow() -> dict:
    documents = compile_pipeline(
        "registry.test/cifar:1", EVERYTHING, RunParameters(preset="smoke")
    )
    return compiled(yaml.safe_dump_all(documents))


def test_every_step_becomes_a_driver_and_a_step_that_waits_for_it(workflow, documents):
    tasks = dag_tasks(workflow, "root")
    steps = set(documents[0]["root"]["dag"]["tasks"])
    assert set(tasks) == steps | {f"{step}-driver" for step in steps}
    for step in steps:
        assert tasks[step]["depends"] == f"{step}-driver.Succeeded"
        assert tasks[step]["template"] == "system-container-executor"


def test_the_pods_of_a_run_have_the_label_that_may_reach_flink(workflow):
    labels = workflow["spec"]["podMetadata"]["labels"]
    assert STEP_LABEL.items() <= labels.items()


def test_steps_wait_for_those_whose_outputs_they_take(workflow):
    tasks = dag_tasks(workflow, "root")
    waits_for = set(tasks["Evaluator-driver"]["depends"].split(" && "))
    assert {"CifarExampleGen.Succeeded", "Trainer.Succeeded"} <= waits_for
    assert "BaselineModel.Succeeded" in waits_for


def test_a_run_gets_the_defaults_and_what_it_was_told(workflow):
    (driver,) = (
        task for name, task in dag_tasks(workflow, "entrypoint").items() if name != "root"
    )
    values = json.loads(argument(driver, "runtime-config"))["parameterValues"]
    assert (values["preset"], values["train_steps"]) == ("smoke", 21)
    assert values["data"] == "sample" and values["data_fingerprint"] == ""


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"train_steps": "21"}, "train_steps requires type double or integer"),
        ({"steps": 21}, "not required by pipeline: steps"),
    ],
)
def test_a_parameter_of_another_type_or_name_is_refused(pipeline_yaml, parameters, reason):
    with pytest.raises(RefusedError, match=reason):
        compiled(pipeline_yaml, **parameters)


def test_a_misspelt_field_is_refused(pipeline_yaml):
    with pytest.raises(RefusedError, match="unknown template format"):
        compiled(pipeline_yaml.replace("retryPolicy", "retriesPolicy"))


def test_the_clusters_features_reach_each_driver(full_workflow):
    assert platform_of(full_workflow, "Trainer") == {
        "pvcMount": [{"constant": "cifar10", "mountPath": "/mnt/cifar10"}],
        "secretAsEnv": [
            {
                "secretName": "database",
                "keyToEnv": [{"secretKey": "password", "envVar": "DB_PASSWORD"}],
            }
        ],
        "nodeSelector": {"labels": {"pool": "gpu"}},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ],
        "imagePullSecret": [{"secretName": "registry"}],
        "activeDeadlineSeconds": "7200",
    }


def test_only_steps_that_use_the_volume_mount_it(workflow):
    assert platform_of(workflow, "Trainer")["pvcMount"]
    assert "pvcMount" not in workflow["metadata"]["annotations"].get(
        f"{PREFIX}kubernetes-Transform", ""
    )


def test_retries_and_caching_travel_with_each_task(full_workflow, documents):
    tasks = dag_tasks(full_workflow, "root")
    for step in documents[0]["root"]["dag"]["tasks"]:
        task = json.loads(argument(tasks[f"{step}-driver"], "task"))
        assert task["retryPolicy"]["maxRetryCount"] == 3
        assert task["retryPolicy"]["backoffDuration"] == "30s"
        assert bool(task.get("cachingOptions")) == (step not in NEVER_CACHED)
