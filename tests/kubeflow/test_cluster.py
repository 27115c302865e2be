"""The cluster file is complete, and errors name each wrong field."""

import pytest
import yaml

from kubeflow.cluster import Beam, Cluster, StepPod, TrainerPod, Training, read_cluster
from pipeline_def.code_version import ROOT


def test_the_example_of_a_cluster_file_is_complete():
    cluster = read_cluster(ROOT / "kubeflow/cluster.yaml")
    written = yaml.safe_load((ROOT / "kubeflow/cluster.yaml").read_text())
    assert cluster == Cluster()
    assert set(written) == set(Cluster.model_fields)
    assert set(written["steps"]) == set(StepPod.model_fields)
    assert set(written["trainer"]) == set(TrainerPod.model_fields)
    assert set(written["training"]) == set(Training.model_fields)
    assert set(written["beam"]) == set(Beam.model_fields)


WRONG_CLUSTERS = {
    "colour: red": "colour: Extra inputs",
    "retries: many": "retries: Input should be a valid integer, got 'many'",
    "retries: -1": "retries: Input should be greater than or equal to 0, got -1",
    "steps: {cpu: true}": "steps.cpu: Input should be a valid number",
    "steps: {memory_gib: 0}": "steps.memory_gib: Input should be greater than 0",
    "steps: {gpu: 1}": "steps.gpu: Extra inputs",
    "training: {workers: 0}": "training.workers: Input should be greater than 0, got 0",
    "beam: {runner: spark}": "beam.runner: Input should be 'local' or 'flink', got 'spark'",
    "beam: {runner: DataflowRunner}": "beam.runner: Value error, Dataflow cannot run this",
    "beam: {job_server: cifar10-beam}": "beam.job_server: String should match",
    "beam: {flink_url: cifar10-flink-rest:8081}": "beam.flink_url: String should match",
    "beam: {parallelism: 0}": "beam.parallelism: Input should be greater than 0, got 0",
    "volume_claim: ''": "volume_claim: String should match",
    "secrets: [{name: a}]": "secrets.0.env: Field required",
    "secrets: [{name: A, key: b, env: C}]": "secrets.0.name: String should match",
    "env: {1 2: a}": "should match pattern",
    "volume_claim: Volume": "volume_claim: String should match",
    "mount_path: mnt": "mount_path: String should match",
    "image_pull_secrets: registry": "image_pull_secrets: Input should be a valid array",
    "trainer: {tolerations: [{effect: Sometimes}]}": "trainer.tolerations.0.effect: Input",
    "timeout_seconds: 2020-01-01": "timeout_seconds: Input should be a valid integer",
    "- retries": "the file: Input should be an object",
    "retries: [": "is not YAML",
}


@pytest.mark.parametrize("text", WRONG_CLUSTERS)
def test_a_wrong_cluster_file_is_named(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"cluster\.yaml") as error:
        read_cluster(path)
    assert WRONG_CLUSTERS[text] in str(error.value)


def test_a_password_in_a_variable_of_the_cluster_file_is_refused(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("env: {HTTPS_PROXY: 'http://me:S3cret@proxy.test:3128'}")
    with pytest.raises(
        ValueError, match=r"HTTPS_PROXY.*contains a password.*Kubernetes secret"
    ) as it:
        read_cluster(path)
    assert "S3cret" not in str(it.value)
