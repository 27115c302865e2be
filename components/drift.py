"""Compares what a server logged with the data that the served version was trained on.

The images have the same facts counted as in StatisticsGen, and the distances and limits are
those of the data gate. The predicted classes are compared with the labels.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from components import data_gate, image_facts
from components.data_gate import MIN_IMAGES, DataLimits, Side
from contract import features, signatures
from contract.data_facts import SplitFacts
from contract.drift_record import DriftRecord, LogCounts
from serving import model_registry, request_logs
from serving.model_registry import PushedVersion
from serving.request_logs import Reader, Served, UnusableLogsError

COUNT_AT_ONCE = 1_000  # images


def examine(
    logs: Sequence[str], model_dir: Path, limits: DataLimits, version: int | None = None
) -> DriftRecord:
    """Returns how far logged requests are from the data of the version that answered.

    Args:
        logs: Folders, files or patterns.
        model_dir: The folder of the versions; its name is the model's.
        limits: The largest distances allowed.
        version: The version; by default the one that is served.

    Raises:
        UnusableLogsError: There are no logs, or too few requests that the version answered.
        FileNotFoundError: There is no such version.
        ValueError: The version does not say what it was trained on.
    """
    found = find_version(model_dir, version)
    train, class_names = train_facts(found)
    files = request_logs.find(logs)
    reader = Reader(Served(model_dir.name, found.number, class_names, image_size(found.path)))
    served = count(reader, files)
    comparison = data_gate.compare(
        "served",
        Side("requests", served),
        Side(f"train of version {found.number}", train),
        class_names,
        limits,
    )
    if not comparison:
        raise UnusableLogsError(too_few(reader.counts(), found.number))
    return DriftRecord(
        model=model_dir.name,
        version=found.number,
        logs=[*logs],
        counts=dataclasses.replace(reader.counts(), constant=served.constant),
        comparison=comparison[0],
        drifted=[one.feature for one in comparison[0].distances if one.is_above],
    )


def find_version(model_dir: Path, number: int | None) -> PushedVersion:
    """Returns a version that is there; by default the served one, which is the newest.

    Raises:
        FileNotFoundError: There is none.
    """
    versions = model_registry.pushed_versions(model_dir)
    wanted = [one for one in versions if number in (None, one.number)]
    if not wanted:
        there = ", ".join(str(one.number) for one in versions) or "none"
        raise FileNotFoundError(
            f"{model_dir} does not contain version {number or '(any)'}; versions there: "
            f"{there}. `cifar run` pushes one."
        )
    return wanted[-1]


def train_facts(version: PushedVersion) -> tuple[SplitFacts, Sequence[str]]:
    """Returns the facts about the images a version was trained on, and its classes.

    Raises:
        ValueError: The version does not have them.
    """
    facts = version.provenance.data_facts
    if facts is None or features.TRAIN_SPLIT not in facts.splits:
        raise ValueError(
            f"Version {version.number} does not say what it was trained on: "
            f"{version.path / model_registry.PROVENANCE_FILE} has no data_facts. `cifar run` "
            "pushes one that has."
        )
    return facts.splits[features.TRAIN_SPLIT], facts.class_names


def image_size(model: Path) -> int:
    """Returns the height and width of the images that a SavedModel takes."""
    content = (model / model_registry.MODEL_FILE).read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
    size: int = graph.signature_def[signatures.PIXELS].inputs["images"].tensor_shape.dim[1].size
    return size


def count(reader: Reader, files: Sequence[str]) -> SplitFacts:
    """Returns the facts about the images of requests; their labels are the predictions.

    Duplicates are not counted, so that logs of any size need the same memory.
    """
    counter = image_facts.Counter(counts_duplicates=False)
    images: list[bytes] = []
    classes: list[np.ndarray] = []
    for request in reader.read(files):
        images += request.images
        classes.append(request.classes)
        if max(len(images), len(classes)) >= COUNT_AT_ONCE:
            counter.add(images, np.concatenate(classes))
            images, classes = [], []
    if classes:
        counter.add(images, np.concatenate(classes))
    return counter.facts()


def too_few(counts: LogCounts, version: int) -> str:
    """Returns why logs cannot be compared."""
    images = counts.images - counts.bad_images
    return (
        f"The logs have {images:,} images and {counts.predictions:,} predictions of version "
        f"{version}; {MIN_IMAGES} are needed, since fewer differ by chance. "
        f"{in_words(counts)}."
    )


def in_words(counts: LogCounts) -> str:
    """Returns what was in the logs, on one line."""
    words = f"Files: {counts.files:,}, requests: {counts.requests:,}"
    for name, number in (
        ("to other models or versions", counts.of_others),
        ("unreadable records", counts.unreadable),
        ("incomplete files", len(counts.incomplete)),
        ("images that cannot be decoded", counts.bad_images),
    ):
        words += f", {name}: {number:,}" * bool(number)
    return words
