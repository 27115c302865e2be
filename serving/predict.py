"""`cifar predict`: image files in, a line for each out."""

import dataclasses
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.table import Table

from serving.client import Client, Prediction, PredictionError

STANDARD_INPUT = "-"
# What the model can decode.
FORMATS = ("PNG", "JPEG", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
BATCH_SIZE = 32
BATCH_BYTES = 16 * 2**20  # half of what a server takes, once they are base64


@dataclasses.dataclass(frozen=True)
class Answer:
    """What became of one image: a prediction, or the reason why there is none."""

    name: str
    prediction: Prediction | None = None
    error: str = ""

    def as_dict(self) -> dict:
        """Returns the fields that `--json` prints."""
        if self.prediction is None:
            return {"image": self.name, "error": self.error}
        return {
            "image": self.name,
            "class": self.prediction.class_name,
            "class_id": self.prediction.class_id,
            "probability": self.prediction.probability,
            "probabilities": list(self.prediction.probabilities),
        }


def predict_files(client: Client, paths: Iterable[str]) -> list[Answer]:
    """Returns an answer for each image, in order.

    Args:
        client: Speaks to the server.
        paths: Image files, folders of them, or "-" for one image on standard input.

    Raises:
        PredictionError: The server cannot be reached, or refuses every image.
        FileNotFoundError: A path does not exist, or a folder has no image.
    """
    answers: list[Answer] = []
    batch: list[tuple[str, bytes]] = []
    for name, content in read_images(paths):
        problem = image_problem(content)
        if problem:
            answers += _classify(client, batch)
            batch = []
            answers.append(Answer(name, error=problem))
            continue
        batch.append((name, content))
        if len(batch) == BATCH_SIZE or sum(len(c) for _, c in batch) >= BATCH_BYTES:
            answers += _classify(client, batch)
            batch = []
    return answers + _classify(client, batch)


def read_images(paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each image; see `predict_files`."""
    for path in paths:
        if path == STANDARD_INPUT:
            yield STANDARD_INPUT, sys.stdin.buffer.read()
            continue
        for file in image_files(Path(path)):
            yield str(file), file.read_bytes()


def image_files(path: Path) -> list[Path]:
    """Returns the file itself, or the images in a folder and below, sorted by name."""
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}.")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(
            f"{path} has no image: no file that ends in {', '.join(SUFFIXES)}."
        )
    return files


def image_problem(content: bytes) -> str:
    """Returns why the model could not decode a file, "" if it can."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
    except UnidentifiedImageError:
        return f"not an image the model reads ({', '.join(FORMATS)})"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"damaged image: {error}"
    return ""


def show(answers: Sequence[Answer], as_json: bool = False) -> None:
    """Prints a table on standard output, or one line of JSON for each image."""
    if as_json:
        for answer in answers:
            print(json.dumps(answer.as_dict()))
        return
    table = Table("image", "class", "probability", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for answer in answers:
        if answer.prediction:
            probability = f"{answer.prediction.probability:.1%}"
            table.add_row(answer.name, answer.prediction.class_name, probability)
        else:
            table.add_row(answer.name, answer.error, "")
    Console().print(table)


def run(client: Client, paths: Iterable[str], as_json: bool = False) -> int:
    """Predicts and prints; returns 0 if every image has a prediction, else 1."""
    try:
        answers = predict_files(client, paths)
    except (FileNotFoundError, PredictionError) as error:
        print(error, file=sys.stderr)
        return 1
    show(answers, as_json)
    return int(any(answer.prediction is None for answer in answers))


def _classify(client: Client, batch: list[tuple[str, bytes]]) -> list[Answer]:
    predictions = client.classify([content for _, content in batch])
    return [
        Answer(name, prediction)
        for (name, _), prediction in zip(batch, predictions, strict=True)
    ]
