"""Which pushed version a candidate is compared with."""

import dataclasses
import logging
from pathlib import Path
from typing import Final

from serving import model_registry, version_ledger
from serving.model_registry import Provenance, PushedVersion

log = logging.getLogger("cifar.baseline_model")

BEST: Final = "best"  # of those judged on this eval: small steps down cannot add up
NEWEST: Final = "newest"
RULES = (BEST, NEWEST)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What is known of a candidate before it is trained; empty where nobody looked.

    Attributes:
        training_fingerprint: A model is never its own baseline, so that the second run of an
            equal training compares with what the first compared with, and finds its evaluation
            in the cache.
        data_fingerprint: Of all its batches.
        eval_fingerprint: Of those that it is judged on.
    """

    training_fingerprint: str
    data_fingerprint: str = ""
    eval_fingerprint: str = ""


def choose(model_dir: Path, candidate: Candidate, rule: str = BEST) -> PushedVersion | None:
    """Returns the version to compare a candidate with; None where there is none.

    With `best` it is the most accurate on the candidate's eval; where none was judged on it,
    and with `newest`, the newest. Versions in quarantine are never taken, nor broken ones,
    which a warning names.
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


def accuracy_on(candidate: Candidate, provenance: Provenance) -> float:
    """Returns a version's accuracy on the candidate's eval; -1 if nobody measured it."""
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
