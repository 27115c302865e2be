"""Our client and `cifar predict`: images in, classes out, by either protocol."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from contract.features import CLASS_NAMES
from serving import predict
from serving.client import GrpcClient, PredictionError, RestClient
from tests.conftest import CLASS_COLOURS


@pytest.fixture(params=["rest", "grpc"])
def client(request, server):
    if request.param == "rest":
        return RestClient(server.rest_url, "colours")
    return GrpcClient(server.grpc_target, "colours")


def encoded(colour: tuple[int, int, int], size=(32, 32), file_format="PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, file_format)
    return content.getvalue()


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


def test_pixels_have_the_class_of_their_colour(client):
    images = np.zeros((10, 32, 32, 3), np.uint8) + np.uint8(CLASS_COLOURS)[:, None, None]
    predictions = client.classify_pixels(images)
    assert [p.class_id for p in predictions] == list(range(10))
    assert [p.class_name for p in predictions] == list(CLASS_NAMES)
    for p in predictions:
        assert len(p.probabilities) == 10
        assert p.probability == max(p.probabilities)
        assert sum(p.probabilities) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "GIF"])
def test_files_of_any_size_have_the_class_of_their_colour(client, file_format):
    sizes = ((32, 32), (1, 1), (500, 20))
    images = [encoded(CLASS_COLOURS[4], size, file_format) for size in sizes]
    assert [p.class_id for p in client.classify(images)] == [4, 4, 4]


def test_both_protocols_agree_to_the_last_bit(server):
    noise = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    rest = RestClient(server.rest_url, "colours").classify_pixels(noise)
    grpc = GrpcClient(server.grpc_target, "colours").classify_pixels(noise)
    for by_rest, by_grpc in zip(rest, grpc, strict=True):
        assert np.float32(by_rest.probabilities).tolist() == list(by_grpc.probabilities)


def test_nothing_asked_nothing_answered(client):
    assert client.classify([]) == []


def test_server_s_refusal_is_the_error(client):
    with pytest.raises(PredictionError, match="Unknown image file format"):
        client.classify([b"no image"])


def test_server_that_is_not_there_is_named():
    with pytest.raises(PredictionError, match=r"127\.0\.0\.1:9.*`cifar serve`"):
        RestClient("127.0.0.1:9").classify([b""])
    with pytest.raises(PredictionError, match=r"127\.0\.0\.1:9.*`cifar serve`"):
        GrpcClient("127.0.0.1:9").classify([b""])


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
