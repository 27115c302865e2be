"""Batch prediction: what is read, what is written, and what a second call does."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image
from pyarrow import csv
from tensorflow_serving.apis import prediction_log_pb2

from data_sources import cifar_format, example_format
from pipeline_def import batch_prediction
from pipeline_def.beam import runner
from serving.batch import results, sources
from serving.client import RestClient
from serving.model_server.servable import Servable
from tests.conftest import CLASS_COLOURS
from tests.serving.test_client import encoded


@pytest.fixture(scope="module")
def model(models_dir: Path) -> Path:
    """The folder of versions of a model that names the nearest colour."""
    return models_dir / "colours"


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A frog, a ship and an airplane."""
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    for name, class_id in (("a.png", 6), ("b.jpg", 8), ("deeper/c.bmp", 0)):
        kind = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP"}[name[-3:]]
        (folder / name).write_bytes(encoded(CLASS_COLOURS[class_id], (90, 50), kind))
    return folder


def rows(folder: Path) -> list[dict]:
    """Returns the rows of all Parquet files, in the order of their names."""
    files = sorted(folder.glob("predictions-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def failed(folder: Path) -> dict[str, str]:
    """Returns the reasons why images have no prediction, by file name."""
    lines = [line for file in folder.glob("failed-*") for line in file.read_text().splitlines()]
    return {Path(line["image"]).name: line["error"] for line in map(json.loads, lines)}


def test_cifar_batches_have_the_class_of_every_record(cifar_dir, model, tmp_path):
    record = batch_prediction.run(cifar_dir, tmp_path / "out", model)
    assert (record.images, record.failed, record.status) == (120, 0, "done")
    assert Path(record.model).name == "7"
    found = {row["image"]: row for row in rows(tmp_path / "out")}
    for name in cifar_format.BATCH_FILES:
        labels = np.frombuffer((cifar_dir / name).read_bytes(), np.uint8)[::3073]
        for number, label in enumerate(labels):
            row = found[f"{name}:{number}"]
            assert (row["class_id"], row["class"]) == (
                label,
                cifar_format.CIFAR10.class_names[label],
            )
            assert row["probability"] == max(row["probabilities"])


def test_pictures_have_the_answers_of_the_server(pictures, model, server, tmp_path):
    batch_prediction.run(pictures, tmp_path / "out", model)
    found = rows(tmp_path / "out")
    assert [Path(row["image"]).name for row in found] == ["a.png", "b.jpg", "c.bmp"]
    assert [row["class"] for row in found] == ["frog", "ship", "airplane"]
    client = RestClient(server.rest_url, "colours")
    contents = [Path(row["image"]).read_bytes() for row in found]
    for row, answer in zip(found, client.classify(contents), strict=True):
        assert row["probabilities"] == pytest.approx(answer.probabilities, abs=1e-6)


def test_bad_pictures_are_listed_beside_the_results(pictures, model, tmp_path):
    whole = (pictures / "a.png").read_bytes()
    (pictures / "cut.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "text.jpg").write_text("not an image")
    # Pillow reads a BMP of one bit a pixel, TensorFlow does not.
    Image.new("1", (16, 16)).save(pictures / "bits.bmp")
    record = batch_prediction.run(pictures, tmp_path / "out", model)
    assert (record.images, record.failed) == (3, 3)
    assert [Path(row["image"]).name for row in rows(tmp_path / "out")] == [
        "a.png",
        "b.jpg",
        "c.bmp",
    ]
    why = failed(tmp_path / "out")
    assert why["cut.png"].startswith("damaged image")
    assert why["text.jpg"].startswith("not an image the model reads")
    assert why["bits.bmp"].startswith("the model refuses this image: Number of channels ")


def test_probabilities_that_are_nan_are_the_reason(pictures, model, tmp_path, monkeypatch):
    run = Servable.run

    def with_nan(self, feeds, fetches):
        found = run(self, feeds, fetches)
        for array in found.values():
            if array.dtype.kind == "f":
                array[1:2] = np.nan
        return found

    monkeypatch.setattr(Servable, "run", with_nan)
    assert batch_prediction.run(pictures, tmp_path / "out", model).failed == 1
    assert failed(tmp_path / "out") == {
        "b.jpg": "the model's probabilities of this image are NaN"
    }


def test_a_folder_of_bad_pictures_alone_has_no_predictions(tmp_path, model):
    (tmp_path / "in").mkdir()
    Image.new("1", (16, 16)).save(tmp_path / "in/bits.bmp")
    (tmp_path / "in/empty.png").touch()
    record = batch_prediction.run(tmp_path / "in", tmp_path / "out", model)
    assert (record.images, record.failed) == (0, 2)


@pytest.mark.parametrize("name", ["data.tfrecord", "data_tfrecord-00000-of-00001.gz"])
def test_examples_are_read_from_tfrecord_files(cifar_dir, model, tmp_path, name):
    content = (cifar_dir / "test_batch.bin").read_bytes()
    examples = example_format.encode_examples(content, "b", cifar_format.CIFAR10)
    compression = "GZIP" if name.endswith(".gz") else ""
    (tmp_path / "in").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / "in" / name), compression) as writer:
        for example in examples:
            writer.write(example)
    batch_prediction.run(tmp_path / "in", tmp_path / "out", model)
    labels = np.frombuffer(content, np.uint8)[::3073]
    assert [row["class_id"] for row in rows(tmp_path / "out")] == labels.tolist()


def test_every_format_has_the_same_numbers(pictures, model, tmp_path):
    for name in results.FORMATS:
        assert batch_prediction.run(pictures, tmp_path / name, model, name).images == 3
    expected = rows(tmp_path / "parquet")
    (file,) = (tmp_path / "csv").glob("predictions-*.csv")
    for row, other in zip(expected, csv.read_csv(file).to_pylist(), strict=True):
        assert (other["image"], other["class"]) == (row["image"], row["class"])
        values = [other[f"probability_{class_id}"] for class_id in range(10)]
        assert values == pytest.approx(row["probabilities"], abs=1e-6)
    (file,) = (tmp_path / "jsonl").glob("predictions-*.jsonl")
    for row, line in zip(expected, file.read_text().splitlines(), strict=True):
        assert json.loads(line) == row
    (file,) = (tmp_path / "prediction-log").glob("predictions-*.tfrecord.gz")
    for row, raw in zip(expected, tf.data.TFRecordDataset(str(file), "GZIP"), strict=True):
        log = prediction_log_pb2.PredictionLog.FromString(raw.numpy()).predict_log
        assert (
            log.request.inputs["image_bytes"].string_val[0] == Path(row["image"]).read_bytes()
        )
        values = tf.make_ndarray(log.response.outputs["probabilities"])[0]
        assert values.tolist() == row["probabilities"]


def test_a_stopped_call_goes_on_behind_what_is_written(cifar_dir, model, tmp_path, monkeypatch):
    write, written = results.write_batch, []

    def stops_at_the_third(path, *arguments):
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        write(path, *arguments)

    monkeypatch.setattr(results, "write_batch", stops_at_the_third)
    with pytest.raises(RuntimeError, match="No space left"):
        batch_prediction.run(cifar_dir, tmp_path / "out", model)
    assert json.loads((tmp_path / "out/batch.json").read_text())["status"] == "running"
    first = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").glob("predictions-*")}
    assert 2 <= len(first) < 6  # another thread may have written more
    monkeypatch.setattr(results, "write_batch", write)
    assert batch_prediction.run(cifar_dir, tmp_path / "out", model).images == 120
    assert {file: file.stat().st_mtime_ns for file in first} == first
    assert not list((tmp_path / "out").glob(".*"))


def test_a_folder_of_other_predictions_is_refused(cifar_dir, pictures, model, tmp_path):
    batch_prediction.run(pictures, tmp_path / "out", model)
    with pytest.raises(ValueError, match=r"predictions with input .* Choose another folder"):
        batch_prediction.run(cifar_dir, tmp_path / "out", model)
    (pictures / "new.png").write_bytes((pictures / "a.png").read_bytes())
    with pytest.raises(ValueError, match="pictures, whose files have changed since"):
        batch_prediction.run(pictures, tmp_path / "out", model)


def test_a_killed_call_leaves_no_partial_file_behind(pictures, model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.predictions-00000-00000.parquet.5f2c").write_bytes(b"PAR1")
    (tmp_path / "out/.failed-00000-00000.jsonl.5f2c").touch()
    assert batch_prediction.run(pictures, tmp_path / "out", model).images == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "batch.json",
        "predictions-00000-00000.parquet",
    ]


def test_two_calls_do_not_write_to_one_folder(pictures, model, tmp_path):
    with (
        batch_prediction.sole_writer(tmp_path),
        pytest.raises(BlockingIOError, match="Another call is writing to"),
    ):
        batch_prediction.run(pictures, tmp_path, model)


def test_predictions_are_not_their_own_input(pictures, model):
    for folder in (pictures, pictures / "out"):
        with pytest.raises(ValueError, match="would be part of their own input"):
            batch_prediction.run(pictures, folder, model, "prediction-log")


def test_files_of_one_name_in_two_folders_are_told_apart(cifar_dir, model, tmp_path):
    for day in ("monday", "tuesday"):
        (tmp_path / "in" / day).mkdir(parents=True)
        shutil.copy(cifar_dir / "test_batch.bin", tmp_path / "in" / day)
    batch_prediction.run(tmp_path / "in", tmp_path / "out", model)
    names = [row["image"] for row in rows(tmp_path / "out")]
    assert len(set(names)) == len(names) == 40
    assert names[0] == "monday/test_batch.bin:0"


@pytest.mark.parametrize("format_name", results.FORMATS)
def test_a_name_that_is_not_utf_8_stops_nothing(pictures, model, tmp_path, format_name):
    folder = os.fsencode(pictures)
    Path(os.fsdecode(folder + b"/caf\xe9.png")).write_bytes((pictures / "a.png").read_bytes())
    (pictures / "a.png").unlink()
    Path(os.fsdecode(folder + b"/\xe9.jpg")).write_bytes(b"no picture")
    (pictures / "b.jpg").unlink()
    record = batch_prediction.run(pictures, tmp_path / "out", model, format_name)
    assert (record.images, record.failed) == (2, 1)
    assert list(failed(tmp_path / "out")) == [r"\xe9.jpg"]
    if format_name == "parquet":
        assert {Path(row["image"]).name for row in rows(tmp_path / "out")} == {
            r"caf\xe9.png",
            "c.bmp",
        }


def test_several_processes_share_the_work(cifar_dir, model, tmp_path):
    two = runner.choose(parallelism=2)
    assert batch_prediction.run(cifar_dir, tmp_path / "out", model, runner=two).images == 120


def test_a_model_that_is_missing_is_named(cifar_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match="--model-dir says where to look"):
        batch_prediction.run(cifar_dir, tmp_path / "out", tmp_path)


def test_a_path_without_images_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        sources.find(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"no pictures .*, no CIFAR batches"):
        sources.find(tmp_path)


def test_kinds_are_not_mixed(pictures, cifar_dir):
    (pictures / "test_batch.bin").write_bytes((cifar_dir / "test_batch.bin").read_bytes())
    with pytest.raises(
        ValueError, match=r"3 pictures, 1 CIFAR batches\. Predict one at a time"
    ):
        sources.find(pictures)


def test_a_truncated_batch_is_refused_before_any_work(cifar_dir, tmp_path):
    whole = (cifar_dir / "test_batch.bin").read_bytes()
    (tmp_path / "test_batch.bin").write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="61,459 bytes, which is not a whole number"):
        sources.find(tmp_path)


def test_a_large_batch_is_shared_out_and_its_records_keep_their_numbers(cifar_dir, tmp_path):
    record = (cifar_dir / "test_batch.bin").read_bytes()[:3073]
    (tmp_path / "large.bin").write_bytes(record * (sources.CIFAR_RECORDS + 3))
    first, second = sources.find(tmp_path)
    assert sum(len(batch) for batch in sources.read(first)) == sources.CIFAR_RECORDS
    ((item, *_),) = sources.read(second)
    assert item.name == f"large.bin:{sources.CIFAR_RECORDS}"


def test_a_source_of_several_batches_is_predicted_whole(cifar_dir, model, tmp_path):
    """The last of them is shorter. Beam sometimes hands two batches to the model at once."""
    content = (cifar_dir / "test_batch.bin").read_bytes() * 50
    (tmp_path / "large.bin").write_bytes(content)
    record = batch_prediction.run(tmp_path / "large.bin", tmp_path / "out", model)
    assert (record.images, record.failed) == (1000, 0)
    found = rows(tmp_path / "out")
    assert [row["image"] for row in found] == [f"large.bin:{n}" for n in range(1000)]
    labels = np.frombuffer(content, np.uint8)[::3073]
    assert [row["class_id"] for row in found] == labels.tolist()


def test_pictures_are_shared_out_in_groups(tmp_path):
    for number in range(sources.BATCH_SIZE + 1):
        (tmp_path / f"{number:03d}.png").touch()
    assert [len(source.files) for source in sources.find(tmp_path)] == [256, 1]
