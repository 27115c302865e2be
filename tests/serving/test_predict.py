"""`cifar predict` on files and folders of images."""

import io
import json
import re

import numpy as np
import pytest
from PIL import ExifTags, Image

from serving import predict
from serving.client import RestClient, UnreachableError
from tests.conftest import CLASS_COLOURS
from tests.serving.test_client import encoded


@pytest.fixture
def folder(tmp_path):
    """Three images, named frog, ship and airplane, and a text file."""
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
    (folder / "empty").mkdir()
    names = ("a.png", "none.png", "notes.txt", "empty", "cut.png", "b.JPG")
    paths = [str(folder / name) for name in names]
    assert predict.run(client, paths, as_json=True) == 1
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["image"] for line in lines] == paths
    errors = [line["error"] for line in lines[1:5]]
    assert errors[0] == "no such file"
    assert errors[1] == "not an image the model reads (PNG, JPEG, BMP, GIF)"
    assert errors[2].startswith("no file in this folder ends in .png")
    assert errors[3].startswith("damaged image: ")
    assert (lines[0]["class"], lines[5]["class"]) == ("frog", "ship")
    assert printed.err.splitlines() == [
        f"{path}: {error}" for path, error in zip(paths[1:5], errors, strict=True)
    ]


def test_one_unreadable_file_keeps_the_others_of_its_folder(client, folder):
    (folder / "aa.png").symlink_to(folder / "none.png")
    (folder / "album.png").mkdir()
    answers = predict.predict_files(client, [str(folder)])
    assert [a.prediction and a.prediction.class_name for a in answers] == [
        "frog",
        None,
        "ship",
        "airplane",
    ]
    assert answers[1] == predict.Answer(f"{folder}/aa.png", error="No such file or directory")


def test_an_image_that_the_server_refuses_keeps_its_neighbours(client, folder, monkeypatch):
    """Pillow reads more than TensorFlow: only the server rejects this file."""
    monkeypatch.setattr(predict, "prepare", lambda name, content: content)
    answers = predict.predict_files(client, [str(folder), str(folder / "notes.txt")])
    assert [bool(answer.prediction) for answer in answers] == [True, True, True, False]
    assert "Unknown image file format" in answers[3].error


def test_table_has_image_class_and_probability(client, folder, capsys):
    assert predict.run(client, [str(folder / "a.png")]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "class", "probability"]
    assert re.fullmatch(rf"{folder}/a.png  frog +\d+\.\d%", line)


@pytest.mark.parametrize("name", ["img[final].png", "a\x1b[2Jb.png", "c\nd.png", "e\udcff.png"])
def test_a_file_name_is_text(client, tmp_path, capsys, name):
    (tmp_path / name).write_bytes(encoded(CLASS_COLOURS[6]))
    (tmp_path / f"bad {name}").write_bytes(b"")
    assert predict.run(client, [str(tmp_path / name), str(tmp_path / f"bad {name}")]) == 1
    printed = capsys.readouterr()
    shown = name.encode("unicode_escape").decode()
    assert f"/{shown}  frog" in printed.out
    assert printed.err.startswith(f"{tmp_path}/bad {shown}: ")


def test_a_photograph_is_turned_as_the_camera_was_held():
    upright = Image.new("RGB", (30, 20), "red")
    upright.paste("blue", (0, 0, 15, 10))  # the upper left quarter
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # "turn by 90 degrees to the right"
    content = io.BytesIO()
    turned.save(content, "PNG", exif=exif)
    seen = Image.open(io.BytesIO(predict.prepare("photo", content.getvalue())))
    assert np.array_equal(np.asarray(seen), np.asarray(upright))
    plain = encoded(CLASS_COLOURS[6])
    assert predict.prepare("plain", plain) is plain


def test_no_server_is_an_error_of_one_line(folder):
    with pytest.raises(UnreachableError) as error:
        predict.run(RestClient("127.0.0.1:9"), [str(folder)])
    assert str(error.value) == (
        "No model server answers at http://127.0.0.1:9 (Connection refused). `cifar serve` "
        "starts one."
    )


def test_photographs_are_sent_a_few_at_a_time(client, tmp_path, monkeypatch):
    """Thirty-two large files at once would exceed the server's limit."""
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
