"""Chooses the pushed version to compare a candidate with."""

import dataclasses
import logging
from pathlib import Path
from typing import Final

from serving import model_registry, version_ledger
from serving.model_registry import Provenance, PushedVersion

log = logging.getLogger("cifar.baseline_model")

BEST: Final = "best"  # of those judged on this eval, so that small drops cannot add up
NEWEST: Final = "newest"
LATEST: Final = "latest"  # look when the node runs
NONE: Final = "none"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What is known about a candidate before its training; empty fields are unknown.

    Attributes:
        training_fingerprint: Excludes the candidate's own model as its baseline. So a second
            run of the same training has the same baseline as the first, and its evaluation
            comes from the cache.
        data_fingerprint: Identifies all its batches.
        eval_fingerprint: Identifies the batches it is judged on.
    """

    training_fingerprint: str
    data_fingerprint: str = ""
    eval_fingerprint: str = ""


def choose(model_dir: Path, candidate: Candidate, rule: str = BEST) -> PushedVersion | None:
    """Returns the version to compare a candidate with; None if there is none.

    `best` chooses the most accurate on the candidate's eval, or the newest if none was judged
    on it; `newest` chooses the newest. Versions in quarantine are skipped, and so are broken
    ones, with a warning.
    """
    others = [
        version
        for version in reversed(model_registry.pushed_versions(model_dir))
        if version.provenance.training_fingerprint != candidate.training_fingerprint
        and version_ledger.find_ban(model_dir, version.provenance) is None
    ]
    if rule == BEST:
        # Sorting keeps the order of equals, the newest first.
        others.sort(key=lambda version: -accuracy_on(candidate, version.provenance))
    return next(filter(_is_whole, others), None)


def find_reference(
    model_dir: Path, version: str = LATEST, data_fingerprint: str = ""
) -> PushedVersion | None:
    """Returns the version whose data to compare with; None if there is none.

    Args:
        model_dir: The folder of the versions.
        version: Its number, `none`, or `latest`: the newest with known data.
        data_fingerprint: Identifies the data to compare, which are not their own reference.
    """
    for one in reversed(model_registry.pushed_versions(model_dir)):
        is_other = one.provenance.data_fingerprint != data_fingerprint
        if version in (LATEST, str(one.number)) and is_other and one.provenance.data_facts:
            return one
    return None


def accuracy_on(candidate: Candidate, provenance: Provenance) -> float:
    """Returns a version's accuracy on the candidate's eval; -1 if it was not measured."""
    is_same_eval = (
        bool(candidate.eval_fingerprint)
        and candidate.eval_fingerprint == provenance.eval_fingerprint
    ) or (
        bool(candidate.data_fingerprint)
        and candidate.data_fingerprint == provenance.data_fingerprint
    )
    if not is_same_eval or provenance.accuracy is None:
        return -1.0
    return provenance.accuracy


def _is_whole(version: PushedVersion) -> bool:
    fault = model_registry.find_fault(version)
    if fault:
        log.warning(
            "The pushed version %s is broken and cannot be a baseline: %s. Delete its folder, "
            "so that no server loads it.",
            version.path,
            fault,
        )
    return fault is None
