"""Compiles the pipeline to YAML for Kubeflow Pipelines 2.x, completing TFX's output.

TFX compiles the same `create_pipeline` that a local run uses. This module adds what its output
lacks for an open-source backend: defaults of parameters, a pipeline root, retries, resources,
volumes, artifacts that the UI can show.

A run parameter may change many values inside the nodes: `preset` reaches the Trainer's
hyper-parameters and the Evaluator's thresholds. So nodes get the run parameters they depend on
instead of those values, and the entrypoint makes the node in the container to get the values.
The compiler finds which node depends on which parameter by varying each parameter and comparing
the results.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tfx.orchestration import data_types, pipeline
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from contract import estimator, imports, warm_start
from contract.drift_record import DRIFT_LIMITS
from kubeflow import beam_step, checks, ui_artifacts
from kubeflow.cluster import Cluster, StepPod, TrainerPod
from kubeflow.parameters import SAMPLE, DriftParameters, RunParameters, batches_of, config_of
from kubeflow.training_job import check_batch_size, training_job
from pipeline_def.code_version import ROOT
from pipeline_def.config import (
    OWN_FIELDS,
    apply_settings,
    check_is_read,
    find_preset,
    presets,
)
from pipeline_def.drift_pipeline import create_drift_pipeline
from pipeline_def.pipeline import create_pipeline

COMMAND = ["python", "-m", "kubeflow.entrypoint"]

# These look something up, push it or read what has no fingerprint; an equal run must not reuse
# another run's answer.
NEVER_CACHED = ("ExampleValidator", "BaselineModel", "Pusher", "BulkInferrer")

# Argo counts this limit from the start of a step's first attempt, so it applies to the whole
# step; omitted, it is 0 (argoproj/argo-workflows processNodeRetries). `timeout_seconds` in the
# cluster file limits one attempt.
TEN_YEARS = "315360000s"

PARAMETER_TYPES = {str: "STRING", int: "NUMBER_INTEGER"}

Spec = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Dependence:
    """What each node depends on, for its container."""

    derived: dict[str, set[str]]  # node → its parameters that the container computes
    parameters: dict[str, set[str]]  # node → run parameters they depend on
    settings: dict[str, list[str]]  # node → settings they depend on
    volume_users: set[str]  # nodes that read or write a folder of the volume
    estimator_users: set[str]  # nodes that depend on the Estimator, if it is not ours


def compile_pipeline(
    image: str,
    cluster: Cluster,
    defaults: RunParameters,
    settings: Sequence[str] = (),
    pipeline_root: str = "",
    trainer_module: str = estimator.DEFAULT,
) -> list[Spec]:
    """Returns the documents of the YAML: the pipeline spec and the Kubernetes options.

    Args:
        image: The image of every step; of a Trainer on GPUs, see `gpu_image` of the cluster.
        cluster: The target cluster.
        defaults: The default values of the run parameters.
        settings: `field=value` changes to the preset, for every run.
        pipeline_root: Where artifacts go; empty: where the cluster's backend puts them.
        trainer_module: The dotted path of the Estimator, which the image contains too.

    Raises:
        ValueError: The backend would reject it, and the message gives every reason; or the
            workers or GPUs cannot share a batch.
    """
    checks.check(image, pipeline_root, settings, cluster.mount_path)
    trainer_image = trainer_image_of(image, cluster)
    checks.check(trainer_image)
    settings = [f"output_dir={cluster.mount_path}", *settings]
    definition = pipeline_of(defaults, settings, trainer_module)
    job = training_job(image, trainer_image, cluster)
    hyper_parameters = hyper_parameters_of(definition)
    if cluster.training.workers > 1:
        check_batch_size(hyper_parameters.get("batch_size"), job)
    else:
        check_gpus(cluster.trainer.gpu, hyper_parameters)
    dependence = find_dependence(defaults, settings, cluster.mount_path, trainer_module)
    spec = run_compiler(definition, image)
    if pipeline_root:
        spec["defaultPipelineRoot"] = pipeline_root
    spec["root"]["inputDefinitions"] = {"parameters": parameter_definitions(defaults)}
    for node, task, component, container in tasks_of(spec):
        pass_parameters(node, task, component, container, dependence)
        if node in dependence.estimator_users:
            container["args"] += ["--trainer_module", trainer_module]
        if node == "Trainer" and cluster.training.workers > 1:
            container["args"] += ["--training_job", json.dumps(job)]
        complete(node, task, component, container, cluster)
        if node == "Trainer" and starts_from_latest(definition):
            task.pop("cachingOptions", None)  # `latest` may mean another version each time
        if pod_of(node, cluster) is cluster.trainer:
            container["image"] = trainer_image
    # A mount is part of the backend's cache key, and the runner should not be.
    volume_users = dependence.volume_users.union(beam_step.STEPS)
    return [spec, platform_spec(spec, cluster, volume_users)]


def compile_drift(
    image: str, cluster: Cluster, settings: Sequence[str] = (), pipeline_root: str = ""
) -> list[Spec]:
    """Returns the documents of the pipeline that compares logged requests.

    Args:
        image: The image of every step.
        cluster: The target cluster.
        settings: `field=value`: the limits that it reads, and the name of the model.
        pipeline_root: As for `compile_pipeline`.

    Raises:
        ValueError: As `compile_pipeline`, or a setting would have no effect.
    """
    checks.check(image, pipeline_root)
    check_is_read(settings, (*DRIFT_LIMITS, "model_name"))
    defaults = DriftParameters(f"{cluster.mount_path}/logs", f"{cluster.mount_path}/serving")
    given = {
        field.name: data_types.RuntimeParameter(name=field.name, ptype=str)
        for field in dataclasses.fields(DriftParameters)
    }
    config = apply_settings(find_preset(), settings)
    definition = create_drift_pipeline(
        config, given["logs"], given["push_destination"], given["version"]
    )
    spec = run_compiler(definition, image)
    if pipeline_root:
        spec["defaultPipelineRoot"] = pipeline_root
    spec["root"]["inputDefinitions"] = {"parameters": parameter_definitions(defaults)}
    for node, task, component, container in tasks_of(spec):
        container["args"] += ["--node", node, "--drift"]
        complete(node, task, component, container, cluster)
        if node == "DriftGate":
            task["retryPolicy"]["maxRetryCount"] = 0  # its answer would be the same
    return [spec, platform_spec(spec, cluster, volume_users={"DriftCheck"})]


def tasks_of(spec: Spec) -> Iterator[tuple[str, Spec, Spec, Spec]]:
    """Yields each node's name, task, component and container."""
    for node, task in spec["root"]["dag"]["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
        yield node, task, component, executor["container"]


def complete(node: str, task: Spec, component: Spec, container: Spec, cluster: Cluster) -> None:
    """Adds what a step needs on an open-source backend, and what the cluster file says."""
    ui_artifacts.declare(node, component)
    if node in NEVER_CACHED:
        task.pop("cachingOptions", None)
    task["retryPolicy"] = {
        "maxRetryCount": cluster.retries,
        "backoffDuration": f"{cluster.retry_backoff_seconds}s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": TEN_YEARS,
    }
    env = {imports.LOG_LEVEL_VARIABLE: imports.LOG_WARNINGS} | cluster.env
    env |= beam_step.variables(node, cluster)
    container["env"] = [{"name": name, "value": value} for name, value in env.items()]
    container["resources"] = resource_limits(pod_of(node, cluster))


def pipeline_of(
    parameters: RunParameters, settings: Sequence[str], trainer_module: str = estimator.DEFAULT
) -> pipeline.Pipeline:
    """Returns the pipeline of a run with these parameters."""
    config = config_of(parameters, settings, trainer_module)
    return create_pipeline(config, batches_of(parameters), config.baseline_version)


def run_compiler(definition: pipeline.Pipeline, image: str) -> Spec:
    """Returns the pipeline spec that TFX compiles."""
    runner_config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image=image, default_commands=COMMAND, use_pipeline_spec_2_1=True
    )
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(runner_config)
    spec: Spec = runner.run(definition, write_out=False)["pipelineSpec"]
    return spec


def find_dependence(
    defaults: RunParameters,
    settings: Sequence[str],
    mount_path: str,
    trainer_module: str = estimator.DEFAULT,
) -> Dependence:
    """Returns what each node depends on, found by varying it."""
    neutral = dataclasses.replace(defaults, train_steps=0)  # else it hides the preset's
    all_presets = list(presets(trainer_module))

    def make(given: Sequence[str] = settings, **changes: Any) -> pipeline.Pipeline:
        return pipeline_of(dataclasses.replace(neutral, **changes), given, trainer_module)

    by_parameter = {
        name: _differences(make(**{name: value}) for value in values)
        for name, values in _variations(mount_path, all_presets).items()
    }
    by_setting = {
        setting: set().union(
            *(
                _differences(
                    make(remaining, preset=preset)
                    for remaining in (settings, [s for s in settings if s != setting])
                )
                for preset in all_presets
            )
        )
        for setting in settings
    }
    nodes = properties_of(pipeline_of(defaults, settings, trainer_module))
    of_this_machine = {
        (node, name)
        for node, properties in nodes.items()
        for name, value in properties.items()
        if str(ROOT) in str(value)
    }
    derived = of_this_machine.union(*by_parameter.values())
    on_volume = properties_of(make(**_volume_folders(mount_path)))
    return Dependence(
        derived={node: {name for owner, name in derived if owner == node} for node in nodes},
        parameters={
            node: {name for name, found in by_parameter.items() if _owned(found, node)}
            for node in nodes
        },
        settings={
            # Only a node that would not be there without a setting differs in its code.
            node: [
                s
                for s in settings
                if _owned(by_setting[s] & derived, node)
                or (node, "code_version") in by_setting[s]
            ]
            for node in nodes
        },
        volume_users={
            node
            for node, properties in on_volume.items()
            if mount_path in json.dumps(properties, default=str)
        },
        estimator_users=set()
        if trainer_module == estimator.DEFAULT
        else {
            node
            for node, properties in _with_our_estimator(neutral, settings).items()
            if _owned(by_parameter["preset"], node) or properties != nodes[node]
        },
    )


def _with_our_estimator(
    parameters: RunParameters, settings: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Returns the parameters of each node with our own Estimator."""
    kept = [setting for setting in settings if setting.partition("=")[0] in OWN_FIELDS]
    return properties_of(pipeline_of(dataclasses.replace(parameters, preset=""), kept))


def properties_of(definition: pipeline.Pipeline) -> dict[str, dict[str, Any]]:
    """Returns the parameters of each node, by the node's name."""
    return {node.id: dict(node.exec_properties) for node in definition.components}


def _volume_folders(mount_path: str) -> dict[str, Any]:
    return {"data": f"{mount_path}/data", "push_destination": f"{mount_path}/serving"}


def _variations(mount_path: str, all_presets: list[str]) -> dict[str, list[Any]]:
    """Returns, for each run parameter, values that differ in everything they change."""
    return {
        "preset": all_presets,
        "data": [SAMPLE, f"{mount_path}/data", f"{mount_path}/other"],
        "data_fingerprint": ["a", "b"],
        "train_steps": [1, 2],
        "push_destination": [f"{mount_path}/serving", f"{mount_path}/other"],
    }


def _differences(definitions: Iterable[pipeline.Pipeline]) -> set[tuple[str, str]]:
    """Returns each (node, parameter) whose value differs between the pipelines."""
    first, *others = [properties_of(definition) for definition in definitions]
    return {
        (node, name)
        for other in others
        for node, properties in first.items()
        for name, value in properties.items()
        if name not in other.get(node, {}) or other[node][name] != value
    }


def _owned(found: set[tuple[str, str]], node: str) -> bool:
    return any(owner == node for owner, _ in found)


def parameter_definitions(defaults: RunParameters | DriftParameters) -> Spec:
    """Returns the parameters of the pipeline with their defaults."""
    return {
        field.name: {
            "parameterType": PARAMETER_TYPES[type(getattr(defaults, field.name))],
            "defaultValue": getattr(defaults, field.name),
            "isOptional": True,
        }
        for field in dataclasses.fields(defaults)
    }


def pass_parameters(
    node: str, task: Spec, component: Spec, container: Spec, dependence: Dependence
) -> None:
    """Replaces a task's derived parameters by the run parameters they depend on."""
    inputs = task.setdefault("inputs", {}).setdefault("parameters", {})
    definitions = component.setdefault("inputDefinitions", {}).setdefault("parameters", {})
    for name in dependence.derived[node]:
        inputs.pop(name, None)
        definitions.pop(name, None)
    types = {field.name: field.type for field in dataclasses.fields(RunParameters)}
    for name in sorted(dependence.parameters[node]):
        # `run_` separates them from a node's own: Pusher has a push_destination too.
        inputs[f"run_{name}"] = {"componentInputParameter": name}
        definitions[f"run_{name}"] = {
            "parameterType": PARAMETER_TYPES[types[name]]  # type: ignore[index]
        }
    container["args"] += ["--node", node]
    for setting in dependence.settings[node]:
        container["args"] += ["--setting", setting]


def hyper_parameters_of(definition: pipeline.Pipeline) -> dict[str, Any]:
    """Returns the Trainer's hyper-parameters, by name."""
    found: dict[str, Any] = trainer_config(definition)["hyper_parameters"]
    return found


def starts_from_latest(definition: pipeline.Pipeline) -> bool:
    """Returns whether training starts from the version that is served when it runs."""
    start = trainer_config(definition).get(warm_start.KEY)
    return start is not None and start["version"] == warm_start.LATEST


def trainer_config(definition: pipeline.Pipeline) -> dict[str, Any]:
    """Returns the Trainer's custom config."""
    config: dict[str, Any] = json.loads(properties_of(definition)["Trainer"]["custom_config"])
    return config


def check_gpus(gpus: int, hyper_parameters: Mapping[str, Any]) -> None:
    """Raises ValueError if a Trainer alone in its pod would not use all GPUs equally."""
    if gpus > 1 and hyper_parameters.get("distribution") == "none":
        raise ValueError(
            f"the Trainer has {gpus} GPUs and would use only one. Compile with `--set "
            "distribution=mirrored`, so that they share each batch."
        )
    batch_size = hyper_parameters.get("batch_size", 0)
    if gpus > 1 and batch_size % gpus:
        raise ValueError(
            f"batch_size {batch_size} cannot be shared equally by the {gpus} GPUs of the "
            f"Trainer: it must be a multiple of {gpus}."
        )


def trainer_image_of(image: str, cluster: Cluster) -> str:
    """Returns the image of what trains: with a GPU, the one with CUDA's libraries."""
    trainer = cluster.trainer
    if not trainer.gpu or trainer.gpu_image:
        return trainer.gpu_image if trainer.gpu else image
    if "@" in image:
        raise ValueError(
            f"the image {image} has a digest, so the GPU image does not follow from its name. "
            "Name it as `gpu_image` of the trainer in the cluster file."
        )
    return f"{image}-gpu"


def pod_of(node: str, cluster: Cluster) -> StepPod:
    """Returns the pod settings of a node; a Trainer that only follows a TFJob needs little."""
    trains = ("Tuner",) if cluster.training.workers > 1 else ("Trainer", "Tuner")
    return cluster.trainer if node in trains else cluster.steps


def resource_limits(pod: StepPod) -> Spec:
    """Returns the limits of a container, in fields that every 2.x backend reads."""
    limits: Spec = {
        "cpuLimit": float(pod.cpu),
        "memoryLimit": pod.memory_gib * 2**30 / 1e9,  # the backend appends "G", not "Gi"
    }
    if isinstance(pod, TrainerPod) and pod.gpu:
        limits["accelerator"] = {"type": pod.gpu_type, "count": str(pod.gpu)}
    return limits


def platform_spec(spec: Spec, cluster: Cluster, volume_users: set[str]) -> Spec:
    """Returns the second document: volumes, secrets and where the pods may run."""
    executors = {}
    for node, task in spec["root"]["dag"]["tasks"].items():
        label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
        pod = pod_of(node, cluster)
        executors[label] = {
            "pvcMount": [
                {"constant": cluster.volume_claim, "mountPath": cluster.mount_path}
                for _ in volume_users & {node}
            ],
            "secretAsEnv": [
                {
                    "secretName": secret.name,
                    "keyToEnv": [{"secretKey": secret.key, "envVar": secret.env}],
                }
                for secret in cluster.secrets
            ],
            "nodeSelector": {"labels": pod.node_selector},
            "tolerations": [
                toleration.model_dump(exclude_unset=True) for toleration in pod.tolerations
            ],
            "imagePullSecret": [{"secretName": name} for name in cluster.image_pull_secrets],
            "activeDeadlineSeconds": str(cluster.timeout_seconds or ""),
        }
        executors[label] = {
            name: value
            for name, value in executors[label].items()
            if value and value != {"labels": {}}
        }
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def write_yaml(documents: Sequence[Spec], path: Path) -> None:
    """Writes the documents as one YAML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all(documents, sort_keys=True))
