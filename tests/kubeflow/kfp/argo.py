"""The parts of Argo's controller that Kubeflow Pipelines needs: DAGs, templates, pods."""

import asyncio
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from tests.kubeflow.kfp.pod import Node, Pod
from tests.kubeflow.kfp.workflow import patch_pod

PLACEHOLDER = re.compile(r"\{\{((?:inputs|outputs|tasks|workflow)\.[^{}]+)\}\}")

Scope = dict[str, str]  # values of placeholders
Path = tuple[str, ...]  # the names of the tasks from the entrypoint down


class PodFailedError(Exception):
    """A pod's exit code was not 0, so the run fails."""

    def __init__(self, path: Path, pod: Pod) -> None:
        super().__init__(f"{'/'.join(path)} failed:\n{pod.log[-3000:]}")
        self.pod = pod


@dataclasses.dataclass
class Run:
    """One Workflow on one node.

    Attributes:
        pods: The pods that ran, with the last attempt of each.
        skipped: Tasks whose `when` was false, such as steps that came from the cache.
        succeeded: Output parameters of pods that need not run again.
    """

    workflow: dict[str, Any]
    node: Node
    pods: dict[Path, Pod] = dataclasses.field(default_factory=dict)
    skipped: set[Path] = dataclasses.field(default_factory=set)
    succeeded: dict[Path, Scope] = dataclasses.field(default_factory=dict)

    def go(self) -> None:
        """Runs what has not succeeded yet; a second call acts like Retry in the UI.

        Raises:
            PodFailedError: A pod failed; everything that does not depend on it has run.
        """
        asyncio.run(self._template(self.workflow["spec"]["entrypoint"], {}, ()))

    async def _template(self, name: str, arguments: Scope, path: Path) -> Scope:
        """Returns the output parameters of a template run with these arguments."""
        (template,) = (t for t in self.workflow["spec"]["templates"] if t["name"] == name)
        scope = {
            f"workflow.annotations.{key}": value
            for key, value in self.workflow["metadata"]["annotations"].items()
        }
        for parameter in template["inputs"].get("parameters", []):
            key = parameter["name"]
            scope[f"inputs.parameters.{key}"] = arguments.get(key, parameter.get("default", ""))
        if "dag" in template:
            await self._dag(template["dag"]["tasks"], scope, path)
            return {}
        if path not in self.succeeded:
            self.succeeded[path] = await self._pod(template, scope, path)
        return self.succeeded[path]

    async def _dag(self, tasks: list[dict[str, Any]], scope: Scope, path: Path) -> None:
        """Runs each task once those it depends on have succeeded."""
        running: dict[str, asyncio.Task[None]] = {}
        scope = dict(scope)  # grows with the outputs of the tasks

        async def run(task: dict[str, Any]) -> None:
            for needed in re.findall(r"([\w-]+)\.Succeeded", task.get("depends", "")):
                await running[needed]
            if "when" in task and not holds(fill(task["when"], scope)):
                self.skipped.add((*path, task["name"]))
                return
            arguments = {
                parameter["name"]: fill(parameter["value"], scope)
                for parameter in task["arguments"].get("parameters", [])
            }
            outputs = await self._template(task["template"], arguments, (*path, task["name"]))
            for name, value in outputs.items():
                scope[f"tasks.{task['name']}.outputs.parameters.{name}"] = value

        for task in tasks:
            running[task["name"]] = asyncio.create_task(run(task))
        results = await asyncio.gather(*running.values(), return_exceptions=True)
        for failure in filter(None, results):
            raise failure

    async def _pod(self, template: dict[str, Any], scope: Scope, path: Path) -> Scope:
        """Returns the output parameters of a template's pod, read from its files."""
        outputs = template["outputs"].get("parameters", [])
        for output in outputs:
            scope[f"outputs.parameters.{output['name']}.path"] = output["valueFrom"]["path"]
        spec = fill(
            {
                "containers": [{**template["container"], "name": "main"}],
                "initContainers": template.get("initContainers", []),
                "volumes": template.get("volumes", []),
            },
            scope,
        )
        if patch := fill(template.get("podSpecPatch", ""), scope):
            spec = patch_pod(spec, patch)
        pod = self.pods[path] = await asyncio.to_thread(self.node.run, "-".join(path), spec)
        if pod.exit_code:
            raise PodFailedError(path, pod)
        return {output["name"]: read_output(output, pod) for output in outputs}


def read_output(output: Mapping[str, Any], pod: Pod) -> str:
    """Returns the value of an output parameter a pod wrote, or its default."""
    file = pod.directory / output["valueFrom"]["path"].lstrip("/")
    default: str = output["valueFrom"].get("default", "")
    return file.read_text() if file.is_file() else default


def fill(tree: Any, scope: Mapping[str, str]) -> Any:
    """Returns a template with its placeholders filled; unknown ones stay, as Argo does."""
    if isinstance(tree, str):
        return PLACEHOLDER.sub(lambda match: scope.get(match[1], match[0]), tree)
    if isinstance(tree, list):
        return [fill(each, scope) for each in tree]
    if isinstance(tree, dict):
        return {key: fill(value, scope) for key, value in tree.items()}
    return tree


def holds(condition: str) -> bool:
    """Returns whether a filled `when`, such as `true != false`, is true."""
    left, operator, right = condition.split()
    return {"!=": left != right, "==": left == right}[operator]
