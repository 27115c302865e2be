"""The pipeline's settings for a cluster, from a YAML file like `kubeflow/cluster.yaml`."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml

from pipeline_def.beam import runner

ObjectName = Annotated[
    str, pydantic.StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
]
VariableName = Annotated[
    str, pydantic.StringConstraints(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")
]


def refuse_password(value: str) -> str:
    """Returns a value; raises ValueError for a URL with a password, to keep it secret."""
    if re.search(r"://[^/]*:.*@", value):
        raise ValueError(
            "it contains a password, which the compiled file would show. Put it into a "
            "Kubernetes secret and list that under `secrets:`"
        )
    return value


PublicValue = Annotated[str, pydantic.AfterValidator(refuse_password)]
Folder = Annotated[str, pydantic.StringConstraints(pattern=r"^(/[^/:]+)+$")]
HostAndPort = Annotated[str, pydantic.StringConstraints(pattern=r"^[^\s/:]+:\d+$")]
HttpUrl = Annotated[str, pydantic.StringConstraints(pattern=r"^https?://\S+$")]


class Settings(pydantic.BaseModel):
    """A mapping in the file: immutable, with exactly these fields and types."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class Toleration(Settings):
    """A toleration as in a pod; omitted fields are not sent."""

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    tolerationSeconds: pydantic.NonNegativeInt = 0  # noqa: N815 - Kubernetes' name


class StepPod(Settings):
    """Resources of a step's pod, and where it may run."""

    cpu: pydantic.PositiveFloat = 2  # a limit, which Kubernetes also uses as the request
    memory_gib: pydantic.PositiveFloat = 4  # likewise
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()


class TrainerPod(StepPod):
    """Resources of the Trainer's and the Tuner's pods, which can use an accelerator."""

    cpu: pydantic.PositiveFloat = 4
    memory_gib: pydantic.PositiveFloat = 8
    gpu: pydantic.NonNegativeInt = 0
    gpu_type: str = "nvidia.com/gpu"
    gpu_image: str = ""  # with CUDA's libraries; empty: the steps' image, its tag with -gpu


class Training(Settings):
    """How many pods share a training; with more than one, the Trainer step makes a TFJob."""

    workers: pydantic.PositiveInt = 1  # the chief is one of them


class Beam(Settings):
    """Where the Beam jobs of the steps do their work."""

    runner: Literal["local", "flink"] = "local"  # local: in the step's own pod
    # The others are for flink; the defaults are the services of manifests/beam.
    job_server: HostAndPort = "cifar10-beam:8099"
    flink_url: HttpUrl = "http://cifar10-flink-rest:8081"  # of the REST API, to cancel jobs
    parallelism: pydantic.PositiveInt = 2  # subtasks: at most one for each TaskManager

    @pydantic.field_validator("runner", mode="before")
    @classmethod
    def _is_not_dataflow(cls, value: object) -> object:
        if isinstance(value, str) and runner.is_dataflow(value):
            raise ValueError(runner.NO_DATAFLOW)
        return value


class Secret(Settings):
    """One key of a Kubernetes secret, passed to every step as an environment variable."""

    name: ObjectName
    key: str
    env: VariableName


class Cluster(Settings):
    """A cluster's volume, pods and policies."""

    volume_claim: ObjectName = "cifar10"  # ReadWriteMany: batches, checkpoints, serving
    mount_path: Folder = "/mnt/cifar10"
    steps: StepPod = StepPod()
    trainer: TrainerPod = TrainerPod()
    training: Training = Training()
    beam: Beam = Beam()
    retries: pydantic.NonNegativeInt = 2
    retry_backoff_seconds: pydantic.NonNegativeInt = 30  # doubled with each retry
    timeout_seconds: pydantic.NonNegativeInt = 0  # per step; 0: no limit
    env: dict[VariableName, PublicValue] = {}  # of every step
    secrets: tuple[Secret, ...] = ()
    image_pull_secrets: tuple[ObjectName, ...] = ()


def read_cluster(path: Path) -> Cluster:
    """Returns the cluster that a YAML file describes; omitted fields have their defaults.

    Raises:
        ValueError: The file is not YAML, has an unknown field, or a value is not allowed.
    """
    try:
        fields = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    try:
        # As JSON, because there a list may stand for a tuple; nothing else is converted.
        return Cluster.model_validate_json(json.dumps(fields, default=str))
    except pydantic.ValidationError as error:
        problems = [
            f"{'.'.join(map(str, found['loc'])) or 'the file'}: {found['msg']}"
            + ("" if "env" in found["loc"] else f", got {found['input']!r}")
            for found in error.errors()
        ]
        raise ValueError(
            f"{path} does not describe a cluster (kubeflow/cluster.yaml shows every field):\n  "
            + "\n  ".join(problems)
        ) from error
