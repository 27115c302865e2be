"""The data gate: checks of images and distributions that a schema cannot express.

Distances are TFDV's: L-infinity for labels, the Jensen-Shannon divergence for everything else,
between train and eval (skew) and between train and the last pushed model's train (drift).
"""

import dataclasses
from collections.abc import Iterable, Sequence

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from contract import features
from contract.data_facts import BINS, DataFacts, SplitFacts

MIN_IMAGES = 100  # fewer may differ by chance


@dataclasses.dataclass(frozen=True)
class DataLimits:
    """The limits for data, as fractions; 1 allows anything.

    Attributes:
        max_label_distance: The largest difference in a label's share.
        max_image_distance: The largest distance of brightness, contrast and each channel.
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


def find_faults(
    facts: DataFacts, limits: DataLimits, reference: DataFacts | None = None
) -> list[str]:
    """Returns one line for each fault of the data, with feature, distance and limit.

    Args:
        facts: The facts about the data.
        limits: Their limits.
        reference: The facts about the last pushed model's data; None without any. Data with
            other classes are not compared.
    """
    train = facts.splits.get(features.TRAIN_SPLIT)
    evaluation = facts.splits.get(features.EVAL_SPLIT)
    found = []
    for name, split in facts.splits.items():
        found += _of_split(name, split, limits)
    if evaluation:
        found += _above(
            "images of eval are in train, too",
            facts.leaked,
            evaluation.examples,
            "max_leaked_images",
            limits.max_leaked_images,
        )
    if train and evaluation:
        found += distances(train, evaluation, limits, "skew: train against eval")
    if reference and list(reference.class_names) in ([], list(facts.class_names)):
        found += _shrunk(facts, reference, limits.max_shrinkage)
        before = reference.splits.get(features.TRAIN_SPLIT)
        if train and before:
            found += distances(train, before, limits, "drift: train against the last pushed")
    return found


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


def distances(
    current: SplitFacts, other: SplitFacts, limits: DataLimits, what: str
) -> list[str]:
    """Returns TFDV's message for each feature of two splits that differs more than allowed."""
    if min(current.examples, other.examples) < MIN_IMAGES:
        return []
    anomalies = tfdv.validate_statistics(
        as_statistics(current),
        _schema(current, limits),
        previous_statistics=as_statistics(other),
    )
    settings = {features.LABEL: "max_label_distance"}
    return [
        f"{what}: {feature}: {info.description} ({settings.get(feature, 'max_image_distance')})"
        for feature, info in sorted(anomalies.anomaly_info.items())
    ]


def _schema(split: SplitFacts, limits: DataLimits) -> schema_pb2.Schema:
    """Returns a schema with only the limits of the distances."""
    schema = schema_pb2.Schema()
    label = schema.feature.add(name=features.LABEL, type=schema_pb2.BYTES)
    label.drift_comparator.infinity_norm.threshold = limits.max_label_distance
    for name in split.histograms:
        fact = schema.feature.add(name=name, type=schema_pb2.FLOAT)
        comparator = fact.drift_comparator.jensen_shannon_divergence
        comparator.threshold = limits.max_image_distance
    return schema


def as_statistics(split: SplitFacts) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns the facts about a split as TFDV statistics."""
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(num_examples=split.examples)
    label = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
    label.path.step.append(features.LABEL)
    _count_all(label.string_stats.common_stats, split.labels)
    for number, count in enumerate(split.labels):
        if count:
            label.string_stats.rank_histogram.buckets.add(label=str(number), sample_count=count)
    for name, counts in split.histograms.items():
        fact = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT)
        fact.path.step.append(name)
        _count_all(fact.num_stats.common_stats, counts)
        histogram = fact.num_stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
        width = 256 / BINS
        for number, count in enumerate(counts):
            histogram.buckets.add(
                low_value=number * width, high_value=(number + 1) * width, sample_count=count
            )
    return statistics


def _count_all(statistics: statistics_pb2.CommonStatistics, counts: Sequence[int]) -> None:
    total = sum(counts)
    statistics.num_non_missing = statistics.tot_num_values = total
    statistics.min_num_values = statistics.max_num_values = 1
    statistics.avg_num_values = 1
