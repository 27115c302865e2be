"""`cifar predict --sample N`: random test images with their true and predicted classes."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contract import terminal
from contract.terminal import Column
from data_sources import cifar_format
from data_sources.dataset import SAMPLE_DIR
from serving.client import Client, Prediction
from serving.predict import BATCH_SIZE

COLUMNS = (
    Column("image", cut="start"),
    Column("true class"),
    Column("predicted"),
    Column("probability", is_number=True, rank=1),
    Column(""),
)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One test image: its record, pixels (uint8, 32×32×3) and true class."""

    key: str
    pixels: np.ndarray
    true_class: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """A drawn image and the model's prediction for it."""

    drawn: Drawn
    prediction: Prediction

    @property
    def is_right(self) -> bool:
        """Returns whether the predicted class is the true one."""
        return self.prediction.class_name == self.drawn.true_class


def draw(count: int, seed: int, data_dir: Path) -> list[Drawn]:
    """Returns random images of the test batch, each once, from `data_dir` or the sample.

    Raises:
        ValueError: The batch is damaged, or contains fewer images than requested.
    """
    name = cifar_format.EVAL_FILES[0]
    path = data_dir / name if (data_dir / name).is_file() else SAMPLE_DIR / name
    images, labels = cifar_format.decode_records(path.read_bytes(), source=str(path))
    if count > len(labels):
        raise ValueError(f"{path} has {len(labels):,} images, but {count:,} were requested.")
    records = np.random.default_rng(seed).choice(len(labels), count, replace=False)
    return [
        Drawn(
            f"{name}:{record}", images[record], cifar_format.CIFAR10.class_names[labels[record]]
        )
        for record in records
    ]


def ask(client: Client, drawn: Sequence[Drawn]) -> list[Answer]:
    """Returns the model's answer to each image, from requests of at most `BATCH_SIZE`."""
    answers: list[Answer] = []
    for start in range(0, len(drawn), BATCH_SIZE):
        batch = drawn[start : start + BATCH_SIZE]
        predictions = client.classify_pixels(np.stack([image.pixels for image in batch]))
        answers += [Answer(*pair) for pair in zip(batch, predictions, strict=True)]
    return answers


def show(answers: Sequence[Answer], as_json: bool) -> None:
    """Prints a table on standard output, or one line of JSON for each image."""
    if as_json:
        for answer in answers:
            fields = {
                "image": answer.drawn.key,
                "true_class": answer.drawn.true_class,
                "class": answer.prediction.class_name,
                "probability": answer.prediction.probability,
            }
            print(json.dumps(fields))
        return
    rows = [
        (
            answer.drawn.key,
            answer.drawn.true_class,
            answer.prediction.class_name,
            f"{answer.prediction.probability:.1%}",
            "right" if answer.is_right else "wrong",
        )
        for answer in answers
    ]
    right = sum(answer.is_right for answer in answers)
    terminal.say(*terminal.table_lines(COLUMNS, rows, terminal.width()))
    print(f"{right} of {len(answers)} right ({right / len(answers):.1%})")


def write_picture(answers: Sequence[Answer], path: Path) -> None:
    """Writes the images in rows of five, each above its true and predicted class."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    columns = min(5, len(answers))
    rows = -(-len(answers) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(1.8 * columns, 2.3 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, answer in zip(axes.flat, answers, strict=False):
        axis.imshow(answer.drawn.pixels)
        predicted = f"{answer.prediction.class_name} {answer.prediction.probability:.0%}"
        title = predicted if answer.is_right else f"{predicted}\nis {answer.drawn.true_class}"
        axis.set_title(title, fontsize=9, color="black" if answer.is_right else "#b3261e")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
