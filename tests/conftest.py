"""Tiny data in the real format for all tests; in CI, a skipped test fails."""

import os
import random
from collections.abc import Generator
from pathlib import Path

import pytest

from contract import imports
from data_sources.cifar_format import BATCH_FILES
from tests.finished_runs import output, pushed, refused
from tests.shared_server import models_dir, server

__all__ = ["models_dir", "output", "pushed", "refused", "server"]  # fixtures of several folders

imports.use_onednn()  # as in a run; no module above imports TensorFlow

# One colour per class, none of them grey: red, green, blue from 0 to 240.
CLASS_COLOURS = (
    (240, 20, 20),
    (20, 240, 20),
    (20, 20, 240),
    (240, 240, 20),
    (240, 20, 240),
    (20, 240, 240),
    (240, 130, 20),
    (130, 20, 240),
    (20, 130, 60),
    (120, 60, 20),
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skipped test into a failure if CI=true."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"left out in CI: {report.longrepr}"
    return report


def coloured_record(label: int, noise: random.Random) -> bytes:
    """Returns a record of one class: its colour, and up to 15 more in each value."""
    planes = [
        bytes(level + noise.randrange(16) for _ in range(1024))
        for level in CLASS_COLOURS[label]
    ]
    return bytes([label]) + b"".join(planes)


@pytest.fixture(scope="session")
def cifar_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six batch files of twenty images, two of each class; to be read only."""
    directory = tmp_path_factory.mktemp("cifar")
    noise = random.Random(0)
    for name in BATCH_FILES:
        records = [coloured_record(number % 10, noise) for number in range(20)]
        (directory / name).write_bytes(b"".join(records))
    return directory


@pytest.fixture(scope="session")
def cifar100_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-100's layout with six classes in two groups; to be read only.

    The first record of train has the coarse label 1 and the fine label 2, the next 0 and 1.
    """
    directory = tmp_path_factory.mktemp("cifar100")
    fine = ("apple", "bear", "chair", "dolphin", "elm", "fox")
    (directory / "fine_label_names.txt").write_text("\n".join(fine) + "\n")
    (directory / "coarse_label_names.txt").write_text("animals\nthings\n")
    noise = random.Random(1)
    for name, count in (("train.bin", 120), ("test.bin", 30)):
        labels = [(number * 5 + 2) % 6 for number in range(count)]
        records = [
            bytes([fine[label] in ("apple", "chair", "elm")]) + coloured_record(label, noise)
            for label in labels
        ]
        (directory / name).write_bytes(b"".join(records))
    return directory


def trainings_at(checkpoints: Path, step: int) -> set[Path]:
    """Returns the training folders with a checkpoint of a step that a restart would find.

    TensorFlow writes the checkpoint's own files first, and then its name into this one.
    """
    name = f'"model.ckpt-{step}"'
    return {f.parent for f in checkpoints.glob("*/checkpoint") if name in f.read_text()}
