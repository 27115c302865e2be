"""The whole pipeline, run by Kubeflow Pipelines' own driver and launcher."""

import json
import re
import shutil

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from ml_metadata.proto import metadata_store_pb2

from benchmarks.emulator import backend as emulator
from data_sources.dataset import SAMPLE_DIR
from kubeflow.cluster import Cluster, Secret, StepPod, Toleration
from kubeflow.compile import compile_pipeline
from kubeflow.parameters import RunParameters
from kubeflow.ui_artifacts import PAGES
from tests.conftest import trainings_at
from tests.kubeflow.kfp import cluster as kfp_cluster
from tests.kubeflow.kfp.argo import PodFailedError
from tests.kubeflow.pushed import served_accuracy

pytestmark = pytest.mark.timeout(1800)  # a run is eleven imports of TFX

State = metadata_store_pb2.Execution.State
SECRET = Secret(name="database", key="password", env="DB_PASSWORD")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    secrets = {SECRET.name: {SECRET.key: "open sesame"}}
    with kfp_cluster.start(tmp_path_factory.mktemp("kfp"), secrets) as started:
        yield started


@pytest.fixture(scope="module")
def first_run(cluster, pipeline_yaml):
    run = cluster.submit(pipeline_yaml)
    run.go()
    return run


@pytest.fixture(scope="module")
def second_run(cluster, pipeline_yaml, first_run):
    """A worse model; its Trainer is killed at the first checkpoint, then the run is retried."""
    checkpoints = cluster.volume / "checkpoints"
    before = trainings_at(checkpoints, 20)
    run = cluster.submit(pipeline_yaml, train_steps=21)
    cluster.node.kills["Trainer-executor"] = lambda: trainings_at(checkpoints, 20) > before
    with pytest.raises(PodFailedError, match="root/Trainer/executor failed"):
        run.go()
    run.go()
    return run


@pytest.fixture(scope="module")
def steps(documents) -> set[str]:
    return set(documents[0]["root"]["dag"]["tasks"])


def executor_input(run, step):
    """Returns the driver's input for the launcher of a step."""
    text = run.pods["root", step, "executor"].argument("--executor_input")
    return json_format.Parse(text, pipeline_spec_pb2.ExecutorInput())


def execution_of(cluster, run, step):
    """Returns a step's execution in ML Metadata."""
    (context,) = cluster.metadata.get_contexts_by_execution(
        int(run.pods["root", "CifarExampleGen-driver"].argument("--dag_execution_id"))
    )[-1:]
    (found,) = (
        execution
        for execution in cluster.metadata.get_executions_by_context(context.id)
        if execution.custom_properties["task_name"].string_value == step
    )
    return found


def metadata_of(cluster, run, step, output):
    """Returns a step output's properties in ML Metadata: strings, doubles, structs."""
    events = cluster.metadata.get_events_by_execution_ids([execution_of(cluster, run, step).id])
    (artifact_id,) = (
        event.artifact_id
        for event in events
        if event.type == event.OUTPUT and event.path.steps[0].key == output
    )
    (artifact,) = cluster.metadata.get_artifacts_by_id([artifact_id])
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in artifact.custom_properties.items()
    }


def versions(cluster):
    return sorted((cluster.volume / "serving/cifar10").glob("[0-9]*"))


def test_every_step_is_complete(cluster, first_run, steps):
    states = {step: execution_of(cluster, first_run, step).last_known_state for step in steps}
    assert set(states.values()) == {State.COMPLETE}


def test_a_model_server_serves_what_was_pushed(cluster, first_run):
    (version, *_) = versions(cluster)
    pushed = metadata_of(cluster, first_run, "Pusher", "pushed_model")
    assert pushed["pushed_version"] == version.name
    accuracy = metadata_of(cluster, first_run, "Evaluator", "metrics")["accuracy"]
    assert served_accuracy(version) == pytest.approx(accuracy)


def test_every_output_is_there_and_uploaded(cluster, first_run, steps):
    """Without ML Metadata, after 2.17, the launcher fails a step whose output has no path."""
    for step in steps:
        pod = first_run.pods["root", step, "executor"]
        for name, one in executor_input(first_run, step).outputs.artifacts.items():
            uri = one.artifacts[0].uri
            assert uri.startswith("minio://mlpipeline/v2/artifacts/cifar10-estimator/")
            assert uri.endswith(f"/{step}/{name}")
            path = pod.directory / uri.replace("://", "/")
            assert path.exists(), uri
            written = {str(f.relative_to(path)) for f in path.rglob("*") if f.is_file()}
            if page := PAGES.get(step, {}).get(name):
                assert page in written
                written = {page}  # the artifact is only the page
            key = emulator.key_of(uri)
            assert {f"{key}/{file}" for file in written} <= set(cluster.store.keys(key))


def test_every_metric_is_a_number(cluster, first_run):
    metrics = metadata_of(cluster, first_run, "Evaluator", "metrics")
    assert metrics.pop("display_name") == "metrics"
    assert {type(value) for value in metrics.values()} == {float}
    assert metrics["eval_examples"] == 200


def test_the_ui_gets_the_confusion_matrix_and_the_report(cluster, first_run):
    stored = metadata_of(cluster, first_run, "Evaluator", "confusion_matrix")
    matrix = json_format.MessageToDict(stored["confusionMatrix"])["struct"]
    assert matrix["annotationSpecs"][3] == {"displayName": "cat"}
    root = executor_input(first_run, "ReportGen").outputs.artifacts["report"].artifacts[0].uri
    page = cluster.store.get(f"{emulator.key_of(root)}/report.html").decode()
    accuracy = metadata_of(cluster, first_run, "Evaluator", "metrics")["accuracy"]
    assert f"{accuracy:.1%}" in page


def test_the_emulator_tells_steps_the_same(cluster, first_run, documents, steps):
    spec, _, _ = emulator.parse(yaml.safe_dump_all(documents))
    for step in steps:
        step_input = executor_input(first_run, step)
        task = spec.root.dag.tasks[step]
        component = spec.components[task.component_ref.name]
        root = (
            next(iter(step_input.outputs.artifacts.values())).artifacts[0].uri.rsplit("/", 2)[0]
        )
        expected = emulator.provision_outputs(root, step, component, emulator.OLD)
        assert step_input.outputs == expected
        for one in step_input.inputs.artifacts.values():
            (given,) = one.artifacts
            (stored,) = cluster.metadata.get_artifacts_by_id([int(given.name)])
            assert given == emulator.as_runtime_artifact(stored)


def test_steps_that_depend_on_nothing_new_come_from_the_cache(cluster, second_run, steps):
    cached = {step for step in steps if ("root", step, "executor") in second_run.skipped}
    assert cached == {"CifarExampleGen", "StatisticsGen", "Transform"}
    for step in cached:
        assert execution_of(cluster, second_run, step).last_known_state == State.CACHED


def test_a_killed_trainer_goes_on_from_its_checkpoint(cluster, second_run):
    model_run = executor_input(second_run, "Trainer").outputs.artifacts["model_run"]
    key = emulator.key_of(model_run.artifacts[0].uri)
    training = json.loads(cluster.store.get(f"{key}/training.json"))
    assert (training["start_step"], training["steps"]) == (20, 21)


def test_a_second_run_finds_the_baseline_and_refuses_a_worse_model(
    cluster, first_run, second_run
):
    baseline = metadata_of(cluster, second_run, "BaselineModel", "model")
    assert baseline["pushed_version"] == versions(cluster)[0].name
    better, worse = (
        metadata_of(cluster, run, "Evaluator", "metrics")["accuracy"]
        for run in (first_run, second_run)
    )
    assert worse < better - 0.02
    assert metadata_of(cluster, second_run, "Evaluator", "blessing")["blessed"] == 0
    assert metadata_of(cluster, second_run, "Pusher", "pushed_model")["pushed"] == 0
    assert len(versions(cluster)) == 1


@pytest.fixture(scope="module")
def refused_run(cluster):
    """Batches with another fingerprint, on a cluster with a secret and a node selector."""
    shutil.copytree(SAMPLE_DIR, cluster.volume / "data/cifar-10-batches-bin")
    settings = Cluster(secrets=(SECRET,), steps=StepPod(node_selector={"pool": "gpu"}))
    documents = compile_pipeline(
        "registry.test/cifar:1", settings, RunParameters(preset="smoke")
    )
    run = cluster.submit(yaml.safe_dump_all(documents), data="/mnt/cifar10/data")
    with pytest.raises(PodFailedError, match="root/CifarExampleGen/executor failed"):
        run.go()
    return run


def test_batches_of_another_fingerprint_fail_the_step_with_the_reason(cluster, refused_run):
    log = refused_run.pods["root", "CifarExampleGen", "executor"].log.splitlines()
    (reason,) = (line for line in log if line.startswith("Error: CifarExampleGen failed"))
    assert re.search(r"have the fingerprint \w{64}, but the run expects \w{64}", reason)
    assert "Set the parameter data_fingerprint" in reason
    assert "failed to execute component: exit status 1" in log[-1]
    failed = execution_of(cluster, refused_run, "CifarExampleGen")
    assert failed.last_known_state == State.FAILED


def test_the_drivers_patch_brings_volume_secret_limit_and_place(refused_run):
    pod = refused_run.pods["root", "CifarExampleGen", "executor"].spec
    (container,) = pod["containers"]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert {"name": "cifar10", "mountPath": "/mnt/cifar10"} in container["volumeMounts"]
    claims = [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
    assert {"claimName": "cifar10"} in claims
    assert {
        "name": "DB_PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}},
    } in container["env"]
    assert container["resources"]["limits"]["cpu"] == "2"
    assert container["image"] == "registry.test/cifar:1"


def test_a_backend_below_the_stated_minimum_names_the_field_it_lacks(cluster):
    settings = Cluster(steps=StepPod(tolerations=(Toleration(key="gpu", operator="Exists"),)))
    documents = compile_pipeline(
        "registry.test/cifar:1", settings, RunParameters(preset="smoke")
    )
    with pytest.raises(PodFailedError, match='unknown field "tolerations"'):
        cluster.submit(yaml.safe_dump_all(documents)).go()
