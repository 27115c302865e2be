"""A Kubernetes node, as a pod of Kubeflow Pipelines sees it."""

import dataclasses
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.emulator import filesystem
from tests.kubeflow.kfp.workflow import BINARIES

# Argo wraps a container's command in its own, which is missing here.
ARGOEXEC = '#!/bin/sh\n# emissary -- COMMAND…\nshift 2\nexec "$@"\n'

# The driver's and the launcher's image, and ours.
PATH = f"{BINARIES}:{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin"

VARIABLE = re.compile(r"\$\((\w+)\)")


@dataclasses.dataclass(frozen=True)
class Pod:
    """The outcome of a pod."""

    spec: Mapping[str, Any]
    exit_code: int
    log: str  # of all its containers
    directory: Path  # its /minio is a folder here

    def argument(self, name: str) -> str:
        """Returns the value of an argument of the main container's command."""
        container = self.spec["containers"][0]
        arguments = [*container["command"], *container.get("args", [])]
        return str(arguments[arguments.index(name) + 1])


@dataclasses.dataclass
class Node:
    """Runs pods, two at a time.

    Attributes:
        directory: For the pods' files and logs.
        services: Address of each service, as pods see it: environment variable → value.
        service_account: The folder Kubernetes mounts into each pod.
        volumes: PersistentVolumeClaim → folder.
        secrets: Secret → key → value.
        config_maps: ConfigMap → key → value.
        kills: Part of a pod's name → when its next container is killed; used once.
    """

    directory: Path
    services: Mapping[str, str]
    service_account: Path
    volumes: Mapping[str, Path]
    secrets: Mapping[str, Mapping[str, str]]
    config_maps: Mapping[str, Mapping[str, str]]
    kills: dict[str, Callable[[], bool]] = dataclasses.field(default_factory=dict)
    _places: threading.Semaphore = dataclasses.field(
        default_factory=lambda: threading.Semaphore(2)
    )

    def run(self, name: str, spec: dict[str, Any]) -> Pod:
        """Runs a pod's containers, the init containers first."""
        with self._places:
            return self._run(name, spec)

    def _run(self, name: str, spec: dict[str, Any]) -> Pod:
        stage = self.directory / f"{name}-{uuid.uuid4().hex[:8]}"
        stage.mkdir(parents=True)
        (stage / "argo").mkdir()
        argoexec = stage / "argo/argoexec"
        argoexec.write_text(ARGOEXEC)
        argoexec.chmod(0o755)
        log_path = stage / "log"
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            exit_code = self._run_container(name, container, spec, stage, log_path)
            if exit_code:
                break
        return Pod(spec, exit_code, log_path.read_text(errors="replace"), stage)

    def _run_container(
        self, name: str, container: dict[str, Any], spec: dict[str, Any], stage: Path, log: Path
    ) -> int:
        """Returns the exit code of a container with the mounts and variables of its spec."""
        mounts = {
            "/minio": stage / "minio",
            "/tmp/outputs": stage / "tmp/outputs",
            "/run/argo": stage / "argo",
            "/run/secrets/kubernetes.io/serviceaccount": self.service_account,
        }
        volumes = {volume["name"]: volume for volume in spec.get("volumes") or []}
        for mount in container.get("volumeMounts", []):
            claim = volumes[mount["name"]].get("persistentVolumeClaim")
            mounts[mount["mountPath"]] = (
                self.volumes[claim["claimName"]] if claim else stage / mount["name"]
            )
        variables = self._variables(name, container)
        command = [
            VARIABLE.sub(lambda match: variables.get(match[1], match[0]), argument)
            for argument in (*container["command"], *container.get("args", []))
        ]
        script = stage / f"{container['name']}.sh"
        script.write_text(filesystem.script(stage / f"{container['name']}-root", mounts))
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*filesystem.contained(script), *command],
                stdout=output,
                stderr=output,
                env={**variables, "PATH": PATH},
            )
        self._kill_if_due(name, container, process)
        return process.wait()

    def _variables(self, name: str, container: dict[str, Any]) -> dict[str, str]:
        """Returns a container's environment variables."""
        variables = dict(self.services)
        for source in container.get("envFrom", []):
            variables |= self.config_maps.get(source["configMapRef"]["name"], {})
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                key = source["secretKeyRef"]
                value = self.secrets[key["name"]][key["key"]]
            elif "fieldRef" in source:
                field = source["fieldRef"]["fieldPath"]
                value = {"metadata.name": name, "metadata.uid": f"uid-{name}"}[field]
            else:
                value = variable.get("value", "")
            variables[variable["name"]] = value
        return variables

    def _kill_if_due(
        self, name: str, container: dict[str, Any], process: subprocess.Popen
    ) -> None:
        due = [part for part in self.kills if part in name]
        if container["name"] != "main" or not due:
            return
        is_due = self.kills.pop(due[0])
        while process.poll() is None and not is_due():
            time.sleep(0.02)
        process.kill()
