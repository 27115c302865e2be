"""The baseline, the pushed model that a candidate is compared with, as an artifact.

TFX finds a baseline with a Resolver, which Kubeflow Pipelines 2.x rejects
(backend/src/v2/compiler/argocompiler/dag.go). This is an ordinary component, so both
runners can run it. Without a pushed model, the artifact stays empty.
"""

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from contract import image_set, records
from serving import baseline, model_registry
from serving.baseline import LATEST, NONE, Candidate

log = logging.getLogger("cifar.baseline_model")

VERSION_PROPERTY = "pushed_version"


class BaselineModelSpec(component_spec.ComponentSpec):
    """Parameters, input and output of BaselineModel."""

    INPUTS = {"schema": component_spec.ChannelParameter(type=standard_artifacts.Schema)}
    PARAMETERS = {
        "model_dir": component_spec.ExecutionParameter(type=str),
        "version": component_spec.ExecutionParameter(type=str),
        "rule": component_spec.ExecutionParameter(type=str),
        "candidate": component_spec.ExecutionParameter(type=str),
    }
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Executor(base_executor.BaseExecutor):
    """Copies the baseline into the artifact, or leaves the artifact empty."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Finds the baseline in `model_dir`.

        Raises:
            FileNotFoundError: The named version does not exist.
        """
        model = artifact_utils.get_single_instance(output_dict["model"])
        schema = artifact_utils.get_single_instance(input_dict["schema"])
        candidate = dataclasses.replace(
            records.from_json(Candidate, exec_properties["candidate"]),
            eval_fingerprint=schema.get_string_custom_property(image_set.EVAL_FINGERPRINT),
        )
        source = find_baseline(
            Path(exec_properties["model_dir"]),
            exec_properties["version"],
            exec_properties["rule"],
            candidate,
        )
        if source is None:
            log.info("No baseline: no model of other data, code or settings has been pushed")
            return
        shutil.copytree(source, path_utils.serving_model_dir(model.uri))
        model.set_string_custom_property(VERSION_PROPERTY, source.name)
        log.info("The baseline is version %s", source.name)


class BaselineModel(base_component.BaseComponent):
    """Emits the best pushed model that was trained differently, or an empty artifact."""

    SPEC_CLASS = BaselineModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model_dir: str,
        version: str,
        rule: str,
        candidate: Candidate,
        schema: types.BaseChannel,
    ) -> None:
        """Makes the node.

        Args:
            model_dir: The folder of the versions, `<serving root>/<model name>`.
            version: A version, `latest` to look when the node runs, or `none`.
            rule: What `latest` means: the best on this eval, or the newest.
            candidate: The model to compare.
            schema: From our CifarExampleGen, with the fingerprint of eval.
        """
        super().__init__(
            spec=BaselineModelSpec(
                model_dir=model_dir,
                version=version,
                rule=rule,
                candidate=records.to_json(candidate),
                schema=schema,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )


def version_of(baseline: types.Artifact) -> str | None:
    """Returns the pushed version in the artifact; None if it is empty."""
    return baseline.get_string_custom_property(VERSION_PROPERTY) or None


def find_baseline(
    model_dir: Path, version: str, rule: str, candidate: Candidate
) -> Path | None:
    """Returns the folder of the baseline version, or None if there is none.

    Raises:
        FileNotFoundError: A version is named, but its folder contains no SavedModel.
        ValueError: A version is named, but its SavedModel is broken.
    """
    if version == NONE:
        return None
    if version == LATEST:
        chosen = baseline.choose(model_dir, candidate, rule)
        return chosen.path if chosen else None
    path = model_dir / version
    if not model_registry.holds_model(path):
        raise FileNotFoundError(
            f"{path} is the baseline but contains no saved_model.pb. Was it deleted during the "
            "run? Run again to choose another baseline."
        )
    fault = model_registry.find_fault(model_registry.read_version(path))
    if fault:
        raise ValueError(
            f"{path} is the baseline but is broken: {fault}. Delete it, or name another with "
            "`--set baseline_version=`; `latest` skips broken versions."
        )
    return path
