"""What the pipeline needs to know of a cluster: one YAML file, `kubeflow/cluster.yaml`."""

import dataclasses
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a step gets: Kubernetes takes a limit as the request too."""

    cpu: float = 2
    memory_gib: float = 4
    gpu: int = 0
    gpu_type: str = "nvidia.com/gpu"


@dataclasses.dataclass(frozen=True)
class Secret:
    """One key of a Kubernetes secret, given to every step as an environment variable."""

    name: str
    key: str
    env: str


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster's volume, resources and policies."""

    volume_claim: str = "cifar10"  # ReadWriteMany: batches, checkpoints, serving folder
    mount_path: str = "/mnt/cifar10"
    resources: Resources = Resources()
    trainer_resources: Resources = Resources(cpu=4, memory_gib=8)
    retries: int = 2
    retry_backoff_seconds: int = 30  # doubled with each retry
    timeout_seconds: int = 0  # of a step; 0: none
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    node_selector: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()  # as in a pod
    image_pull_secrets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses a URL with a password, which anyone who reads the compiled file would see."""
        for name, value in self.env.items():
            if re.search(r"://[^/]*:.*@", str(value)):
                raise ValueError(
                    f"env: {name} holds a password, and would stand in the compiled file. Put "
                    "it into a Kubernetes secret and name that under `secrets:`."
                )


def read_cluster(path: Path) -> Cluster:
    """Returns the cluster a YAML file describes; what it leaves out has the defaults.

    Raises:
        ValueError: The file is no mapping, names no such field, or a value has another type.
    """
    try:
        fields = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    return _build(Cluster, fields, str(path))


def _build(kind: type, fields: Any, where: str) -> Any:
    """Returns a dataclass from a mapping, each value checked against its field's type."""
    types = typing.get_type_hints(kind)
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where} is a mapping of {', '.join(types)}, got {fields!r}.")
    if unknown := sorted(set(fields) - set(types)):
        raise ValueError(
            f"{where} has no field {', '.join(unknown)}. Fields: {', '.join(types)}."
        )
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.name not in fields
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}.")
    return kind(
        **{
            name: _convert(types[name], value, f"{where}: {name}")
            for name, value in fields.items()
        }
    )


def _convert(kind: Any, value: Any, where: str) -> Any:
    """Returns a YAML value as a field's type."""
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast(type, kind), value, where)
    origin = typing.get_origin(kind) or kind
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} is a list, got {value!r}.")
        return tuple(_convert(typing.get_args(kind)[0], item, where) for item in value)
    expected = (int, float) if origin is float else origin
    if not isinstance(value, expected) or isinstance(value, bool):
        raise ValueError(f"{where} is a {origin.__name__}, got {value!r}.")
    return value
