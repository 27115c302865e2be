"""`python -m tests.faults`: every trial, one table, and exit code 1 if one of them failed."""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import rich.console
import rich.table

from benchmarks.targets import origin
from tests.faults import trials
from tests.faults.runs import Run, read_result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs at random moments")
    parser.add_argument("--damages", type=int, default=1, help="of 4, to each kind of file")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and damages")
    parser.add_argument("--json", type=Path, help="the file to write for docs/measurements.md")
    parser.add_argument("--only", default="", help="trials whose name holds this word")
    options = parser.parse_args()
    started = time.monotonic()
    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    folder = Path(tempfile.mkdtemp(prefix="cifar-faults-"))
    undisturbed = Run(folder / "undisturbed").wait()
    if undisturbed.code:
        sys.exit(f"The undisturbed run ended with {undisturbed.code}: {undisturbed.error}")
    expected = read_result(undisturbed)
    chance = random.Random(options.seed)
    what = folder, expected
    groups = {
        "SIGKILL at a random moment": trials.kills(*what, options.kills, chance),
        "SIGTERM in each stage": trials.signals(*what, signal.SIGTERM),
        "Ctrl-C in each stage": trials.signals(*what, signal.SIGINT),
        "full disk in each stage": trials.full_disks(*what),
        "damage to each kind of file": trials.damages(*what, options.damages, chance),
    }
    table = rich.table.Table("trial", "times", "failed", "which")
    failed, counted = 0, []
    for title, results in groups.items():
        if options.only not in title:
            continue
        times, names = 0, []
        for name, wrong in results:
            times += 1
            names += [name] if wrong else []
            outcome = f"FAILED\n  {'; '.join(wrong)}" if wrong else "ok"
            line = f"{title}: {name}: {outcome}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        table.add_row(title, str(times), str(len(names)), "\n".join(names))
        counted.append({"trial": title, "times": times, "failed": len(names)})
        failed += len(names)
    console.print(table)
    minutes = (time.monotonic() - started) / 60
    console.print(f"Seed {options.seed}, {minutes:.0f} minutes")
    if options.json:
        options.json.write_text(json.dumps({**origin(), "trials": counted}, indent=2) + "\n")
    if failed:
        console.print(f"What the runs left: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
