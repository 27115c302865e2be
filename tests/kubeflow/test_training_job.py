"""The TFJob that the compiler writes, and which batches its replicas can share."""

import json

import pytest

from kubeflow.cluster import Cluster, Secret, Toleration, TrainerPod, Training
from kubeflow.compile import compile_pipeline, trainer_image_of
from kubeflow.parameters import RunParameters
from kubeflow.training_job import check_batch_size, training_job
from tests.kubeflow import training_operator

IMAGE = "registry.test/cifar:1"
CLUSTER = Cluster(
    training=Training(workers=4),
    trainer=TrainerPod(
        cpu=1.5,
        memory_gib=6,
        gpu=2,
        node_selector={"pool": "gpu"},
        tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists"),),
    ),
    env={"NO_PROXY": "localhost"},
    secrets=(Secret(name="cifar10", key="token", env="TOKEN"),),
    image_pull_secrets=("registry",),
    timeout_seconds=3600,
)


def named(job: dict) -> dict:
    job["metadata"]["name"] = "cifar10-0123456789abcdef"
    return job


@pytest.mark.parametrize("cluster", [Cluster(training=Training(workers=2)), CLUSTER])
def test_the_operator_takes_the_job(cluster):
    training_operator.check(named(training_job(IMAGE, IMAGE, cluster)))


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("runPolicy", {"cleanPodPolicy": "Some"}),
        ("runPolicy", {"cleanPods": "All"}),
        ("tfReplicaSpecs", {"Boss": {"template": {}}}),
        ("tfReplicaSpecs", {"Chief": {"template": {"metadata": {}, "spec": {}}}}),
    ],
)
def test_what_checks_the_job_finds_mistakes(part, wrong):
    job = named(training_job(IMAGE, IMAGE, CLUSTER))
    job["spec"][part] = wrong
    with pytest.raises(ValueError, match=part):
        training_operator.check(job)


def test_the_replicas_are_a_chief_the_other_workers_and_an_evaluator():
    replicas = training_job(IMAGE, IMAGE, CLUSTER)["spec"]["tfReplicaSpecs"]
    counts = {kind: replica["replicas"] for kind, replica in replicas.items()}
    assert counts == {"Chief": 1, "Worker": 3, "Evaluator": 1}
    pods = {kind: replica["template"]["spec"] for kind, replica in replicas.items()}
    limits = {k: pod["containers"][0]["resources"]["limits"] for k, pod in pods.items()}
    assert limits["Chief"] == {"cpu": "1.5", "memory": "6Gi", "nvidia.com/gpu": "2"}
    assert limits["Worker"] == limits["Chief"]
    assert limits["Evaluator"] == {"cpu": "2", "memory": "4Gi"}
    assert pods["Worker"]["nodeSelector"] == {"pool": "gpu"}
    assert not pods["Evaluator"]["nodeSelector"]
    env = pods["Chief"]["containers"][0]["env"]
    secret = {"secretKeyRef": {"name": "cifar10", "key": "token"}}
    assert {"name": "NO_PROXY", "value": "localhost"} in env
    assert {"name": "TOKEN", "valueFrom": secret} in env


@pytest.mark.parametrize(("batch_size", "is_shared"), [(128, True), (120, True), (100, False)])
def test_a_batch_is_shared_by_every_gpu_of_every_worker(batch_size, is_shared):
    job = training_job(IMAGE, IMAGE, CLUSTER)
    if is_shared:
        check_batch_size(batch_size, job)
        return
    with pytest.raises(ValueError, match=r"batch_size 100 .* the 4 workers .* 2 GPUs each.* 8"):
        check_batch_size(batch_size, job)


def compiled(workers: int, *settings: str) -> list[dict]:
    return compile_pipeline(
        "registry.test/cifar:1",
        Cluster(training=Training(workers=workers)),
        RunParameters(preset="smoke"),
        settings,
    )


def test_a_batch_that_the_workers_cannot_share_is_refused_at_compile():
    with pytest.raises(
        ValueError, match=r"batch_size 32 .*3 workers .*multiple of 3, such as 30 or 33"
    ):
        compiled(3)


def test_only_the_trainer_gets_the_job_and_its_own_pod_is_a_small_one():
    spec, _ = compiled(3, "batch_size=30")
    executors = spec["deploymentSpec"]["executors"]
    arguments = {name: one["container"]["args"] for name, one in executors.items()}
    (trainer,) = [name for name, args in arguments.items() if "--training_job" in args]
    assert trainer == "Trainer_executor"
    given = arguments[trainer]
    job = json.loads(given[given.index("--training_job") + 1])
    training_operator.check(named(job))
    assert executors[trainer]["container"]["resources"]["cpuLimit"] == Cluster().steps.cpu
    assert not any("{{" in argument for argument in given if argument != "{{$}}")


def test_one_worker_needs_no_job(documents):
    assert "--training_job" not in json.dumps(documents)


def on_gpus(gpus: int, gpu_image: str = "") -> Cluster:
    return Cluster(trainer=TrainerPod(gpu=gpus, gpu_image=gpu_image))


def test_the_gpu_image_follows_from_the_tag_or_is_named():
    digest = "registry.test/cifar@sha256:" + "0" * 64
    assert trainer_image_of(IMAGE, on_gpus(0)) == IMAGE
    assert trainer_image_of(IMAGE, on_gpus(1)) == f"{IMAGE}-gpu"
    assert trainer_image_of(digest, on_gpus(1, "cuda:1")) == "cuda:1"
    with pytest.raises(ValueError, match=r"has a digest.*Name it as `gpu_image`"):
        trainer_image_of(digest, on_gpus(1))


@pytest.mark.parametrize(
    ("cluster", "settings", "expected"),
    [
        (on_gpus(1, "registry.test/cuda"), (), "registry.test/cuda has no tag"),
        (on_gpus(2), (), "has 2 GPUs and would use only one.*distribution=mirrored"),
        (on_gpus(3), ("distribution=mirrored",), "batch_size 32 .* 3 GPUs .* multiple of 3"),
    ],
)
def test_gpus_that_could_not_be_used_are_refused_at_compile(cluster, settings, expected):
    with pytest.raises(ValueError, match=expected):
        compile_pipeline(IMAGE, cluster, RunParameters(preset="smoke"), settings)


def test_in_a_job_the_chief_and_the_workers_have_the_gpu_image():
    replicas = training_job(IMAGE, f"{IMAGE}-gpu", CLUSTER)["spec"]["tfReplicaSpecs"]
    images = {
        kind: replica["template"]["spec"]["containers"][0]["image"]
        for kind, replica in replicas.items()
    }
    assert images == {"Chief": f"{IMAGE}-gpu", "Worker": f"{IMAGE}-gpu", "Evaluator": IMAGE}
