"""Finds the pushed version whose weights a training starts from."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from contract.warm_start import LATEST
from serving import model_registry
from serving.model_registry import PushedVersion


def find(model_dir: Path, version: str) -> PushedVersion | None:
    """Returns a version, or for `latest` the newest whole one; None if there is none.

    Raises:
        FileNotFoundError: There is no version of this number.
        ValueError: It is broken.
    """
    versions = model_registry.pushed_versions(model_dir)
    if version == LATEST:
        return next((v for v in reversed(versions) if not model_registry.find_fault(v)), None)
    found = next((one for one in versions if str(one.number) == version), None)
    if found is None:
        there = ", ".join(str(one.number) for one in versions) or "none"
        raise FileNotFoundError(
            f"warm_start={version}: there is no such version in {model_dir}, only {there}."
        )
    if fault := model_registry.find_fault(found):
        raise ValueError(f"warm_start={version}: {found.path} is broken: {fault}.")
    return found


def check(model_dir: Path, version: str, class_names: Sequence[str]) -> None:
    """Raises an error if a training of these classes cannot start from a version.

    Raises:
        FileNotFoundError, ValueError: As `find` does, or the version has other classes.
    """
    found = find(model_dir, version)
    names = classes_of(found) if found else ()
    if names and list(names) != list(class_names):
        raise ValueError(
            f"warm_start={version}: its classes are {', '.join(names)}, those of the data "
            f"{', '.join(class_names)}. Start from random weights with `--set warm_start=none`."
        )


def classes_of(version: PushedVersion) -> Sequence[str]:
    """Returns the classes of a version, in label order; none if they are unknown."""
    facts = version.provenance.data_facts
    return facts.class_names if facts else ()


def weights_of(version: PushedVersion) -> str:
    """Returns a hash of a version's weights; a copy that a rollback made has the same."""
    checksums = version.provenance.checksums or model_registry.checksums(version.path)
    weights = {name: one for name, one in checksums.items() if name.startswith("variables/")}
    return hashlib.sha256(str(sorted(weights.items())).encode()).hexdigest()[:16]
