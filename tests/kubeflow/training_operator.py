"""The Kubernetes API and the training operator, for TFJobs whose pods are processes here.

It follows the operator's source: pkg/apis/kubeflow.org/v1/tensorflow_{types,validation}.go says
what a TFJob is, pkg/controller.v1/tensorflow/tensorflow.go what TF_CONFIG holds, and
tfjob_controller.go which pods are made, when the job has succeeded or failed, and what is kept.
The kubelet starts a container again that ended with an error (`restartPolicy: OnFailure`).
Addresses are on loopback, waits are shorter, and the rights are those of our own Role.
"""

import contextlib
import dataclasses
import datetime
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import kubernetes_validate
import pydantic
import yaml
from pydantic import alias_generators

from benchmarks.emulator import filesystem
from pipeline_def.code_version import ROOT
from tests.kubeflow import kubernetes_api

NAMESPACE = "team"
ROLE = ROOT / "kubeflow/manifests/training/role.yaml"
JOBS = "/apis/kubeflow.org/v1/namespaces/team/tfjobs"
RESTART_SECONDS = 0.5
VERBS = {"POST": "create", "GET": "get", "DELETE": "delete"}


class Checked(pydantic.BaseModel):
    """A part of the CustomResourceDefinition, v1.7 to v1.9: no other fields, no other types."""

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, alias_generator=alias_generators.to_camel
    )


class Metadata(Checked):
    # The operator makes services called <name>-evaluator-0, which are DNS labels.
    name: str = pydantic.Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63 - 12)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RunPolicy(Checked):
    clean_pod_policy: Literal["All", "Running", "None"] = "None"
    ttl_seconds_after_finished: pydantic.NonNegativeInt | None = None
    active_deadline_seconds: pydantic.PositiveInt | None = None
    backoff_limit: pydantic.NonNegativeInt | None = None


class ReplicaSpec(Checked):
    replicas: pydantic.PositiveInt = 1
    restart_policy: Literal["Always", "OnFailure", "Never", "ExitCode"] = "Never"
    template: dict[str, Any]

    @pydantic.field_validator("template")
    @classmethod
    def is_a_pod_with_a_container_tensorflow(cls, template: dict[str, Any]) -> dict[str, Any]:
        assert set(template) == {"metadata", "spec"}
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        try:
            kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            raise ValueError(error.message) from error
        named = [one for one in template["spec"]["containers"] if one["name"] == "tensorflow"]
        assert len(named) == 1 and named[0]["image"]
        return template


class TFJobSpec(Checked):
    run_policy: RunPolicy = RunPolicy()
    success_policy: Literal["", "AllWorkers"] = ""
    enable_dynamic_worker: bool = False
    tf_replica_specs: dict[Literal["Chief", "Worker", "Evaluator", "PS"], ReplicaSpec]


class TFJob(Checked):
    api_version: Literal["kubeflow.org/v1"]
    kind: Literal["TFJob"]
    metadata: Metadata
    spec: TFJobSpec


def check(job: dict[str, Any]) -> None:
    """Raises ValueError if the API server or the operator would refuse a job."""
    TFJob.model_validate(job)


@dataclasses.dataclass
class Pod:
    """A pod with one container."""

    name: str
    kind: str
    command: list[str]
    environment: dict[str, str]
    mounts: dict[str, Path]
    restarts: int = 0
    process: Any = None
    log: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # of this container
    all_lines: list[str] = dataclasses.field(default_factory=list)  # of those before, too
    ended_at: float = 0.0

    def start(self, directory: Path) -> None:
        stage = directory / f"{self.name}-{uuid.uuid4().hex[:8]}"
        stage.mkdir()
        script = stage / "container.sh"
        script.write_text(filesystem.script(stage / "root", self.mounts))
        self.log = []
        self.process = subprocess.Popen(
            [*filesystem.contained(script), *self.command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            text=True,
            errors="replace",
        )
        self.reader = threading.Thread(target=self._read, args=(self.process, self.log))
        self.reader.start()

    def _read(self, process: Any, log: list[tuple[str, str]]) -> None:
        for line in process.stdout:
            now = datetime.datetime.now(datetime.timezone.utc)
            log.append((now.strftime("%Y-%m-%dT%H:%M:%S.%f000Z"), line.rstrip("\n")))
            self.all_lines.append(line.rstrip("\n"))

    def end(self, by: int = signal.SIGKILL) -> None:
        self.process.send_signal(by)
        self.process.wait()

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None


@dataclasses.dataclass
class Job:
    """A job, and what the operator has made of it."""

    body: dict[str, Any]
    pods: dict[str, Pod]
    conditions: list[dict[str, str]] = dataclasses.field(default_factory=list)

    @property
    def state(self) -> str:
        return self.conditions[-1]["type"] if self.conditions else ""

    def say(self, state: str, message: str) -> None:
        """Adds a condition; only the newest is true, as in the operator after Created."""
        for earlier in self.conditions:
            if earlier["type"] != "Created":
                earlier["status"] = "False"
        self.conditions = [one for one in self.conditions if one["type"] != state]
        self.conditions.append({"type": state, "status": "True", "message": message})

    def as_json(self) -> dict[str, Any]:
        return {**self.body, "status": {"conditions": [dict(one) for one in self.conditions]}}


class Operator:
    """Runs the pods of TFJobs."""

    def __init__(self, directory: Path, volumes: dict[str, Path]) -> None:
        self.directory = directory
        self.volumes = volumes  # PersistentVolumeClaim → folder
        self.jobs: dict[str, Job] = {}
        self.requests: list[str] = []
        self.outage = False  # answers 503
        self.all_pods: dict[str, Pod] = {}  # of deleted jobs, too
        self.lock = threading.RLock()

    def create(self, body: dict[str, Any]) -> None:
        spec = body["spec"]["tfReplicaSpecs"]
        addresses = {
            kind.lower(): [f"127.0.0.1:{_free_port()}" for _ in range(replica["replicas"])]
            for kind, replica in spec.items()
            if kind != "Evaluator"
        }
        pods = {}
        for kind, replica in spec.items():
            for index in range(replica["replicas"]):
                task = {"type": kind.lower(), "index": index}
                told = {"cluster": addresses, "task": task, "environment": "cloud"}
                pod = self._pod_of(body["metadata"]["name"], replica["template"], told)
                pods[pod.name] = pod
        job = Job(body, pods)
        job.say("Created", f"TFJob {body['metadata']['name']} is created.")
        self.jobs[body["metadata"]["name"]] = job
        self.all_pods |= pods
        threading.Thread(target=self._reconcile, args=(job,), daemon=True).start()

    def _pod_of(self, job: str, template: dict[str, Any], tf_config: dict[str, Any]) -> Pod:
        (container,) = template["spec"]["containers"]
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in template["spec"]["volumes"]
        }
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin"}
        environment |= {each["name"]: each["value"] for each in container["env"]}
        kind, index = tf_config["task"].values()
        return Pod(
            f"{job}-{kind}-{index}",
            kind,
            [*container["command"], *container["args"]],
            environment | {"TF_CONFIG": json.dumps(tf_config)},
            {
                mount["mountPath"]: self.volumes[claims[mount["name"]]]
                for mount in container["volumeMounts"]
            },
        )

    def _reconcile(self, job: Job) -> None:
        """Looks after a job's pods until it has ended or is deleted."""
        name, limit = (
            job.body["metadata"]["name"],
            job.body["spec"]["runPolicy"]["backoffLimit"],
        )
        for pod in job.pods.values():
            pod.start(self.directory)
        job.say("Running", f"TFJob {NAMESPACE}/{name} is running.")
        while self.jobs.get(name) is job:
            time.sleep(0.05)
            with self.lock:
                if self.jobs.get(name) is not job:
                    return
                for pod in job.pods.values():
                    self._look_after(job, pod)
                if any(
                    not p.is_running and p.kind == "chief" and not p.process.returncode
                    for p in job.pods.values()
                ):
                    job.say("Succeeded", f"TFJob {NAMESPACE}/{name} successfully completed.")
                elif sum(pod.restarts for pod in job.pods.values()) >= limit:
                    job.say(
                        "Failed",
                        f"TFJob {NAMESPACE}/{name} has failed because it has reached the "
                        "specified backoff limit",
                    )
                if job.state in ("Succeeded", "Failed"):
                    self._end_pods(job)
                    return

    def _look_after(self, job: Job, pod: Pod) -> None:
        if pod.is_running or pod.process.returncode == 0:
            return
        pod.ended_at = pod.ended_at or time.monotonic()
        if time.monotonic() > pod.ended_at + RESTART_SECONDS:
            pod.ended_at = 0.0
            pod.restarts += 1
            pod.start(self.directory)

    def _end_pods(self, job: Job) -> None:
        for pod in job.pods.values():
            if pod.is_running:
                pod.end()

    def delete(self, name: str) -> None:
        with self.lock:
            self._end_pods(self.jobs.pop(name))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


@contextlib.contextmanager
def serve(directory: Path, volumes: dict[str, Path]) -> Iterator[tuple[Operator, str, Path]]:
    """Serves the API; yields the operator, the address and the folder of credentials."""
    pods = directory / "pods"
    pods.mkdir(parents=True)
    operator, account = Operator(pods, volumes), directory / "serviceaccount"
    with kubernetes_api.serve(account, NAMESPACE, _handler(operator)) as address:
        try:
            yield operator, address, account
        finally:
            for name in list(operator.jobs):
                operator.delete(name)


def is_allowed(verb: str, group: str, resource: str) -> bool:
    """Returns whether our Role allows the service account to do this."""
    return any(
        verb in rule["verbs"] and group in rule["apiGroups"] and resource in rule["resources"]
        for rule in yaml.safe_load(ROLE.read_text())["rules"]
    )


def _handler(operator: Operator) -> type[kubernetes_api.Handler]:
    class Handler(kubernetes_api.Handler):
        def respond(self) -> None:
            address = urllib.parse.urlsplit(self.path)
            operator.requests.append(f"{self.command} {address.path}")
            size = int(self.headers["Content-Length"] or 0)
            body = json.loads(self.rfile.read(size) or "null")
            log = re.fullmatch("/api/v1/namespaces/team/pods/([^/]+)/log", address.path)
            job = re.fullmatch(f"{JOBS}(?:/([^/]+))?", address.path)
            group, resource = ("", "pods/log") if log else ("kubeflow.org", "tfjobs")
            if operator.outage:
                self.refuse(503, "ServiceUnavailable", "etcd is not there")
            elif not self.is_known():
                return
            elif not log and not job:
                self.refuse(404, "NotFound", "the server could not find the requested resource")
            elif not is_allowed(VERBS[self.command], group, resource):
                self.refuse(403, "Forbidden", f"cannot {VERBS[self.command]} {resource}")
            elif log:
                self.send_log(log[1], dict(urllib.parse.parse_qsl(address.query)))
            else:
                self.respond_on_job(job[1], body)

        do_GET = do_POST = do_DELETE = respond  # noqa: N815

        def respond_on_job(self, name: str | None, body: Any) -> None:
            if self.command == "POST":
                try:
                    check(body)
                except ValueError as error:
                    self.refuse(422, "Invalid", str(error))
                    return
                if body["metadata"]["name"] in operator.jobs:
                    self.refuse(409, "AlreadyExists", "tfjobs already exists")
                    return
                operator.create(body)
                self.answer(201, body)
            elif name not in operator.jobs:
                self.refuse(404, "NotFound", f'tfjobs.kubeflow.org "{name}" not found')
            else:
                found = operator.jobs[name].as_json()
                if self.command == "DELETE":
                    operator.delete(name)
                self.answer(200, found)

        def send_log(self, name: str, query: dict[str, str]) -> None:
            pods = {
                pod.name: pod for job in operator.jobs.values() for pod in job.pods.values()
            }
            if name not in pods or pods[name].process is None:
                self.refuse(404, "NotFound", f'pods "{name}" not found')
                return
            follow = query.pop("follow") == "True"
            assert query == {"container": "tensorflow", "timestamps": "True"}
            self.send_response(200)
            self.end_headers()
            pod, log = pods[name], pods[name].log
            process, reader, sent = pod.process, pod.reader, 0
            with contextlib.suppress(OSError):
                while True:
                    is_last = process.poll() is not None and not reader.is_alive()
                    for when, line in log[sent:]:
                        self.wfile.write(f"{when} {line}\n".encode())
                        sent += 1
                    if is_last or not follow:
                        return
                    time.sleep(0.05)

    return Handler


def account_environment(address: str) -> dict[str, str]:
    """Returns what Kubernetes tells each pod about its API."""
    host, _, port = address.partition(":")
    return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}


def is_ended(pod: Pod) -> bool:
    """Returns whether nothing of a pod is left."""
    return not pod.is_running and not Path(f"/proc/{pod.process.pid}").exists()
