"""`cifar predict`: files and folders of images in, a line for each out."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from serving import predict
from tests.conftest import CLASS_COLOURS
from tests.serving.test_client import encoded


@pytest.fixture
def folder(tmp_path):
    """Three images, by name: a frog, a ship and an airplane; and a text."""
    for name, class_id, kind in (
        ("a.png", 6, "PNG"),
        ("b.JPG", 8, "JPEG"),
        ("deeper/c.bmp", 0, "BMP"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(CLASS_COLOURS[class_id], (90, 50), kind))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_folder_is_searched_for_images(client, folder):
    answers = predict.predict_files(client, [str(folder)])
    names = [answer.name.removeprefix(f"{folder}/") for answer in answers]
    assert names == ["a.png", "b.JPG", "deeper/c.bmp"]
    assert [a.prediction.class_name for a in answers] == ["frog", "ship", "airplane"]


def test_dash_is_standard_input(client, monkeypatch):
    content = encoded(CLASS_COLOURS[3])
    stdin = io.TextIOWrapper(io.BytesIO(content))
    monkeypatch.setattr("sys.stdin", stdin)
    (answer,) = predict.predict_files(client, ["-"])
    assert (answer.name, answer.prediction.class_name) == ("-", "cat")


def test_one_bad_file_keeps_the_others(client, folder, capsys):
    whole = (folder / "a.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    paths = [str(folder / name) for name in ("a.png", "notes.txt", "cut.png", "b.JPG")]
    assert predict.run(client, paths, as_json=True) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == paths
    assert lines[1]["error"] == "not an image the model reads (PNG, JPEG, BMP, GIF)"
    assert lines[2]["error"].startswith("damaged image: ")
    assert (lines[0]["class"], lines[3]["class"]) == ("frog", "ship")


def test_table_has_image_class_and_probability(client, folder, capsys):
    assert predict.run(client, [str(folder / "a.png")]) == 0
    shown = capsys.readouterr().out
    assert "frog" in shown
    assert "%" in shown


def test_missing_and_empty_paths_are_named(client, tmp_path, capsys):
    assert predict.run(client, [str(tmp_path / "none.png")]) == 1
    assert capsys.readouterr().err == f"There is no {tmp_path / 'none.png'}.\n"
    assert predict.run(client, [str(tmp_path)]) == 1
    assert f"{tmp_path} has no image" in capsys.readouterr().err


def test_photographs_are_sent_a_few_at_a_time(client, tmp_path, monkeypatch):
    """Thirty-two large files at once would be more than a server takes."""
    sent = []
    classify = client.classify
    monkeypatch.setattr(
        client, "classify", lambda images: sent.append(len(images)) or classify(images)
    )
    noise = np.random.default_rng(0)
    for i in range(6):
        pixels = noise.integers(0, 256, (1100, 1100, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png", compress_level=0)
    monkeypatch.setattr(predict, "BATCH_BYTES", 8 * 2**20)  # files of 3.6 MB
    answers = predict.predict_files(client, [str(tmp_path)])
    assert len(answers) == 6
    assert sent == [3, 3, 0]
