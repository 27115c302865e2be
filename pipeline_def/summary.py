"""What a person reads at the end of a run."""

import os
import shlex
import sys
from pathlib import Path

from contract.files import PAGE_FILE
from contract.progress import duration
from report import run_record
from report.run_record import RunRecord


def summary_lines(record: RunRecord) -> list[str]:
    """Returns what came of a run, and the commands to go on with."""
    lines = [
        "",
        *result_lines(record),
        f"Time      {duration(record.seconds)}",
        f"Report    {Path(record.settings.output_dir) / PAGE_FILE}",
    ]
    if record.status == run_record.PUSHED:
        return [*lines, f"Pushed    {record.pushed_path}", "", *next_lines(record)]
    reason = record.push_refusal or "what was pushed before is untouched"
    return [*lines, f"Pushed    nothing; {reason}"]


def result_lines(record: RunRecord) -> list[str]:
    """Returns how good the model is, and what gates and training came to, as far as known."""
    lines = []
    if record.accuracy is not None:
        lines += [
            f"Accuracy {record.accuracy:.1%} on {record.eval_examples:,} eval images "
            f"(top 3: {record.top_3_accuracy:.1%}, cross-entropy {record.cross_entropy:.3f})",
            "",
        ]
        for name, accuracy in record.class_accuracy.items():
            lines.append(f"  {name:<12} {accuracy:6.1%}  {'▇' * round(accuracy * 30)}")
        lines.append("")
    if record.gate:
        lines.append(f"Gate      {record.gate.verdict}")
    if record.serving_check:
        lines.append(f"Serving   {record.serving_check.verdict}")
    if record.train_steps is not None:
        rate = record.examples_per_second
        lines.append(
            f"Training  {record.train_steps:,} steps"
            + (f", {rate:,.0f} images/s" if rate else "")
        )
    return lines


def next_lines(record: RunRecord) -> list[str]:
    """Returns the commands to go on with, as they can be pasted into this terminal."""
    cifar = Path(sys.argv[0])
    if cifar.is_absolute() and cifar.is_relative_to(Path.cwd()):
        cifar = cifar.relative_to(Path.cwd())
    output = shlex.quote(os.path.relpath(record.settings.output_dir))
    where = "" if output == "output" else f" --output {output}"
    return [
        f"Next      {cifar} serve{where}",
        f"          {cifar} predict --sample 10 --png ten.png",
        f"          {cifar} board{where}",
    ]
