"""The facts that a report shows; ReportGen writes them to `report.json`."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from contract.data_gate_record import Comparison as DataComparison
from contract.serving_report import ServingReport
from contract.training_record import TrainingRecord
from report import settings

OTHER = "other weights"  # the kind of an unknown layer
Point = tuple[int, float]  # a step and a value


@dataclasses.dataclass(frozen=True)
class PixelStatistics:
    """Of each channel: mean and deviation, 0 to 255, and the fraction of each of 256 values."""

    mean: Sequence[float]
    std: Sequence[float]
    histogram: Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """The data of a run.

    Attributes:
        name: The name of the data set.
        class_names: In the order of the labels.
        skipped: The number of unreadable pictures that were skipped, by reason.
        counts: Images of each class, by split.
        samples: A strip of images as a data URI, by class name.
        anomalies: A line for each; None if the data were not validated.
        comparisons: The distances that the data gate measured.
    """

    counts: Mapping[str, Sequence[int]]
    samples: Mapping[str, str]
    pixels: PixelStatistics
    anomalies: Sequence[str] | None = None
    name: str = "CIFAR-10"
    class_names: Sequence[str] = ()
    image_size: int = 32
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    comparisons: Sequence[DataComparison] = ()


@dataclasses.dataclass(frozen=True)
class Curves:
    """The curves that training logged, over the steps; empty if it did not."""

    loss: Sequence[Point] = ()
    loss_averaged: Sequence[Point] = ()
    cross_entropy: Sequence[Point] = ()
    cross_entropy_averaged: Sequence[Point] = ()
    learning_rate: Sequence[Point] = ()
    images_per_second: Sequence[Point] = ()
    train_accuracy: Sequence[Point] = ()  # of each logged step's batch, distorted
    train_accuracy_averaged: Sequence[Point] = ()
    eval_accuracy: Sequence[Point] = ()
    eval_loss: Sequence[Point] = ()


@dataclasses.dataclass(frozen=True)
class TrainingFacts:
    """The record of a training and its curves."""

    record: TrainingRecord
    curves: Curves


@dataclasses.dataclass(frozen=True)
class SignatureFacts:
    """A signature of the model; tensors are written as `images uint8 [n, 32, 32, 3]`."""

    name: str
    method: str
    inputs: Sequence[str]
    outputs: Sequence[str]


@dataclasses.dataclass(frozen=True)
class LayerFacts:
    """A layer of the network.

    Attributes:
        name: The scope of its weights; empty if it has none.
        kind: `convolution`, `dense layer`, …
        window: The size and stride of its window, as `5×5`; empty without one.
        output: The size of its output, as `24×24×64`; empty if unknown.
        parameters: The number of its weights.
    """

    name: str
    kind: str
    window: str
    output: str
    parameters: int


@dataclasses.dataclass(frozen=True)
class CropFacts:
    """The part of an image that the network sees; sizes as `24×24`."""

    seen: str
    whole: str
    is_middle: bool


@dataclasses.dataclass(frozen=True)
class FilterFacts:
    """The filters of a first convolution: a picture as a data URI, their number and size."""

    picture: str
    count: int
    size: str


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """Facts from the graph and the files of the exported model.

    Attributes:
        parameters: The number of its weights.
        filters: None without a first convolution.
        crop: None if the network sees all of an image.
        is_averaged: Whether the weights are moving averages of the trained weights.
    """

    parameters: int
    bytes: int
    signatures: Sequence[SignatureFacts]
    layers: Sequence[LayerFacts] = ()
    crop: CropFacts | None = None
    is_averaged: bool = False
    filters: FilterFacts | None = None


@dataclasses.dataclass(frozen=True)
class CalibrationBin:
    """Images with a similar confidence, and the accuracy on them."""

    images: int
    confidence: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The accuracy of the candidate at each level of confidence.

    Attributes:
        bins: Each tenth of confidence that occurs.
        expected_error: The distance of confidence and accuracy, averaged over images
            (Guo et al., On Calibration of Modern Neural Networks, 2017).
    """

    bins: Sequence[CalibrationBin]
    expected_error: float


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An eval image with a wrong prediction; a data URI shows it."""

    key: str
    label: str
    predicted: str
    confidence: float
    picture: str


@dataclasses.dataclass(frozen=True)
class Confusion:
    """The images of one class that were predicted as another, most confident first.

    Attributes:
        label: The id of the true class; `predicted` that of the other.
        images: Their number.
        keys: The keys of the images in the picture, from left to right.
        picture: The first of them in a row, as a data URI.
        shown: The number of images in the picture.
    """

    label: int
    predicted: int
    images: int
    keys: Sequence[str]
    picture: str
    shown: int


@dataclasses.dataclass(frozen=True)
class PredictionFacts:
    """The predictions of the candidate on eval; the most confident mistakes come first."""

    calibration: Calibration
    mistakes: Sequence[Mistake]
    confusions: Sequence[Confusion] = ()


@dataclasses.dataclass(frozen=True)
class ExampleRequest:
    """An eval image as a PNG in base 64, and the candidate's prediction."""

    key: str
    png: str
    label: str
    answer: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The Evaluator's metrics of a model on eval.

    Attributes:
        top_3_accuracy: How often the true class is among the first 3; None for few classes.
        top_5_accuracy: How often it is among the first 5; None unless there are many classes.
        class_accuracy: The recall of each class, by name.
        confusion: How often each class (row) was predicted as each class (column).
    """

    accuracy: float
    top_3_accuracy: float | None
    cross_entropy: float
    eval_examples: int
    class_accuracy: Mapping[str, float]
    confusion: Sequence[Sequence[int]] = ()
    class_names: Sequence[str] = ()
    top_5_accuracy: float | None = None

    def __post_init__(self) -> None:
        """Sets the class names of an older record."""
        if not self.class_names:
            object.__setattr__(self, "class_names", list(self.class_accuracy))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The images that only one of two models gets right, and McNemar's p-value."""

    only_baseline: int
    only_candidate: int
    p_value: float


@dataclasses.dataclass(frozen=True)
class Gate:
    """The thresholds, the comparison with the baseline, and the verdict in words.

    Attributes:
        interval: The 95% confidence interval of the accuracy, by Wilson's formula.
        baseline_version: The pushed version that the candidate was compared with, if any.
        comparison: The comparison image by image; None without a baseline.
        refusals: Each threshold that the candidate failed, in words.
    """

    min_accuracy: float
    max_accuracy_drop: float
    interval: tuple[float, float] | None = None
    baseline_version: str | None = None
    baseline_accuracy: float | None = None
    comparison: Comparison | None = None
    refusals: Sequence[str] = ()
    verdict: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
    """All facts; None for stages that did not run.

    Attributes:
        config: Every field of the run's PipelineConfig, without passwords.
        pushed_version: The version of the candidate, if it was pushed, in `pushed_path`.
    """

    config: Mapping[str, Any]
    data: DataFacts | None = None
    training: TrainingFacts | None = None
    model: ModelFacts | None = None
    predictions: PredictionFacts | None = None
    request: ExampleRequest | None = None
    evaluation: Metrics | None = None
    baseline: Metrics | None = None
    gate: Gate | None = None
    serving_check: ServingReport | None = None
    pushed_version: str | None = None
    pushed_path: str | None = None

    @functools.cached_property
    def settings(self) -> settings.Settings:
        """Returns the settings that a report uses, with the values that a search found."""
        found = self.training.record.found if self.training else {}
        return settings.read({**self.config, **found})


@dataclasses.dataclass(frozen=True)
class Report:
    """The output of ReportGen: the facts, and the SVG of each plot by name."""

    facts: Facts
    plots: Mapping[str, str]
