"""The safe push: a version appears in the serving folder complete, by one rename.

A model is not pushed again if it was quarantined or its version was deleted by hand, nor if
another run pushed a better one since the gate compared.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tfx import types
from tfx.components.pusher import executor as stock_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import (
    artifact_utils,
    component_spec,
    standard_artifacts,
    standard_component_specs,
)

from components.baseline_model import version_of
from contract import data_facts, gate_record, image_set
from serving import baseline, model_registry, version_ledger, version_store
from serving.baseline import Candidate
from serving.model_registry import Provenance

log = logging.getLogger("cifar.pusher")

REFUSAL_PROPERTY = "refusal"  # why a blessed model was not pushed


class NotPushedError(Exception):
    """A blessed model must not be pushed; the message says why."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """What the gate compared with.

    Attributes:
        rule: How the baseline was chosen; empty if it was named.
        version: The baseline; None without one.
    """

    model_dir: Path
    rule: str
    version: str | None


class Executor(stock_executor.Executor):
    """Pushes a blessed model and retires the oldest versions."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes to `push_destination.filesystem.base_directory` if every blessing is given.

        Raises:
            OSError: The folder cannot be written; pushed versions stay.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        destination = json_format.Parse(
            exec_properties["push_destination"], pusher_pb2.PushDestination()
        )
        custom_config = json.loads(exec_properties["custom_config"])
        model_dir = Path(destination.filesystem.base_directory)
        candidate = artifact_utils.get_single_instance(input_dict["model"])
        model = Path(self.GetModelPath(input_dict))
        (blessing,) = input_dict["model_blessing"]
        schema = artifact_utils.get_single_instance(input_dict["schema"])
        statistics_dir = artifact_utils.get_single_uri(input_dict["statistics"])
        provenance = Provenance(
            training_fingerprint=custom_config["training_fingerprint"],
            model_artifact_id=candidate.id,
            model_artifact_uri=candidate.uri,
            checksums=model_registry.checksums(model),
            data_fingerprint=custom_config["data_fingerprint"],
            eval_fingerprint=schema.get_string_custom_property(image_set.EVAL_FINGERPRINT),
            accuracy=gate_record.read(blessing.uri).accuracy,
            data_facts=data_facts.read(statistics_dir),
            start_version=custom_config.get("start_version", ""),
            start_weights=custom_config.get("start_weights", ""),
        )
        version_store.remove_abandoned(model_dir)
        gate = Gate(
            model_dir,
            custom_config["baseline_rule"],
            version_of(artifact_utils.get_single_instance(input_dict["baseline_model"])),
        )
        try:
            if banned := version_ledger.find_ban(model_dir, provenance):
                raise NotPushedError(refusal_in_words(model_dir, banned))
            version = version_store.push(
                model, model_dir, provenance, lambda: find_equal(provenance, gate)
            )
        except NotPushedError as refusal:
            self._MarkNotPushed(pushed_model)
            pushed_model.set_string_custom_property(REFUSAL_PROPERTY, str(refusal))
            log.warning("Not pushed: %s", refusal)
            return
        self._MarkPushed(
            pushed_model, pushed_destination=str(version), pushed_version=version.name
        )
        log.info("Pushed version %s to %s", version.name, version)
        try:
            version_store.retire_old_versions(model_dir, custom_config["keep_versions"])
        except OSError as error:
            log.warning(
                "Version %s is pushed, but an old version was not deleted: %s",
                version.name,
                error,
            )


class PusherSpec(standard_component_specs.PusherSpec):
    """The stock specification, plus statistics and schema of the data, and the baseline."""

    INPUTS = {
        **standard_component_specs.PusherSpec.INPUTS,
        "statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics
        ),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class Pusher(base_component.BaseComponent):
    """Pushes the blessed candidate as the next version, atomically."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        push_destination: pusher_pb2.PushDestination,
        custom_config: dict[str, Any],
        **inputs: types.BaseChannel,
    ) -> None:
        """Makes the node.

        Args:
            push_destination: The folder of the versions.
            custom_config: How many to keep, the rule for baselines (empty: it was named), and
                facts about the data for the provenance.
            **inputs: The channels that PusherSpec.INPUTS names.
        """
        super().__init__(
            spec=PusherSpec(
                push_destination=push_destination,
                custom_config=json.dumps(custom_config, sort_keys=True),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
                **inputs,
            )
        )


def find_equal(provenance: Provenance, gate: Gate) -> Path | None:
    """Returns the newest version if it is the same model; else None.

    Raises:
        NotPushedError: Since the gate compared, another run has pushed what would now be the
            baseline.
    """
    if equal := version_store.find_pushed(gate.model_dir, provenance):
        log.info("Version %s is the same model", equal.name)
        return equal
    if not gate.rule:
        return None
    candidate = Candidate(
        provenance.training_fingerprint,
        provenance.data_fingerprint,
        provenance.eval_fingerprint,
    )
    now = baseline.choose(gate.model_dir, candidate, gate.rule)
    if now and str(now.number) != gate.version:
        raise NotPushedError(
            f"the gate compared with {gate.version or 'no version'}, but version {now.number} "
            "has been pushed meanwhile; run again, and only the comparison is repeated"
        )
    return None


def refusal_in_words(model_dir: Path, version: int) -> str:
    """Returns why a model is not pushed again, and how to allow it."""
    record = version_ledger.read(model_dir).versions[version]
    why = record.quarantined and f"is in quarantine ({record.quarantined})"
    return (
        f"the same model is version {version}, which "
        f"{why or 'was deleted by hand'}; `cifar rollback --release {version}` allows it again"
    )
