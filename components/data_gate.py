"""The data gate: checks of images and distributions that a schema cannot express.

Distances are TFDV's: L-infinity for labels, the Jensen-Shannon divergence for everything else,
between train and eval (skew) and between train and the last pushed model's train (drift).
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from contract import features
from contract.data_facts import EDGES, IMAGE_FACTS, DataFacts, SplitFacts
from contract.data_gate_record import (
    JENSEN_SHANNON,
    L_INFINITY,
    Comparison,
    DataGateRecord,
    Distance,
)

MIN_IMAGES = 100  # fewer may differ by chance


@dataclasses.dataclass(frozen=True)
class DataLimits:
    """The limits for data, as fractions; 1 allows anything.

    Attributes:
        max_label_distance: The largest difference in a label's share.
        max_image_distance: The largest distance of each of IMAGE_FACTS.
        max_constant_images: Images of a single colour in a split.
        max_duplicate_images: Copies of earlier images in a split.
        max_leaked_images: Images of eval that are also in train.
        max_shrinkage: How much smaller a split may be than the last pushed model's.
    """

    max_label_distance: float
    max_image_distance: float
    max_constant_images: float
    max_duplicate_images: float
    max_leaked_images: float
    max_shrinkage: float


def examine(
    facts: DataFacts,
    limits: DataLimits,
    reference: DataFacts | None = None,
    reference_version: str = "",
) -> DataGateRecord:
    """Returns the distances, and one line for each fault with its feature, value and limit.

    Args:
        facts: The facts about the data.
        limits: Their limits.
        reference: The facts about the last pushed model's data; None without any. Data with
            other classes are not compared.
        reference_version: The version of that model.
    """
    train = facts.splits.get(features.TRAIN_SPLIT)
    evaluation = facts.splits.get(features.EVAL_SPLIT)
    names = facts.class_names
    comparisons, faults = [], []
    for name, split in facts.splits.items():
        faults += _of_split(name, split, limits)
    if evaluation:
        faults += _above(
            "images of eval are in train, too",
            facts.leaked,
            evaluation.examples,
            "max_leaked_images",
            limits.max_leaked_images,
        )
    if train and evaluation:
        sides = (Side("train", train), Side("eval", evaluation))
        comparisons += compare("skew", *sides, names, limits)
    if reference and list(reference.class_names) in ([], list(names)):
        faults += _shrunk(facts, reference, limits.max_shrinkage)
        before = reference.splits.get(features.TRAIN_SPLIT)
        if train and before:
            which = f"version {reference_version}" if reference_version else "the last pushed"
            sides = (Side("train", train), Side(f"train of {which}", before))
            comparisons += compare("drift", *sides, names, limits)
    for comparison in comparisons:
        faults += in_words(comparison)
    return DataGateRecord(comparisons, faults)


def _of_split(name: str, split: SplitFacts, limits: DataLimits) -> list[str]:
    return [
        *_above(
            f"images of {name} are of a single colour",
            split.constant,
            split.examples,
            "max_constant_images",
            limits.max_constant_images,
        ),
        *_above(
            f"images of {name} are copies of others",
            split.duplicates,
            split.examples,
            "max_duplicate_images",
            limits.max_duplicate_images,
        ),
    ]


def _above(what: str, count: int, total: int, setting: str, limit: float) -> list[str]:
    """Returns a line if a count exceeds its limit as a fraction of the total."""
    if count <= limit * total:
        return []
    return [f"{count:,} of {total:,} {what} ({count / total:.2%}; {setting} is {limit:.2%})"]


def _shrunk(facts: DataFacts, reference: DataFacts, limit: float) -> Iterable[str]:
    for name, before in reference.splits.items():
        now = facts.splits[name].examples if name in facts.splits else 0
        if now < (1 - limit) * before.examples:
            yield (
                f"{name} has {now:,} images, the last pushed model's had {before.examples:,} "
                f"({1 - now / before.examples:.2%} fewer; max_shrinkage is {limit:.2%})"
            )


@dataclasses.dataclass(frozen=True)
class Side:
    """Images to compare, and what they are called."""

    name: str
    facts: SplitFacts


def compare(
    kind: Literal["skew", "drift", "served"],
    current: Side,
    other: Side,
    class_names: Sequence[str],
    limits: DataLimits,
) -> list[Comparison]:
    """Returns the comparison of two sets of images; none if it would be empty.

    A feature is compared if both sides have it for MIN_IMAGES images or more.
    """
    names = comparable(current.facts) & comparable(other.facts)
    if not names:
        return []
    found = tfdv.validate_statistics(
        as_statistics(current.facts, class_names),
        _schema(names, limits),
        previous_statistics=as_statistics(other.facts, class_names),
    )
    distances = []
    for info in found.drift_skew_info:
        (feature,) = info.path.step
        (measured,) = info.drift_measurements
        is_label = feature == features.LABEL
        counts = [counts_of(side.facts)[feature] for side in (current, other)]
        shares = _shares(counts, len(class_names) if is_label else 0)
        distances.append(
            Distance(
                feature,
                L_INFINITY if is_label else JENSEN_SHANNON,
                measured.value,
                limits.max_label_distance if is_label else limits.max_image_distance,
                "max_label_distance" if is_label else "max_image_distance",
                names=_names(class_names, len(shares[0])) if is_label else (),
                edges=() if is_label else EDGES,
                current=shares[0],
                other=shares[1],
            )
        )
    order = (features.LABEL, *IMAGE_FACTS)
    distances.sort(key=lambda distance: order.index(distance.feature))
    images = (current.facts.examples, other.facts.examples)
    return [Comparison(kind, current.name, other.name, *images, distances)]


def in_words(comparison: Comparison) -> list[str]:
    """Returns a line for each distance that exceeds its limit."""
    what = f"{comparison.kind}: {comparison.current} against {comparison.other}"
    return [
        f"{what}: {one.feature}: the distance ({one.measure}) is {one.value:.3f}, at most "
        f"{one.limit:.3f} is allowed ({one.setting}){_most_different(one)}"
        for one in comparison.distances
        if one.is_above
    ]


def _most_different(distance: Distance) -> str:
    """Returns the class whose share differs most."""
    if not distance.names:
        return ""
    shares = zip(distance.names, distance.current, distance.other, strict=True)
    name, current, other = max(shares, key=lambda share: abs(share[1] - share[2]))
    return f"; {name} differs most, {current:.1%} against {other:.1%}"


def counts_of(facts: SplitFacts) -> dict[str, Sequence[int]]:
    """Returns the number of images in each class and in each bin, by feature."""
    return {features.LABEL: facts.labels, **facts.histograms}


def _shares(counts: Sequence[Sequence[int]], length: int) -> list[list[float]]:
    """Returns the share of images in each class or bin, at least `length` of them, alike."""
    length = max(length, *map(len, counts))
    padded = [[*each, *[0] * (length - len(each))] for each in counts]
    return [[round(count / sum(each), 6) for count in each] for each in padded]


def _names(class_names: Sequence[str], count: int) -> list[str]:
    """Returns the names of labels; a label without a name keeps its number."""
    return [*class_names, *map(str, range(len(class_names), count))]


def comparable(facts: SplitFacts) -> set[str]:
    """Returns the features that are known of enough images."""
    return {name for name, counts in counts_of(facts).items() if sum(counts) >= MIN_IMAGES}


def _schema(names: Iterable[str], limits: DataLimits) -> schema_pb2.Schema:
    """Returns a schema with only the limits of the distances."""
    schema = schema_pb2.Schema()
    for name in sorted(names):
        if name == features.LABEL:
            label = schema.feature.add(name=name, type=schema_pb2.BYTES)
            label.drift_comparator.infinity_norm.threshold = limits.max_label_distance
            continue
        fact = schema.feature.add(name=name, type=schema_pb2.FLOAT)
        comparator = fact.drift_comparator.jensen_shannon_divergence
        comparator.threshold = limits.max_image_distance
    return schema


def as_statistics(
    split: SplitFacts, class_names: Sequence[str]
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns the facts about a split as TFDV statistics."""
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(num_examples=split.examples)
    label = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
    label.path.step.append(features.LABEL)
    _count_all(label.string_stats.common_stats, split.labels)
    names = _names(class_names, len(split.labels))
    for name, count in zip(names, split.labels, strict=False):
        if count:
            label.string_stats.rank_histogram.buckets.add(label=name, sample_count=count)
    for fact_name, counts in split.histograms.items():
        fact = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT)
        fact.path.step.append(fact_name)
        _count_all(fact.num_stats.common_stats, counts)
        histogram = fact.num_stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
        for low, high, count in zip(EDGES[:-1], EDGES[1:], counts, strict=True):
            histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
    return statistics


def _count_all(statistics: statistics_pb2.CommonStatistics, counts: Sequence[int]) -> None:
    total = sum(counts)
    statistics.num_non_missing = statistics.tot_num_values = total
    statistics.min_num_values = statistics.max_num_values = 1
    statistics.avg_num_values = 1
