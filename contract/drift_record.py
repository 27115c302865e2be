"""What `cifar drift` found in the requests that a server logged."""

import dataclasses
from collections.abc import Sequence

from contract.data_gate_record import Comparison

DRIFT_FILE = "drift.json"
DRIFT_PAGE_FILE = "drift.html"
DRIFT_LIMITS = ("max_label_distance", "max_image_distance")  # the settings that it reads


@dataclasses.dataclass(frozen=True)
class LogCounts:
    """What was in the logs.

    Attributes:
        files: The files that were read.
        incomplete: Those that end within a record or are damaged; what comes before counts.
        requests: The requests that the version answered.
        of_others: Requests to other models and versions.
        unreadable: Records that contain no such request.
        images: The images of the requests.
        bad_images: Those of them that cannot be decoded.
        predictions: How many images have a predicted class.
        constant: How many images have a single colour.
    """

    files: int = 0
    incomplete: Sequence[str] = ()
    requests: int = 0
    of_others: int = 0
    unreadable: int = 0
    images: int = 0
    bad_images: int = 0
    predictions: int = 0
    constant: int = 0


@dataclasses.dataclass(frozen=True)
class DriftRecord:
    """Served requests compared with the data that a version was trained on.

    Attributes:
        model: The name of the model.
        version: The version that answered.
        logs: The paths that were given.
        comparison: The feature `label` stands for the predicted classes.
        drifted: The features whose distance exceeds its limit.
    """

    model: str
    version: int
    logs: Sequence[str]
    counts: LogCounts
    comparison: Comparison
    drifted: Sequence[str]
