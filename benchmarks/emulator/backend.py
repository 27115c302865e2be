"""Emulates the driver and launcher of Kubeflow Pipelines for a compiled pipeline's steps.

It follows the backend's source: backend/src/v2/driver/{driver,resolve,container}.go builds the
input of a step, backend/src/v2/component/launcher_v2.go copies artifacts, runs the command and
publishes, and backend/src/v2/metadata/{client,converter}.go decides what survives a round trip
through ML Metadata. The object store, ML Metadata and the containers' file systems (a separate
mount namespace for each step) are real; Argo, images and the UI are missing.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_metadata
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from ml_metadata.proto import metadata_store_pb2

from benchmarks.emulator import filesystem
from benchmarks.emulator.object_store import ObjectStore
from benchmarks.process import TreeSampler

LOCAL_ROOTS = {"minio": "minio", "s3": "s3", "gs": "gcs"}


@dataclasses.dataclass(frozen=True)
class Launcher:
    """Differences between generations of the backend that a step can see."""

    scheme: str  # of the pipeline root
    salts_outputs: bool  # a separate folder for each attempt
    publishes_logs: bool  # adds the output `executor-logs` to every step
    output_file_is_with_outputs: bool  # else in /tmp/kfp_outputs
    copies_by_prefix: bool  # the input `model` also copies `model_run`


OLD = Launcher("minio", False, False, False, True)  # 2.0
NEW = Launcher("s3", True, True, True, False)  # 2.17


@dataclasses.dataclass(frozen=True)
class Step:
    """The outcome of one task."""

    state: str  # SUCCEEDED, CACHED or FAILED
    attempts: int
    seconds: float
    peak_memory_mib: float
    log: str
    outputs: Mapping[str, Any]  # output name → ML Metadata artifact
    empty_outputs: tuple[str, ...] = ()  # nothing to upload


@dataclasses.dataclass(frozen=True)
class Work:
    """One task of a run, with the faults that a test injects."""

    name: str
    task: Any
    component: Any
    container: Any
    platform: Mapping[str, Any]  # what Kubernetes adds to the pod
    kill: Callable[[], bool] | None  # when to kill the first attempt
    is_read_only: bool
    may_be_cached: bool


class StepFailedError(Exception):
    """A task failed more often than its retry policy allows."""

    def __init__(self, task: str, steps: dict[str, Step]) -> None:
        super().__init__(f"{task} failed:\n{steps[task].log[-3000:]}")
        self.steps = steps


class Backend:
    """A cluster: its object store, metadata, cache and the pipeline's volume."""

    def __init__(self, store: ObjectStore, directory: Path, parallel_steps: int = 2) -> None:
        self.store = store
        self.directory = directory
        self.parallel_steps = parallel_steps
        self.volume = directory / "volume"
        self.volume.mkdir()
        self.pod_mounts: dict[str, Path] = {}  # of every pod, in addition to its own
        self.pod_environment: dict[str, str] = {}
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(directory / "mlmd.sqlite")
        self._metadata = ml_metadata.MetadataStore(connection)
        self._metadata_lock = threading.Lock()
        self._cache: dict[str, dict[str, Any]] = {}  # fingerprint → outputs

    def run(
        self,
        text: str,
        launcher: Launcher = NEW,
        kill_once: Mapping[str, Callable[[], bool]] | None = None,
        read_only_outputs: str = "",
        only: str = "",
        cache: bool = True,
        **parameters: Any,
    ) -> dict[str, Step]:
        """Runs a compiled pipeline and returns the outcome of each task.

        Args:
            text: The YAML to upload.
            launcher: The generation of the backend.
            kill_once: Task → when to kill its first attempt.
            read_only_outputs: A task whose output folders are read-only.
            only: Runs only this task and those it depends on.
            cache: Whether steps may come from the cache.
            **parameters: The run parameters.

        Raises:
            StepFailedError: A task failed in every attempt; the rest did not run.
        """
        spec, deployment, platform = parse(text)
        values = run_parameters(spec, parameters)
        root = (
            f"{launcher.scheme}://{self.store.bucket}/v2/artifacts/"
            f"{spec.pipeline_info.name}/{uuid.uuid4()}"
        )
        steps: dict[str, Step] = {}
        tasks = dict(spec.root.dag.tasks)
        if only:
            tasks = {name: tasks[name] for name in needed_by(only, tasks)}
        running: dict[concurrent.futures.Future[Step], str] = {}
        with concurrent.futures.ThreadPoolExecutor(self.parallel_steps) as pool:
            while tasks or running:
                for name in sorted(tasks):
                    task = tasks[name]
                    if all(needed in steps for needed in task.dependent_tasks):
                        component = spec.components[task.component_ref.name]
                        container = deployment.executors[component.executor_label].container
                        work = Work(
                            *(name, task, component, container),
                            platform.get(component.executor_label, {}),
                            (kill_once or {}).get(name),
                            name == read_only_outputs,
                            cache and task.caching_options.enable_cache,
                        )
                        inputs = self._resolve_inputs(task, component, values, steps)
                        running[pool.submit(self._step, work, inputs, root, launcher)] = name
                        del tasks[name]
                assert running, "the tasks form a cycle"
                done, _ = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
                for future in done:
                    name = running.pop(future)
                    steps[name] = future.result()
                    if steps[name].state == "FAILED":
                        raise StepFailedError(name, steps)
        return steps

    def _step(self, work: Work, inputs: Any, root: str, launcher: Launcher) -> Step:
        """Takes a step from the cache, or launches it until it succeeds or retries run out."""
        fingerprint = cache_key(inputs, work)
        if work.may_be_cached and fingerprint in self._cache:
            return Step("CACHED", 0, 0.0, 0.0, "", self._cache[fingerprint])
        # The driver runs once, so every attempt gets the same input.
        outputs = provision_outputs(root, work.name, work.component, launcher)
        policy = work.task.retry_policy
        retry_until = time.monotonic() + policy.backoff_max_duration.ToSeconds()
        for attempt in range(1, policy.max_retry_count + 2):
            execution = pipeline_spec_pb2.ExecutorInput(inputs=inputs, outputs=outputs)
            step = self._launch(work, execution, launcher, attempt)
            if step.state == "SUCCEEDED":
                self._cache[fingerprint] = dict(step.outputs)
            if step.state == "SUCCEEDED" or time.monotonic() > retry_until:
                break
        return step

    def _resolve_inputs(
        self, task: Any, component: Any, values: Mapping[str, Any], steps: Mapping[str, Step]
    ) -> Any:
        """Returns the inputs of a step as the driver resolves them, without types."""
        inputs = pipeline_spec_pb2.ExecutorInput.Inputs()
        for name, source in task.inputs.parameters.items():
            if source.WhichOneof("kind") == "component_input_parameter":
                json_format.ParseDict(
                    values[source.component_input_parameter], inputs.parameter_values[name]
                )
            else:
                inputs.parameter_values[name].CopyFrom(source.runtime_value.constant)
        for name, definition in component.input_definitions.parameters.items():
            is_given = name in inputs.parameter_values
            assert is_given or definition.is_optional, f"{name} has no value"
        for name, source in task.inputs.artifacts.items():
            producer = source.task_output_artifact
            made = steps[producer.producer_task].outputs[producer.output_artifact_key]
            with self._metadata_lock:
                (artifact,) = self._metadata.get_artifacts_by_id([made.id])
            inputs.artifacts[name].artifacts.append(as_runtime_artifact(artifact))
        return inputs

    def _launch(self, work: Work, execution: Any, launcher: Launcher, attempt: int) -> Step:
        """Copies the inputs, runs the command, copies the outputs and cleans up."""
        stage = self.directory / f"stage-{uuid.uuid4().hex[:8]}"
        for folder in LOCAL_ROOTS.values():
            (stage / folder).mkdir(parents=True)
        try:
            for one in execution.inputs.artifacts.values():
                self._download(one.artifacts[0].uri, stage, launcher)
            for one in execution.outputs.artifacts.values():
                local_path(one.artifacts[0].uri, stage).parent.mkdir(
                    parents=True, exist_ok=True
                )
            text = json_format.MessageToJson(execution)
            command = [
                argument.replace("{{$}}", text)
                for argument in (*work.container.command, *work.container.args)
            ]
            started = time.monotonic()
            kill = work.kill if attempt == 1 else None
            code, memory, log = self._run_container(work, command, stage, kill)
            seconds = time.monotonic() - started
            if code:
                return Step("FAILED", attempt, seconds, memory, log, {})
            output_file = stage / execution.outputs.output_file.lstrip("/")
            output = pipeline_spec_pb2.ExecutorOutput()
            json_format.Parse(output_file.read_text(), output)
            if launcher.publishes_logs:
                logs = execution.outputs.artifacts["executor-logs"].artifacts[0].uri
                local_path(logs, stage).write_text(log)
            if absent := absent_outputs(execution, stage):
                log += f"the launcher does not find the output {', '.join(absent)}"
                return Step("FAILED", attempt, seconds, memory, log, {})
            outputs, empty = self._upload(execution, output, stage)
            return Step("SUCCEEDED", attempt, seconds, memory, log, outputs, empty)
        finally:
            shutil.rmtree(stage)

    def _download(self, uri: str, stage: Path, launcher: Launcher) -> None:
        """Copies an artifact, or nothing if nothing was uploaded."""
        key = key_of(uri)
        for each in self.store.keys(key):
            if launcher.copies_by_prefix or each == key or each.startswith(f"{key}/"):
                path = local_path(uri.removesuffix(key) + each, stage)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.store.get(each))

    def _upload(
        self, execution: Any, output: Any, stage: Path
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Uploads the files in the output folders, then publishes metadata."""
        published, empty = {}, []
        for name, one in execution.outputs.artifacts.items():
            artifact = one.artifacts[0]
            reported = output.artifacts[name].artifacts
            if reported:
                artifact.uri = reported[0].uri or artifact.uri
                artifact.metadata.update(json_format.MessageToDict(reported[0].metadata))
            path = local_path(artifact.uri, stage)
            files = [path] if path.is_file() else sorted(path.rglob("*"))
            for file in files:
                if file.is_file():
                    relative = file.relative_to(path) if file != path else ""
                    self.store.put(f"{key_of(artifact.uri)}/{relative}".rstrip("/"), file)
            if not files:
                empty.append(name)
            with self._metadata_lock:
                published[name] = self._record(name, artifact)
        return published, tuple(empty)

    def _record(self, name: str, artifact: Any) -> Any:
        """Stores an artifact with its metadata in ML Metadata, and returns it."""
        schema = artifact.type.schema_title or yaml.safe_load(artifact.type.instance_schema)
        title = schema if isinstance(schema, str) else schema["title"]
        type_id = self._metadata.put_artifact_type(metadata_store_pb2.ArtifactType(name=title))
        stored = metadata_store_pb2.Artifact(
            type_id=type_id, uri=artifact.uri, state=metadata_store_pb2.Artifact.LIVE
        )
        stored.custom_properties["display_name"].string_value = name
        for key, value in artifact.metadata.fields.items():
            kind = value.WhichOneof("kind")
            target = stored.custom_properties[key]
            assert kind != "null_value", f"{key}: the backend cannot store null"
            if kind == "string_value":
                target.string_value = value.string_value
            elif kind == "number_value":
                target.double_value = value.number_value
            elif kind == "bool_value":
                target.int_value = int(value.bool_value)
            elif kind == "struct_value":
                target.struct_value.fields["struct"].struct_value.CopyFrom(value.struct_value)
            else:
                target.struct_value.fields["list"].list_value.CopyFrom(value.list_value)
        (stored.id,) = self._metadata.put_artifacts([stored])
        return stored

    def _run_container(
        self, work: Work, command: list[str], stage: Path, kill: Callable[[], bool] | None
    ) -> tuple[int, float, str]:
        """Runs a command in its own file system; returns exit code, peak MiB and log."""
        script = stage / "container.sh"
        folders = [f"/{folder}" for folder in LOCAL_ROOTS.values()]
        mounts = self.pod_mounts | {folder: stage / folder.lstrip("/") for folder in folders}
        mounts["/tmp/kfp_outputs"] = stage / "tmp/kfp_outputs"
        for mount in work.platform.get("pvcMount", []):
            mounts[mount["mountPath"]] = self.volume
        read_only = folders if work.is_read_only else []
        script.write_text(filesystem.script(stage / "root", mounts, read_only))
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin"}
        environment |= self.pod_environment
        environment |= {variable.name: variable.value for variable in work.container.env}
        log_file = self.directory / f"{stage.name}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [*filesystem.contained(script), *command],
                stdout=log,
                stderr=log,
                env=environment,
            )
        sampler = TreeSampler(process.pid)
        sampler.start()
        if kill is not None:
            while process.poll() is None and not kill():
                time.sleep(0.02)
            process.kill()
        code = process.wait()
        sampler.stop()
        return code, sampler.peak_bytes / 2**20, log_file.read_text(errors="replace")


def parse(text: str) -> tuple[Any, Any, dict[str, Any]]:
    """Returns what the backend reads from a YAML; rejects unknown fields."""
    spec_document, platform_document = yaml.safe_load_all(text)
    spec = json_format.ParseDict(spec_document, pipeline_spec_pb2.PipelineSpec())
    deployment = json_format.ParseDict(
        spec_document["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig()
    )
    platform = platform_document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return spec, deployment, platform


def run_parameters(spec: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the value of each run parameter, type-checked as in the API server."""
    definitions = spec.root.input_definitions.parameters
    if unknown := set(given) - set(definitions):
        raise ValueError(f"the pipeline has no parameter {', '.join(unknown)}")
    values = {}
    for name, definition in definitions.items():
        default = json_format.MessageToDict(definition.default_value)
        values[name] = given.get(name, default)
        kind = pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Name(definition.parameter_type)
        expected = {"STRING": (str,), "NUMBER_INTEGER": (int, float)}[kind]
        assert isinstance(values[name], expected), f"{name} is not of type {kind}"
    return values


def provision_outputs(root: str, task: str, component: Any, launcher: Launcher) -> Any:
    """Returns where a step has to put its outputs."""
    task_root = f"{root}/{task}" + (f"/{uuid.uuid4()}" if launcher.salts_outputs else "")
    outputs = pipeline_spec_pb2.ExecutorInput.Outputs()
    for name, definition in component.output_definitions.artifacts.items():
        artifact = outputs.artifacts[name].artifacts.add()
        artifact.uri = f"{task_root}/{name}"
        artifact.type.CopyFrom(definition.artifact_type)
        if definition.HasField("metadata"):
            artifact.metadata.CopyFrom(definition.metadata)
    if launcher.publishes_logs:
        logs = outputs.artifacts["executor-logs"].artifacts.add()
        logs.uri = f"{task_root}/executor-logs"
        logs.type.schema_title = "system.Artifact"
    local_root = str(local_path(task_root, Path("/")))
    outputs.output_file = (
        f"{local_root if launcher.output_file_is_with_outputs else '/tmp/kfp_outputs'}"
        "/output_metadata.json"
    )
    return outputs


def as_runtime_artifact(artifact: Any) -> Any:
    """Returns a stored artifact as an input: named by its id, no schema, numbers as doubles."""
    metadata = {}
    for key, value in artifact.custom_properties.items():
        kind = value.WhichOneof("value")
        plain = getattr(value, kind)
        metadata[key] = json_format.MessageToDict(plain) if kind == "struct_value" else plain
    runtime = pipeline_spec_pb2.RuntimeArtifact(name=str(artifact.id), uri=artifact.uri)
    runtime.metadata.update(metadata)
    runtime.type.instance_schema = ""
    return runtime


def cache_key(inputs: Any, work: Work) -> str:
    """Returns the backend's cache key of a step: backend/src/v2/cacheutils/cache.go."""
    facts = {
        "artifacts": {
            name: [artifact.name for artifact in one.artifacts]
            for name, one in inputs.artifacts.items()
        },
        "parameters": {
            name: json_format.MessageToDict(value)
            for name, value in inputs.parameter_values.items()
        },
        "outputs": json_format.MessageToDict(work.component.output_definitions),
        "image": work.container.image,
        "command": [*work.container.command, *work.container.args],
        "volumes": [mount["constant"] for mount in work.platform.get("pvcMount", [])],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def needed_by(name: str, tasks: Mapping[str, Any]) -> set[str]:
    """Returns a task and all that it depends on."""
    return {name}.union(*(needed_by(each, tasks) for each in tasks[name].dependent_tasks))


def absent_outputs(execution: Any, stage: Path) -> list[str]:
    """Returns the outputs that do not exist: launchers after 2.17 then fail the step."""
    return [
        name
        for name, one in execution.outputs.artifacts.items()
        if not local_path(one.artifacts[0].uri, stage).exists()
    ]


def key_of(uri: str) -> str:
    """Returns the key in `scheme://bucket/key`."""
    return uri.split("/", 3)[3]


def local_path(uri: str, root: Path) -> Path:
    """Returns the launcher's local path of an address, below `root`."""
    scheme, _, rest = uri.partition("://")
    return root / LOCAL_ROOTS[scheme] / rest
