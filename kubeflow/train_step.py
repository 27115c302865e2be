"""The Trainer's executor where several pods train: it makes a TFJob and follows it.

The launcher copies inputs and outputs only to and from this pod. So this step puts the inputs
on the shared volume, in the checkpoint folder, and fetches the outputs from there. An attempt
that finds the job of an earlier one running, because that was killed, follows it.
"""

import copy
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfx.components.trainer import executor
from tfx.utils import json_utils

from components import trainer
from kubeflow.tfjobs import DIGEST, TFJobs, run
from kubeflow.training_job import Spec, check_batch_size

Artifacts = dict[str, list[Any]]


class Executor(executor.GenericExecutor):
    """Trains in the pods of a TFJob. Its context has one flag: the TFJob, as JSON."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Trains, and copies the outputs of the job's chief to this node's.

        Raises:
            ConnectionError: Kubernetes does not answer.
            RuntimeError: The job failed.
            ValueError: The replicas cannot share a batch.
        """
        (text,) = self._context.extra_flags
        job = json.loads(text)
        fn_args = self._GetFnArgs(input_dict, output_dict, exec_properties)
        config = trainer.with_found_values(fn_args.custom_config, fn_args.hyperparameters)
        check_batch_size(config["hyper_parameters"].get("batch_size"), job)
        shared = SharedFolder(Path(config["checkpoint_dir"]) / "tfjob")
        complete(job, config, shared.execution_file)
        jobs = TFJobs()
        run(jobs, job, lambda: shared.write(input_dict, output_dict, exec_properties))
        shared.fetch(output_dict)
        jobs.delete(job["metadata"]["name"])
        shared.remove()


class SharedFolder:
    """The job's inputs and outputs on the volume."""

    def __init__(self, folder: Path) -> None:
        """Takes a folder of its own in the checkpoint folder."""
        self._folder = folder
        self.execution_file = folder / "execution.json"

    def write(self, inputs: Artifacts, outputs: Artifacts, parameters: dict[str, Any]) -> None:
        """Copies the inputs, and writes what a replica executes."""
        self.remove()
        inputs, outputs = copy.deepcopy((inputs, outputs))
        for name, index, artifact in _each(inputs):
            place = self._place_of(name, index)
            shutil.copytree(artifact.uri, place)
            artifact.uri = str(place)
        for name, index, artifact in _each(outputs):
            place = self._place_of(name, index)
            place.mkdir(parents=True)
            artifact.uri = str(place)
        self.execution_file.write_text(json_utils.dumps([inputs, outputs, parameters]))

    def fetch(self, outputs: Artifacts) -> None:
        """Copies the outputs to this pod, from which the launcher takes them."""
        for name, index, artifact in _each(outputs):
            shutil.copytree(self._place_of(name, index), artifact.uri, dirs_exist_ok=True)

    def remove(self) -> None:
        """Deletes the folder."""
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _place_of(self, name: str, index: int) -> Path:
        return self._folder / name / str(index)


def _each(artifacts: Artifacts) -> Iterator[tuple[str, int, Any]]:
    for name, found in artifacts.items():
        for index, artifact in enumerate(found):
            yield name, index, artifact


def complete(job: Spec, config: dict[str, Any], execution_file: Path) -> None:
    """Gives a job its name, which follows from the checkpoint folder, and its argument."""
    for replica in job["spec"]["tfReplicaSpecs"].values():
        replica["template"]["spec"]["containers"][0]["args"] = [str(execution_file)]
    job["metadata"]["name"] = f"cifar10-{_digest(config['checkpoint_dir'])}"
    job["metadata"]["annotations"] = {DIGEST: _digest([job["spec"], config])}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
