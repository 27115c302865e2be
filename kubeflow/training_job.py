"""The TFJob that trains in several pods: the object, and which batch sizes they can share.

The training operator (kubeflow.org/v1) starts the pods, tells each in TF_CONFIG where the
others are, and ends the job when the chief has exported the model.
"""

from typing import Any

from contract import imports
from kubeflow.cluster import Cluster, StepPod, TrainerPod

CONTAINER = "tensorflow"  # the name by which the operator finds it
COMMAND = ["python", "-m", "kubeflow.replica"]
KEPT_SECONDS = 86_400  # of a finished job that nobody deleted

Spec = dict[str, Any]


def training_job(image: str, trainer_image: str, cluster: Cluster) -> Spec:
    """Returns the TFJob of a cluster file, without its name and the replicas' argument."""
    evaluators = 1
    workers = cluster.training.workers
    # When one replica fails, all start again from the last checkpoint.
    restarts = cluster.retries * (workers + evaluators)
    run_policy: Spec = {
        "backoffLimit": restarts + 1,  # the operator gives up when it is reached
        "cleanPodPolicy": "Running",  # ends what still evaluates; logs of ended pods stay
        "ttlSecondsAfterFinished": KEPT_SECONDS,
    }
    if cluster.timeout_seconds:
        run_policy["activeDeadlineSeconds"] = cluster.timeout_seconds
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"labels": {"app.kubernetes.io/name": "cifar10-training"}},
        "spec": {
            "runPolicy": run_policy,
            "tfReplicaSpecs": {
                kind: {
                    "replicas": count,
                    "restartPolicy": "OnFailure",
                    "template": pod_template(each_image, cluster, pod),
                }
                for kind, count, each_image, pod in (
                    ("Chief", 1, trainer_image, cluster.trainer),
                    ("Worker", workers - 1, trainer_image, cluster.trainer),
                    ("Evaluator", evaluators, image, cluster.steps),
                )
            },
        },
    }


def pod_template(image: str, cluster: Cluster, pod: StepPod) -> Spec:
    """Returns the template of a replica's pod, which needs nothing but the volume."""
    volume = "volume"
    limits = {"cpu": f"{pod.cpu:g}", "memory": f"{pod.memory_gib:g}Gi"}
    if isinstance(pod, TrainerPod) and pod.gpu:
        limits[pod.gpu_type] = str(pod.gpu)
    env = {imports.LOG_LEVEL_VARIABLE: imports.LOG_WARNINGS} | cluster.env
    no_mesh = {"sidecar.istio.io/inject": "false"}  # its sidecar would never end
    return {
        "metadata": {"labels": no_mesh, "annotations": no_mesh},
        "spec": {
            "automountServiceAccountToken": False,
            "nodeSelector": dict(pod.node_selector),
            "tolerations": [each.model_dump(exclude_unset=True) for each in pod.tolerations],
            "imagePullSecrets": [{"name": name} for name in cluster.image_pull_secrets],
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [
                {
                    "name": volume,
                    "persistentVolumeClaim": {"claimName": cluster.volume_claim},
                }
            ],
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image,
                    "command": COMMAND,
                    "env": [
                        *({"name": name, "value": value} for name, value in env.items()),
                        *(
                            {
                                "name": secret.env,
                                "valueFrom": {
                                    "secretKeyRef": {"name": secret.name, "key": secret.key}
                                },
                            }
                            for secret in cluster.secrets
                        ),
                    ],
                    "resources": {"limits": limits},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": volume, "mountPath": cluster.mount_path}],
                }
            ],
        },
    }


def devices_of(job: Spec) -> tuple[int, int]:
    """Returns the job's number of workers, its chief included, and of GPUs in each."""
    replicas = job["spec"]["tfReplicaSpecs"]
    (container,) = replicas["Chief"]["template"]["spec"]["containers"]
    gpus = sum(
        int(count)
        for name, count in container["resources"]["limits"].items()
        if name not in ("cpu", "memory")
    )
    return replicas["Chief"]["replicas"] + replicas["Worker"]["replicas"], gpus


def check_batch_size(batch_size: int | None, job: Spec) -> None:
    """Raises ValueError if the job's devices cannot share a batch equally.

    An Estimator whose hyper-parameters have no `batch_size` (None) is not checked here.
    """
    workers, gpus = devices_of(job)
    replicas = workers * max(gpus, 1)
    if batch_size is None or batch_size % replicas == 0:
        return
    below = batch_size - batch_size % replicas
    choices = [str(size) for size in (below, below + replicas) if size]
    each = f" with {gpus} GPUs each" if gpus > 1 else ""
    raise ValueError(
        f"batch_size {batch_size} cannot be shared equally by the {workers} workers of "
        f"`training:` in the cluster file{each}: it must be a multiple of {replicas}, such as "
        f"{' or '.join(choices)}."
    )
