"""CIFAR-100 and a folder of pictures, each from the command to the answers of a server."""

import dataclasses
import io
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_sources.cifar_format import RecordFormat, decode_records
from serving.client import RestClient
from serving.doctor import diagnose
from serving.model_server.process import ServerProcess
from tests.finished_runs import cifar

COLOURS = {"rose": (220, 20, 20), "leaf": (20, 220, 20), "sky": (20, 20, 220)}


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A run that pushed: its record, and pictures to ask about, with their classes."""

    record: dict
    class_names: tuple[str, ...]
    image_size: int
    questions: list[tuple[str, bytes]]

    @property
    def facts(self) -> dict:
        folder = Path(self.record["stages"]["ReportGen"]["outputs"]["report"])
        return json.loads((folder / "report.json").read_text())["facts"]


def run(data: Path, output: Path, *settings: str) -> dict:
    """Returns the record of a short run that pushed."""
    chosen = ("train_steps=150", f"data_dir={output}/data/cifar10", *settings)
    arguments = [argument for setting in chosen for argument in ("--set", setting)]
    command = cifar("run", "--preset", "smoke", "--data", str(data), "--output", str(output))
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads((output / "run.json").read_text())


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def noisy(colour: tuple[int, ...], noise: random.Random, size: tuple[int, int]) -> bytes:
    count = size[0] * size[1]
    values = [
        [min(255, max(0, c + noise.randrange(-20, 21))) for c in colour] for _ in range(count)
    ]
    return png(np.array(values, np.uint8).reshape(*size, 3))


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("own") / "output"


@pytest.fixture(scope="module")
def cifar100(cifar100_dir, output) -> Pushed:
    record = run(cifar100_dir, output)
    names = tuple((cifar100_dir / "fine_label_names.txt").read_text().split())
    layout = RecordFormat("fine", 2, 1, names)
    images, labels = decode_records((cifar100_dir / "test.bin").read_bytes(), layout)
    questions = [
        (names[label], png(image)) for image, label in zip(images, labels, strict=True)
    ]
    return Pushed(record, names, 32, questions)


@pytest.fixture(scope="module")
def pictures(cifar100, tmp_path_factory, output) -> Pushed:
    """Pushed into the folder of the versions of CIFAR-100, which has other classes."""
    root, noise = tmp_path_factory.mktemp("flowers"), random.Random(0)
    for split, count in (("train", 40), ("test", 10)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                content = noisy(colour, noise, (30, 44))
                (root / split / name / f"{number}.png").write_bytes(content)
    (root / "train/rose/broken.png").write_bytes(b"")
    record = run(root, output, "image_size=40", "skip_corrupt=true")
    questions = [(name, noisy(colour, noise, (90, 70))) for name, colour in COLOURS.items()]
    return Pushed(record, ("leaf", "rose", "sky"), 40, questions)


@pytest.fixture(scope="module", params=["cifar100", "pictures"])
def pushed(request: pytest.FixtureRequest) -> Iterator[Pushed]:
    return request.getfixturevalue(request.param)


def test_the_report_speaks_of_the_classes_that_there_are(pushed):
    facts = pushed.facts
    assert facts["data"]["class_names"] == list(pushed.class_names)
    assert facts["data"]["image_size"] == pushed.image_size
    assert list(facts["evaluation"]["class_accuracy"]) == list(pushed.class_names)
    assert len(facts["evaluation"]["confusion"]) == len(pushed.class_names)
    assert facts["gate"]["refusals"] == []
    page = (Path(pushed.record["config"]["output_dir"]) / "report.html").read_text()
    assert "airplane" not in page


def test_the_report_counts_what_was_left_out(pictures):
    assert pictures.facts["data"]["skipped"] == {"empty": 1}
    assert pictures.facts["data"]["counts"] == {"train": [40] * 3, "eval": [10] * 3}
    assert (
        "could not be read"
        in (Path(pictures.record["config"]["output_dir"]) / "report.html").read_text()
    )


def test_a_model_of_other_classes_is_no_baseline(cifar100, pictures):
    assert pictures.record["gate"]["baseline_accuracy"] is None
    assert int(pictures.record["pushed_version"]) > int(cifar100.record["pushed_version"])


def test_a_picture_is_named_where_it_came_from(pictures):
    assert pictures.facts["request"]["key"].startswith("test/")


def test_a_server_answers_with_the_names_of_the_classes(pushed):
    version = Path(pushed.record["pushed_path"])
    flags = ("--model_name=cifar10", f"--model_base_path={version.parent}")
    with ServerProcess(*flags) as server:
        client = RestClient(server.rest_url, f"cifar10/versions/{version.name}")
        answers = client.classify([content for _, content in pushed.questions])
    assert {len(answer.probabilities) for answer in answers} == {len(pushed.class_names)}
    right = [
        answer.class_name == name
        for answer, (name, _) in zip(answers, pushed.questions, strict=True)
    ]
    assert np.mean(right) > 1.5 / len(pushed.class_names)  # better than chance


def test_the_doctor_finds_nothing_to_mend(pushed):
    report = diagnose(Path(pushed.record["pushed_path"]))
    assert report.is_healthy
    size = pushed.image_size
    kinds = {one.name: one.inputs for one in report.signatures}
    assert kinds["serving_default"] == {"images": f"uint8 [n, {size}, {size}, 3]"}
