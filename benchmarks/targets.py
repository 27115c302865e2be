"""The targets of a benchmark, the measured values, and the verdict."""

import dataclasses
import datetime
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from contract import processor


@dataclasses.dataclass(frozen=True)
class Target:
    """One measured number and its goal."""

    name: str
    measured: float
    wanted: float
    unit: str
    is_minimum: bool = False  # else a maximum

    @property
    def is_met(self) -> bool:
        """Returns whether the measured number reaches the goal."""
        if self.is_minimum:
            return bool(self.measured >= self.wanted)  # JSON cannot write NumPy's bool
        return bool(self.measured <= self.wanted)


def target_line(target: Target) -> str:
    """Returns a target as a row of the table."""
    measured = f"{target.measured:.2f} {target.unit}"
    wanted = f"{'at least' if target.is_minimum else 'at most'} {target.wanted:g} {target.unit}"
    return (
        f"{target.name:<36}{measured:>15}  {wanted:<20}  {'met' if target.is_met else 'MISSED'}"
    )


def conclude(
    report: dict[str, Any],
    targets: list[Target],
    table: Callable[[dict[str, Any], list[Target]], Iterable[str]],
    json_output: bool,
) -> int:
    """Prints a report with its targets, as JSON or with `table`, and returns the exit code.

    Returns:
        0 when every target is met, else 1.
    """
    report |= origin()
    report["targets"] = [
        dataclasses.asdict(target) | {"is_met": target.is_met} for target in targets
    ]
    print(json.dumps(report, indent=2) if json_output else "\n".join(table(report, targets)))
    return 0 if all(target.is_met for target in targets) else 1


def origin() -> dict[str, Any]:
    """Returns when and where something is measured."""
    today = datetime.date.today().isoformat()
    return {"date": today, "cpu": processor.name(), "cores": os.cpu_count()}
