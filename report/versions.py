"""Every version of a serving folder with the run that pushed it, for `cifar versions`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from contract import terminal
from contract.terminal import Column
from report.run_record import RunRecord
from serving import version_ledger

COLUMNS = (
    Column("version"),
    Column("state"),
    Column("accuracy", is_number=True),
    Column("run"),
    Column("data", rank=1),
)


@dataclasses.dataclass(frozen=True)
class VersionSummary:
    """The facts about a version that fit on one line.

    Attributes:
        state: served, kept, retired, quarantined or deleted.
        run_id: The run that pushed it, if its record is in the output folder.
        data: The start of its fingerprint; empty if unknown.
        note: Why it is in quarantine, or from which version it was restored.
    """

    version: int
    state: str
    is_pinned: bool
    accuracy: float | None
    run_id: str | None
    data: str
    note: str


def summarize(model_dir: Path, records: Sequence[RunRecord]) -> list[VersionSummary]:
    """Returns every version that was ever pushed, oldest first.

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


def as_lines(versions: Sequence[VersionSummary], width: int | None = None) -> list[str]:
    """Returns a line for each version, below a header.

    Args:
        versions: What `summarize` returns.
        width: Of the terminal; None: no limit. A note that does not fit gets its own line.
    """
    header, *lines = terminal.table_lines(COLUMNS, list(map(_cells, versions)), width)
    notes = [", ".join(filter(None, ("pinned" * v.is_pinned, v.note))) for v in versions]
    return [
        header,
        *(
            terminal.wrap(f"{line}  {note}".rstrip(), width, indent=4)
            for line, note in zip(lines, notes, strict=True)
        ),
    ]


def _cells(version: VersionSummary) -> tuple[str, ...]:
    return (
        str(version.version),
        version.state,
        "–" if version.accuracy is None else f"{version.accuracy:.1%}",
        version.run_id or "–",
        version.data or "–",
    )
