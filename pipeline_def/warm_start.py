"""Chooses the weights that a run's training starts from, when the run starts."""

import dataclasses
from pathlib import Path

from contract.warm_start import LATEST, NONE, WarmStart
from pipeline_def import identity
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig
from serving import warm_start


def resolve(config: PipelineConfig, batches: Batches) -> Batches:
    """Returns the batches with the start of their training.

    For `latest`, this is the newest version. If that is from an equal run, it is what that one
    started from, so that a repeated run is all cache.

    Raises:
        FileNotFoundError, ValueError: The named version does not exist or is broken.
    """
    if config.warm_start == NONE:
        return batches
    model_dir = identity.serving_model_dir(config)
    found = warm_start.find(model_dir, config.warm_start)
    if found is None:
        return dataclasses.replace(batches, start=_start(config, model_dir, NONE))
    before = found.provenance.start_version  # empty if it was not to start warm
    if config.warm_start == LATEST and before:
        origin = _start(config, model_dir, before, found.provenance.start_weights)
        repeated = dataclasses.replace(batches, start=origin)
        is_equal = (
            identity.training_fingerprint(config, repeated)
            == found.provenance.training_fingerprint
        )
        if is_equal and (before == NONE or (model_dir / before).is_dir()):
            return repeated
    weights = warm_start.weights_of(found)
    return dataclasses.replace(
        batches, start=_start(config, model_dir, str(found.number), weights)
    )


def _start(
    config: PipelineConfig, model_dir: Path, version: str, weights: str = ""
) -> WarmStart:
    return dataclasses.replace(
        identity.unresolved_start(config, model_dir), version=version, weights=weights
    )
