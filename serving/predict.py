"""`cifar predict`: classifies image files and prints one line for each."""

import dataclasses
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from contract import terminal
from contract.terminal import Column
from serving.client import Client, Prediction, PredictionError, UnreachableError

STANDARD_INPUT = "-"
# What the model can decode.
FORMATS = ("PNG", "JPEG", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
COLUMNS = (
    Column("image", cut="start"),
    Column("class"),
    Column("probability", is_number=True),
)
BATCH_SIZE = 32
BATCH_BYTES = 16 * 2**20  # in base64, a third of what a server accepts


@dataclasses.dataclass(frozen=True)
class Answer:
    """The result for one image: a prediction, or the reason there is none."""

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
    """Returns an answer for each image, in order; unusable files get a reason instead.

    Args:
        client: Talks to the server.
        paths: Image files, folders of them, or "-" for one image on standard input.

    Raises:
        UnreachableError: No server answers.
    """
    answers: list[Answer] = []
    batch: list[tuple[str, bytes]] = []
    for name, content in read_images(paths):
        usable = content if isinstance(content, Answer) else prepare(name, content)
        if isinstance(usable, Answer):
            answers += _classify(client, batch)
            batch = []
            answers.append(usable)
            continue
        batch.append((name, usable))
        if len(batch) == BATCH_SIZE or sum(len(c) for _, c in batch) >= BATCH_BYTES:
            answers += _classify(client, batch)
            batch = []
    return answers + _classify(client, batch)


def read_images(paths: Iterable[str]) -> Iterator[tuple[str, bytes | Answer]]:
    """Yields the name of each image, and its content or why there is none."""
    for path in paths:
        if path == STANDARD_INPUT:
            yield STANDARD_INPUT, sys.stdin.buffer.read()
            continue
        try:
            files = image_files(Path(path))
        except OSError as error:
            yield path, Answer(path, error=error.strerror or str(error))
            continue
        for file in files:
            try:
                yield str(file), file.read_bytes()
            except OSError as error:
                yield str(file), Answer(str(file), error=error.strerror or str(error))


def image_files(path: Path) -> list[Path]:
    """Returns the file itself, or the images in a folder and below, sorted by name.

    Raises:
        FileNotFoundError: There is no such file, or no image in the folder.
    """
    if not path.exists():
        raise FileNotFoundError("no such file")
    if not path.is_dir():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.is_dir()
    )
    if not files:
        raise FileNotFoundError(f"no file in this folder ends in {', '.join(SUFFIXES)}")
    return files


def prepare(name: str, content: bytes) -> bytes | Answer:
    """Returns an image in a form that the model can decode, or why it cannot.

    A photograph is turned upright if its EXIF data say how the camera was held; other files
    stay unchanged.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                return content
            upright = io.BytesIO()
            ImageOps.exif_transpose(image).convert("RGB").save(upright, "PNG")
            return upright.getvalue()
    except UnidentifiedImageError:
        return Answer(name, error=f"not an image the model reads ({', '.join(FORMATS)})")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Answer(name, error=f"damaged image: {error}")


def show(answers: Sequence[Answer], as_json: bool = False) -> None:
    """Prints predictions on standard output, and errors on standard error.

    A table, or one line of JSON for each image, those without a prediction included.
    """
    rows = [
        (answer.name, answer.prediction.class_name, f"{answer.prediction.probability:.1%}")
        for answer in answers
        if answer.prediction
    ]
    if as_json:
        print("\n".join(json.dumps(answer.as_dict()) for answer in answers))
    elif rows:
        terminal.say(*terminal.table_lines(COLUMNS, rows, terminal.width()))
    sys.stdout.flush()  # before what comes on the other stream
    for answer in answers:
        if answer.prediction is None:
            terminal.say(terminal.printable(f"{answer.name}: {answer.error}"), err=True)


def run(client: Client, paths: Iterable[str], as_json: bool = False) -> int:
    """Predicts and prints; returns 0 if every image has a prediction, else 1.

    Raises:
        UnreachableError: No server answers.
    """
    answers = predict_files(client, paths)
    show(answers, as_json)
    return int(any(answer.prediction is None for answer in answers))


def _classify(client: Client, batch: list[tuple[str, bytes]]) -> list[Answer]:
    """Returns answers; if the server rejects a batch, its images are sent one by one."""
    try:
        predictions = client.classify([content for _, content in batch])
    except UnreachableError:
        raise
    except PredictionError as error:
        if len(batch) == 1:
            return [Answer(batch[0][0], error=str(error))]
        return [answer for image in batch for answer in _classify(client, [image])]
    return [
        Answer(name, prediction)
        for (name, _), prediction in zip(batch, predictions, strict=True)
    ]
