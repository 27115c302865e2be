"""Every rule of the backend: the compiled pipeline keeps it, and a broken one is named."""

import copy

import pytest

from kubeflow import checks


def _set(path, value):
    """Returns a change to the documents: one value, found by its path."""

    def change(documents):
        *steps, last = path
        place = documents
        for step in steps:
            place = place[step]
        place[last] = value

    return change


def _remove(path):
    def change(documents):
        *steps, last = path
        place = documents
        for step in steps:
            place = place[step]
        del place[last]

    return change


TASKS = (0, "root", "dag", "tasks")
EXECUTORS = (0, "deploymentSpec", "executors")
TRAINER = (*EXECUTORS, "Trainer_executor", "container")
KUBERNETES = (1, "platforms", "kubernetes", "deploymentSpec", "executors")
PVC = (*KUBERNETES, "Trainer_executor", "pvcMount")

BREAKS = {
    "an unknown field": (_set((0, "colour"), "red"), "does not know"),
    "an unknown field of a container": (_set((*TRAINER, "colour"), "red"), "does not know"),
    "schema 2.0.0": (_set((0, "schemaVersion"), "2.0.0"), "schemaVersion is 2.1.0"),
    "a name in capitals": (
        _set((0, "pipelineInfo", "name"), "CIFAR"),
        "the pipeline's name is lower-case",
    ),
    "a root on a disk": (
        _set((0, "defaultPipelineRoot"), "/mnt/artifacts"),
        "the pipeline root begins with minio://",
    ),
    "no tasks": (_set(TASKS, {}), "no tasks"),
    "no such component": (
        _set((*TASKS, "Trainer", "componentRef", "name"), "Other"),
        "Trainer: its component is not defined",
    ),
    "no such executor": (
        _set((0, "components", "Trainer", "executorLabel"), "other"),
        "Trainer: its executor is not defined",
    ),
    "a resolver": (
        _set((*EXECUTORS, "BaselineModel_executor"), {"resolver": {}}),
        "BaselineModel: the backend implements no resolver",
    ),
    "an empty executor": (
        _set((*EXECUTORS, "Trainer_executor"), {"other": {}}),
        "Trainer: its executor is no container",
    ),
    "a driver of an ExampleGen": (
        _set((*EXECUTORS, "CifarExampleGen_executor", "container", "lifecycle"), {}),
        "CifarExampleGen: the backend runs no lifecycle hook",
    ),
    "waiting for nobody": (
        _set((*TASKS, "Transform", "dependentTasks"), ["Other"]),
        "Transform: waits for Other, which is no task",
    ),
    "a circle": (
        _set((*TASKS, "CifarExampleGen", "dependentTasks"), ["Trainer"]),
        "wait for each other in a circle",
    ),
    "an input from nowhere": (
        _remove((*TASKS, "Trainer", "inputs", "artifacts", "schema")),
        "Trainer: its input schema comes from nowhere",
    ),
    "an output that is not made": (
        _set(
            (*TASKS, "Trainer", "inputs", "artifacts", "schema", "taskOutputArtifact"),
            {"producerTask": "Transform", "outputArtifactKey": "other"},
        ),
        "Trainer: its input schema is other of Transform, which has none",
    ),
    "not waiting for an input": (
        _set((*TASKS, "Transform", "dependentTasks"), ["ImportSchemaGen"]),
        "Transform: takes examples from CifarExampleGen and does not wait for it",
    ),
    "an input of another type": (
        _set(
            (*TASKS, "Trainer", "inputs", "artifacts", "schema", "taskOutputArtifact"),
            {"producerTask": "Transform", "outputArtifactKey": "transform_graph"},
        ),
        "Trainer: its input schema has another type",
    ),
    "the backend's own output": (
        _set(
            (0, "components", "Trainer", "outputDefinitions", "artifacts", "executor-logs"),
            {"artifactType": {"schemaTitle": "system.Artifact"}},
        ),
        "Trainer: the output executor-logs is the backend's own",
    ),
    "a parameter without a value": (
        _remove((*TASKS, "Trainer", "inputs", "parameters", "run_fn")),
        "Trainer: its parameter run_fn has no value",
    ),
    "a parameter nobody has": (
        _set((*TASKS, "Trainer", "inputs", "parameters", "other"), {}),
        "Trainer: has no parameter other",
    ),
    "a parameter the pipeline lacks": (
        _remove((0, "root", "inputDefinitions", "parameters", "train_steps")),
        "the pipeline's train_steps, which it does not have",
    ),
    "a parameter of another type": (
        _set(
            (0, "root", "inputDefinitions", "parameters", "train_steps"),
            {"parameterType": "STRING", "defaultValue": "1"},
        ),
        "run_train_steps is a NUMBER_INTEGER, the pipeline's train_steps is not",
    ),
    "a constant of another type": (
        _set(
            (*TASKS, "Trainer", "inputs", "parameters", "run_fn", "runtimeValue"),
            {"constant": 5},
        ),
        "Trainer: run_fn is no STRING",
    ),
    "no default": (
        _remove((0, "root", "inputDefinitions", "parameters", "preset", "defaultValue")),
        "parameter preset has no default",
    ),
    "a default of another type": (
        _set((0, "root", "inputDefinitions", "parameters", "train_steps", "defaultValue"), "x"),
        "the default of the pipeline's parameter train_steps is no NUMBER_INTEGER",
    ),
    "no image": (_set((*TRAINER, "image"), ""), "is no image's name"),
    "a moving image": (_set((*TRAINER, "image"), "cifar:latest"), "no tag or a moving one"),
    "no command": (_set((*TRAINER, "command"), []), "Trainer_executor: has no command"),
    "a wrong variable": (
        _set((*TRAINER, "env"), [{"name": "1 2", "value": ""}]),
        "'1 2' is no environment variable's name",
    ),
    "no memory": (_set((*TRAINER, "resources", "memoryLimit"), 0), "memoryLimit is above 0"),
    "an argument too long": (
        _set(
            (*TASKS, "Trainer", "inputs", "parameters", "run_fn", "runtimeValue"),
            {"constant": "x" * 131_072},
        ),
        "Trainer: an argument has 131,",
    ),
    "a placeholder": (
        _set((*TRAINER, "args"), ["{{$.inputs.parameters['preset']}}"]),
        "holds a placeholder",
    ),
    "a negative retry": (
        _set((*TASKS, "Trainer", "retryPolicy", "maxRetryCount"), -1),
        "maxRetryCount is 0 or more",
    ),
    "a wait in minutes": (
        _set((*TASKS, "Trainer", "retryPolicy", "backoffDuration"), "1m"),
        "backoffDuration is seconds",
    ),
    "a platform for nobody": (
        _set((*KUBERNETES, "other"), {}),
        "the platform configures other, which is no executor",
    ),
    "a claim in capitals": (
        _set(PVC, [{"constant": "Volume", "mountPath": "/mnt"}]),
        "'Volume' is no name of a Kubernetes object",
    ),
    "a relative mount": (
        _set(PVC, [{"constant": "volume", "mountPath": "mnt"}]),
        "'mnt' is no absolute path",
    ),
    "a wrong toleration": (
        _set((*KUBERNETES, "Trainer_executor", "tolerations"), [{"effect": "Sometimes"}]),
        "a toleration has no effect: 'Sometimes'",
    ),
}


def test_the_compiled_pipeline_keeps_every_rule(documents):
    assert checks.find_problems(documents) == []


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_rule_is_named(documents, name):
    change, expected = BREAKS[name]
    broken = copy.deepcopy(documents)
    change(broken)
    with pytest.raises(ValueError, match="Kubeflow Pipelines would not run") as error:
        checks.check(broken)
    assert expected in str(error.value)


def test_a_wrong_image_is_named_once(documents):
    broken = copy.deepcopy(documents)
    for executor in broken[0]["deploymentSpec"]["executors"].values():
        executor["container"]["image"] = "cifar"
    (problem,) = checks.find_problems(broken)
    assert problem.startswith("the image cifar has no tag")


def test_each_rule_is_broken_by_a_test(documents):
    missed = set(checks.RULES)
    for change, _ in BREAKS.values():
        broken = copy.deepcopy(documents)
        change(broken)
        compiled = checks.Compiled(*broken)
        missed -= {rule for rule in checks.RULES if list(rule(compiled))}
    assert not missed
