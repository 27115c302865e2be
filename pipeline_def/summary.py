"""The text at the end of a run."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from contract.files import PAGE_FILE
from contract.progress import duration
from contract.terminal import Command
from contract.training_record import TrainingRecord
from data_sources.cifar_format import CIFAR10
from report import data_change, run_record
from report.run_record import RunRecord
from serving.batch import record as batch_record

MAX_CLASS_LINES = 20


def summary_lines(record: RunRecord) -> list[str]:
    """Returns the results of a run, and the commands to continue with."""
    lines = [
        "",
        *result_lines(record),
        f"Time      {duration(record.seconds)}",
        f"Report    {Path(record.settings.output_dir) / PAGE_FILE}",
    ]
    if record.status == run_record.PUSHED:
        lines += [f"Pushed    {record.pushed_path}", *predicted_lines(record)]
        return [*lines, "", *next_lines(record)]
    reason = record.push_refusal or "earlier versions are unchanged"
    return [*lines, f"Pushed    nothing; {reason}"]


def predicted_lines(record: RunRecord) -> list[str]:
    """Returns how many images the pushed model predicted, and where the predictions are."""
    folder = record.uri("BulkInferrer", "inference_result")
    found = batch_record.read(Path(folder)) if folder else None
    if found is None:
        return []
    failed = (
        f" ({found.failed:,} more have no prediction; failed-*.jsonl say why)"
        if found.failed
        else ""
    )
    return [f"Predicted {found.images:,} images of {found.input}{failed}: {folder}"]


def result_lines(record: RunRecord) -> list[str]:
    """Returns accuracy, gates and training, as far as they are known."""
    lines = []
    if record.accuracy is not None:
        lines += [
            f"Accuracy {record.accuracy:.1%} on {record.eval_examples:,} eval images "
            f"({_top_k_words(record)}cross-entropy {record.cross_entropy:.3f})",
            "",
            *class_lines(record.class_accuracy),
            "",
        ]
    if record.data_change and not record.data_change.is_empty:
        lines.append(f"Data      {data_change.in_words(record.data_change)}")
        if record.data_drift:
            lines.append(f"Drift     {data_change.drift_in_words(record.data_drift)}")
    if record.gate:
        lines.append(f"Gate      {record.gate.verdict}")
    if record.serving_check:
        lines.append(f"Serving   {record.serving_check.verdict}")
    if record.train_steps is not None:
        rate = record.examples_per_second
        lines.append(
            f"Training  {record.train_steps:,} steps"
            + (f", {rate:,.0f} images/s" if rate else "")
            + _start_words(record)
        )
    return lines


def _start_words(record: RunRecord) -> str:
    """Returns which version's weights training started from, if the settings say so."""
    training = record.training or TrainingRecord()
    if training.start_version:
        return f", from the weights of version {training.start_version}"
    if training.start_refusal:
        return f", from random weights: {training.start_refusal}"
    return ""


def class_lines(class_accuracy: Mapping[str, float]) -> list[str]:
    """Returns the accuracy of each class as a bar; of many classes, of the worst ones."""
    shown = list(class_accuracy.items())
    title = []
    if len(shown) > MAX_CLASS_LINES:
        shown = sorted(shown, key=lambda item: item[1])[:MAX_CLASS_LINES]
        title = [f"  The worst {len(shown)} of {len(class_accuracy):,} classes:"]
    width = max([12, *(len(name) for name, _ in shown)])
    return title + [
        f"  {name:<{width}} {accuracy:6.1%}  {'▇' * round(accuracy * 30)}"
        for name, accuracy in shown
    ]


def _top_k_words(record: RunRecord) -> str:
    """Returns how often the right class is among the first few, where that was asked for."""
    found = {3: record.top_3_accuracy, 5: record.top_5_accuracy}
    return "".join(f"top {k}: {value:.1%}, " for k, value in found.items() if value is not None)


def next_lines(record: RunRecord) -> list[str]:
    """Returns the commands to continue with, ready to paste into this terminal."""
    cifar = Path(sys.argv[0])
    if cifar.is_absolute() and cifar.is_relative_to(Path.cwd()):
        cifar = cifar.relative_to(Path.cwd())
    settings = record.settings
    output = shlex.quote(os.path.relpath(settings.output_dir))
    where = "" if output == "output" else f" --output {output}"
    # The images that `--sample` draws are CIFAR-10's.
    is_cifar10 = set(record.class_accuracy) <= set(CIFAR10.class_names)
    images = "--sample 10 --png ten.png" if is_cifar10 else "IMAGE…"
    return [
        Command(f"Next      {cifar} serve{settings.serve_options(where)}"),
        Command(f"          {cifar} predict{settings.model_option} {images}"),
        Command(f"          {cifar} board{where}"),
    ]
