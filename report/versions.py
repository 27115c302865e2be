"""Every version of a serving folder with the run it is from, as `cifar versions` lists them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from report.run_record import RunRecord
from serving import version_ledger


@dataclasses.dataclass(frozen=True)
class VersionSummary:
    """What fits on a line of a version.

    Attributes:
        state: served, kept, retired, quarantined or deleted.
        run_id: The run that pushed it, if it is one of the output folder's.
        data: The first of its fingerprint; empty if nobody wrote it down.
        note: Why it is in quarantine, or what it was restored from.
    """

    version: int
    state: str
    is_pinned: bool
    accuracy: float | None
    run_id: str | None
    data: str
    note: str


def summarize(model_dir: Path, records: Sequence[RunRecord]) -> list[VersionSummary]:
    """Returns every version there ever was, oldest first.

    Args:
        model_dir: The folder of the versions.
        records: The runs of the output folder, oldest first.
    """
    runs: dict[str, RunRecord] = {}
    for record in records:
        if record.pushed_path and Path(record.pushed_path).parent == model_dir:
            runs.setdefault(record.pushed_version or "", record)
    return [_summary(version, runs) for version in version_ledger.list_versions(model_dir)]


def _summary(version: version_ledger.Version, runs: dict[str, RunRecord]) -> VersionSummary:
    provenance = version.record.provenance
    original = provenance.restored_from or version.number
    run = runs.get(str(version.number)) or runs.get(str(original))
    restored = provenance.restored_from and f"model of {provenance.restored_from}"
    accuracy = provenance.accuracy
    return VersionSummary(
        version=version.number,
        state=version.state,
        is_pinned=version.record.is_pinned,
        accuracy=accuracy if accuracy is not None or run is None else run.accuracy,
        run_id=run.run_id if run else None,
        data=provenance.data_fingerprint[:12],
        note=version.record.quarantined or restored or "",
    )


def as_lines(versions: Sequence[VersionSummary]) -> list[str]:
    """Returns a line for each version, under a head."""
    head = f"{'version':<12} {'state':<12} {'accuracy':>8}  {'run':<20} {'data':<13}"
    return [head.rstrip(), *map(_line, versions)]


def _line(version: VersionSummary) -> str:
    accuracy = "–" if version.accuracy is None else f"{version.accuracy:.1%}"
    note = ", ".join(filter(None, ("pinned" * version.is_pinned, version.note)))
    return (
        f"{version.version:<12} {version.state:<12} {accuracy:>8}  "
        f"{version.run_id or '–':<20} {version.data or '–':<13} {note}"
    ).rstrip()
