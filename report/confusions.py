"""The images of eval that were taken for another class, by what they are and were taken for."""

import numpy as np

from report import pictures
from report.data import Split
from report.facts import Confusion

MOST_PAIRS = 100  # of classes
PICTURES = 8  # of each


def confusions(split: Split, probabilities: np.ndarray) -> list[Confusion]:
    """Returns the pairs of classes that are mixed up most often, most often first.

    Args:
        split: The examples.
        probabilities: float, shape (n, classes), of each.
    """
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != split.labels)
    by_pair: dict[tuple[int, int], list[int]] = {}
    for index in wrong[np.argsort(-confidence[wrong], kind="stable")].tolist():
        pair = (int(split.labels[index]), int(predicted[index]))
        by_pair.setdefault(pair, []).append(index)
    most_often = sorted(by_pair.items(), key=lambda item: -len(item[1]))[:MOST_PAIRS]
    return [
        Confusion(
            label=label,
            predicted=other,
            images=len(found),
            keys=[split.keys[index] for index in found[:PICTURES]],
            picture=pictures.webp_uri(
                pictures.sheet([split.images[index] for index in found[:PICTURES]], shown)
            ),
            shown=shown,
        )
        for (label, other), found in most_often
        for shown in [min(len(found), PICTURES)]
    ]
