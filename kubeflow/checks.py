"""What the backend would refuse at upload or in a run, found before it is asked.

The rules are those of the backend's source: backend/src/apiserver/template/v2_template.go
(what may be uploaded), backend/src/v2/compiler/argocompiler (what may be run) and
backend/src/v2/driver (what a step is given), and of Kubernetes and Linux below it.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

SCHEMA_VERSION = "2.1.0"
ARTIFACT_STORES = ("minio://", "s3://", "gs://")
MAX_ARGUMENT_BYTES = 128 * 1024  # of one argument: MAX_ARG_STRLEN in Linux
RESERVED_OUTPUT = "executor-logs"  # the driver adds one of this name

_PIPELINE_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_KUBERNETES_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_ENVIRONMENT_NAME = r"[-._a-zA-Z][-._a-zA-Z0-9]*"
_DURATION = r"[0-9]+(\.[0-9]+)?s"
_TOLERATION = {
    "key": r"[-/._a-zA-Z0-9]*",
    "operator": "Exists|Equal",
    "value": r"[-._a-zA-Z0-9]*",
    "effect": "|NoSchedule|PreferNoSchedule|NoExecute",
    "tolerationSeconds": r"[0-9]+",
}

Document = dict[str, Any]
Rule = Callable[["Compiled"], Iterator[str]]


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The two documents, and what is looked up in them again and again."""

    spec: Document
    platform: Document

    @property
    def tasks(self) -> dict[str, Document]:
        return self.spec.get("root", {}).get("dag", {}).get("tasks", {})

    @property
    def executors(self) -> dict[str, Document]:
        return self.spec.get("deploymentSpec", {}).get("executors", {})

    @property
    def root_parameters(self) -> dict[str, Document]:
        return self.spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})

    def component(self, task: str) -> Document:
        """Returns the component of a task; {} where the reference leads nowhere."""
        name = self.tasks.get(task, {}).get("componentRef", {}).get("name", "")
        return self.spec.get("components", {}).get(name, {})

    def definitions(self, task: str, side: str, kind: str) -> dict[str, Document]:
        """Returns a task's inputs or outputs (`side`), parameters or artifacts (`kind`)."""
        return self.component(task).get(f"{side}Definitions", {}).get(kind, {})

    def inputs(self, task: str, kind: str) -> dict[str, Document]:
        """Returns where a task's parameters or artifacts (`kind`) come from."""
        return self.tasks[task].get("inputs", {}).get(kind, {})


def check(documents: list[Document]) -> None:
    """Raises ValueError that names every rule the documents break."""
    if problems := find_problems(documents):
        raise ValueError(
            "Kubeflow Pipelines would not run this pipeline:\n  " + "\n  ".join(problems)
        )


def find_problems(documents: list[Document]) -> list[str]:
    """Returns what is wrong, one line each; nothing if the backend takes the documents."""
    compiled = Compiled(*documents)
    # All executors have one image: what is wrong with it is told once.
    return list(dict.fromkeys(problem for rule in RULES for problem in rule(compiled)))


def known_fields(compiled: Compiled) -> Iterator[str]:
    """Every field is one of the official protos: the API server refuses others."""
    for document, message in (
        (compiled.spec, pipeline_spec_pb2.PipelineSpec()),
        (compiled.spec.get("deploymentSpec", {}), pipeline_spec_pb2.PipelineDeploymentConfig()),
    ):
        try:
            json_format.ParseDict(document, message)
        except json_format.ParseError as error:
            yield f"a field the backend does not know, or a value of another type: {error}"


def schema_version(compiled: Compiled) -> Iterator[str]:
    """The schema version is the one open-source backends take."""
    found = compiled.spec.get("schemaVersion")
    if found != SCHEMA_VERSION:
        yield f"schemaVersion is {SCHEMA_VERSION}, got {found!r}"


def pipeline_name(compiled: Compiled) -> Iterator[str]:
    """The pipeline has a name a Kubernetes object can have."""
    name = compiled.spec.get("pipelineInfo", {}).get("name", "")
    if not re.fullmatch(_PIPELINE_NAME, name) or len(name) > 128:
        yield f"the pipeline's name is lower-case letters, digits, '-' and '.', got {name!r}"


def pipeline_root(compiled: Compiled) -> Iterator[str]:
    """Artifacts go where the launcher can put them."""
    root = compiled.spec.get("defaultPipelineRoot")
    if root is not None and not re.match(r"(minio|s3|gs)://[^/]+", root):
        yield f"the pipeline root begins with {', '.join(ARTIFACT_STORES)}, got {root!r}"


def tasks_run(compiled: Compiled) -> Iterator[str]:
    """There are tasks, and each leads to a container or an importer."""
    if not compiled.tasks:
        yield "the root has no tasks"
    for task in compiled.tasks:
        component = compiled.component(task)
        executor = compiled.executors.get(component.get("executorLabel", ""), {})
        if not component:
            yield f"{task}: its component is not defined"
        elif not executor:
            yield f"{task}: its executor is not defined"
        elif "resolver" in executor:
            yield f"{task}: the backend implements no resolver; use a component of its own"
        elif not {"container", "importer"} & set(executor):
            yield f"{task}: its executor is no container and no importer"
        elif "lifecycle" in executor.get("container", {}):
            yield f"{task}: the backend runs no lifecycle hook, so no ExampleGen driver"


def dependencies(compiled: Compiled) -> Iterator[str]:
    """Tasks wait for tasks that exist, and never in a circle."""
    waiting = {
        task: set(body.get("dependentTasks", [])) for task, body in compiled.tasks.items()
    }
    for task, needed in waiting.items():
        for name in sorted(needed - set(compiled.tasks)):
            yield f"{task}: waits for {name}, which is no task"
        needed &= set(compiled.tasks)
    while ready := [task for task, needed in waiting.items() if not needed]:
        for task in ready:
            del waiting[task]
        for needed in waiting.values():
            needed.difference_update(ready)
    if waiting:
        yield f"{', '.join(sorted(waiting))}: wait for each other in a circle"


def artifacts(compiled: Compiled) -> Iterator[str]:
    """Every input artifact is an output of a task that is waited for, of the same type."""
    for task, body in compiled.tasks.items():
        defined = compiled.definitions(task, "input", "artifacts")
        given = compiled.inputs(task, "artifacts")
        for name in sorted(set(defined) - set(given)):
            if not defined[name].get("isOptional"):
                yield f"{task}: its input {name} comes from nowhere"
        for name, source in given.items():
            producer = source.get("taskOutputArtifact", {}).get("producerTask", "")
            key = source.get("taskOutputArtifact", {}).get("outputArtifactKey", "")
            made = compiled.definitions(producer, "output", "artifacts").get(key)
            if made is None:
                yield f"{task}: its input {name} is {key} of {producer}, which has none"
            elif producer not in body.get("dependentTasks", []):
                yield f"{task}: takes {name} from {producer} and does not wait for it"
            elif made["artifactType"] != defined.get(name, {}).get("artifactType"):
                yield f"{task}: its input {name} has another type than {producer} makes"
        if RESERVED_OUTPUT in compiled.definitions(task, "output", "artifacts"):
            yield f"{task}: the output {RESERVED_OUTPUT} is the backend's own"


def parameters(compiled: Compiled) -> Iterator[str]:
    """Every parameter of a task has a value of its type."""
    for task in compiled.tasks:
        defined = compiled.definitions(task, "input", "parameters")
        given = compiled.inputs(task, "parameters")
        for name, definition in defined.items():
            has_default = "defaultValue" in definition or definition.get("isOptional")
            if name not in given and not has_default:
                yield f"{task}: its parameter {name} has no value"
        for name, source in given.items():
            if name not in defined:
                yield f"{task}: has no parameter {name}"
                continue
            kind = defined[name].get("parameterType")
            if outer := source.get("componentInputParameter"):
                if outer not in compiled.root_parameters:
                    yield f"{task}: {name} is the pipeline's {outer}, which it does not have"
                elif compiled.root_parameters[outer].get("parameterType") != kind:
                    yield f"{task}: {name} is a {kind}, the pipeline's {outer} is not"
            elif not is_of_type(source.get("runtimeValue", {}).get("constant"), kind):
                yield f"{task}: {name} is no {kind}"


def defaults(compiled: Compiled) -> Iterator[str]:
    """A run that is told nothing has every value."""
    for name, definition in compiled.root_parameters.items():
        kind = definition.get("parameterType")
        if "defaultValue" not in definition:
            yield f"the pipeline's parameter {name} has no default"
        elif not is_of_type(definition["defaultValue"], kind):
            yield f"the default of the pipeline's parameter {name} is no {kind}"


def is_of_type(value: Any, kind: str | None) -> bool:
    """Returns whether the API server takes a value for a parameter of a type."""
    if kind == "STRING":
        return isinstance(value, str)
    if kind in ("NUMBER_INTEGER", "NUMBER_DOUBLE"):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return kind == "BOOLEAN" and isinstance(value, bool)


def containers(compiled: Compiled) -> Iterator[str]:
    """Every container has an image that does not move, a command and legal variables."""
    for label, executor in compiled.executors.items():
        if "container" not in executor:
            continue
        container = executor["container"]
        image = container.get("image", "")
        name = image.rsplit("/", 1)[-1]
        if not re.fullmatch(r"[a-z0-9][-a-z0-9._/:]*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", image):
            yield f"{image!r} is no image's name"
        elif "@" not in name and (":" not in name or name.endswith(":latest")):
            yield (
                f"the image {image} has no tag or a moving one: the cache would take what "
                "another image made. Give it a version or a digest"
            )
        if not container.get("command"):
            yield f"{label}: has no command; the launcher runs no image's own entrypoint"
        for variable in container.get("env", []):
            if not re.fullmatch(_ENVIRONMENT_NAME, variable.get("name", "")):
                yield f"{label}: {variable.get('name')!r} is no environment variable's name"
        limits = container.get("resources", {})
        for field in ("cpuLimit", "memoryLimit"):
            if not limits.get(field, 0) > 0:
                yield f"{label}: {field} is above 0, got {limits.get(field)}"


def arguments(compiled: Compiled) -> Iterator[str]:
    """No argument outgrows Linux, also not with the step's parameters in it."""
    for task in compiled.tasks:
        label = compiled.component(task).get("executorLabel", "")
        container = compiled.executors.get(label, {}).get("container", {})
        values = str(compiled.inputs(task, "parameters"))
        for argument in (*container.get("command", []), *container.get("args", [])):
            size = len(argument.replace("{{$}}", values).encode())
            if size >= MAX_ARGUMENT_BYTES:
                yield (
                    f"{task}: an argument has {size:,} bytes, Linux takes fewer than "
                    f"{MAX_ARGUMENT_BYTES:,}"
                )
            if "{{" in argument.replace("{{$}}", ""):
                yield f"{task}: {argument!r} holds a placeholder the launcher replaces"


def retries(compiled: Compiled) -> Iterator[str]:
    """Retry policies are numbers and durations."""
    for task, body in compiled.tasks.items():
        policy = body.get("retryPolicy", {})
        if not isinstance(policy.get("maxRetryCount", 0), int) or policy["maxRetryCount"] < 0:
            yield f"{task}: maxRetryCount is 0 or more, got {policy['maxRetryCount']}"
        for field in ("backoffDuration", "backoffMaxDuration"):
            if not re.fullmatch(_DURATION, policy.get(field, "0s")):
                yield f"{task}: {field} is seconds such as 30s, got {policy[field]!r}"


def kubernetes(compiled: Compiled) -> Iterator[str]:
    """What Kubernetes adds belongs to executors that exist, with names it takes."""
    configs = compiled.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, config in configs.items():
        if label not in compiled.executors:
            yield f"the platform configures {label}, which is no executor"
        names = [mount.get("constant", "") for mount in config.get("pvcMount", [])]
        names += [secret.get("secretName", "") for secret in config.get("secretAsEnv", [])]
        names += [secret.get("secretName", "") for secret in config.get("imagePullSecret", [])]
        for name in names:
            if not re.fullmatch(_KUBERNETES_NAME, name):
                yield f"{label}: {name!r} is no name of a Kubernetes object"
        for mount in config.get("pvcMount", []):
            if not re.fullmatch(r"(/[^/:]+)+", mount.get("mountPath", "")):
                yield f"{label}: {mount.get('mountPath')!r} is no absolute path to mount at"
        for toleration in config.get("tolerations", []):
            for field, value in toleration.items():
                if not re.fullmatch(_TOLERATION.get(field, ""), str(value)):
                    yield f"{label}: a toleration has no {field}: {value!r}"


RULES: tuple[Rule, ...] = (
    known_fields,
    schema_version,
    pipeline_name,
    pipeline_root,
    tasks_run,
    dependencies,
    artifacts,
    parameters,
    defaults,
    containers,
    arguments,
    retries,
    kubernetes,
)
