"""Drift of what a real server logged, from what its version was trained on."""

import dataclasses
import gzip
import json
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from click.testing import CliRunner
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from cli.main import main
from components import drift, image_facts
from components.data_gate import DataLimits
from contract import records
from contract.data_facts import IMAGE_FACTS, DataFacts
from data_sources.cifar_format import CIFAR10
from pipeline_def.config import PipelineConfig
from report import drift as drift_report
from serving import request_logs
from serving.model_registry import PROVENANCE_FILE, Provenance
from serving.model_server.process import ServerProcess
from serving.request_logs import Reader, Served, UnusableLogsError
from tests.conftest import CLASS_COLOURS
from tests.serving.test_client import encoded
from tests.serving.test_request_log import LOGGING

LIMITS = records.from_fields(DataLimits, dataclasses.asdict(PipelineConfig()))
VERSION = 7
SIZE = 32


def images_of(labels: list[int], seed: int = 0) -> np.ndarray:
    """Returns an image of each class in its colour with some noise: uint8, (n, 32, 32, 3)."""
    noise = np.random.default_rng(seed).integers(0, 16, (len(labels), SIZE, SIZE, 3))
    return (np.array(CLASS_COLOURS)[labels][:, None, None] + noise).astype(np.uint8)


def as_example(image: np.ndarray) -> tf.train.Example:
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()]))
    return tf.train.Example(features=tf.train.Features(feature={"image": value}))


def give_facts(version: Path, labels: list[int]) -> None:
    """Writes what a version was trained on: images of these classes."""
    counter = image_facts.Counter()
    counter.add([image.tobytes() for image in images_of(labels, seed=1)], np.array(labels))
    facts = DataFacts({"train": counter.facts()}, 0, CIFAR10.class_names)
    path = version / PROVENANCE_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(records.to_json(Provenance(data_facts=facts)))


@pytest.fixture(scope="module")
def model_dir(models_dir, tmp_path_factory) -> Path:
    """The model that names the nearest colour, trained on every class alike."""
    folder = tmp_path_factory.mktemp("served") / "serving/colours"
    shutil.copytree(models_dir / "colours", folder)
    give_facts(folder / str(VERSION), list(range(10)) * 20)
    return folder


@pytest.fixture(scope="module")
def logs(model_dir, tmp_path_factory) -> Path:
    """What a server logs of requests to each signature by each API: 20 images in each of 6."""
    folder = tmp_path_factory.mktemp("logs")
    config = folder / "models.config"
    logging = LOGGING.format(type="tfrecord", prefix=folder / "colours", rate=1)
    model = f'name: "colours" base_path: "{model_dir}" model_platform: "tensorflow" {logging}'
    config.write_text(f"model_config_list {{ config {{ {model} }} }}")
    with ServerProcess(f"--model_config_file={config}") as server:
        ask_every_signature(server)
    return folder


def ask_every_signature(server: ServerProcess) -> None:
    labels = list(range(10)) * 2
    images = images_of(labels)
    examples = [as_example(image) for image in images]
    url = f"{server.rest_url}/v1/models/colours"
    arrays = {"instances": images[:10].tolist()}
    assert requests.post(f"{url}:predict", json=arrays, timeout=60).ok
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        serialized = [example.SerializeToString() for example in examples]
        files = [encoded(CLASS_COLOURS[label], (90, 50), "PNG") for label in labels]
        for signature, name, values in (
            ("serving_default", "images", images[10:]),
            ("predict_examples", "examples", serialized),
            ("predict_image_bytes", "image_bytes", files),
        ):
            predict = predict_pb2.PredictRequest()
            predict.model_spec.name, predict.model_spec.signature_name = "colours", signature
            predict.inputs[name].CopyFrom(tf.make_tensor_proto(values))
            if name == "examples":
                predict.output_filter.append("classes")
            stub.Predict(predict, timeout=60)
        classify = classification_pb2.ClassificationRequest()
        classify.model_spec.name, classify.model_spec.signature_name = "colours", "classify"
        classify.input.example_list.examples.extend(examples)
        stub.Classify(classify, timeout=60)
        with_context = classification_pb2.ClassificationRequest()
        with_context.model_spec.CopyFrom(classify.model_spec)
        with_context.input.example_list_with_context.context.CopyFrom(examples[0])
        empty = [tf.train.Example()] * 20
        with_context.input.example_list_with_context.examples.extend(empty)
        stub.Classify(with_context, timeout=60)
        several = inference_pb2.MultiInferenceRequest()
        task = several.tasks.add(method_name="tensorflow/serving/classify")
        task.model_spec.CopyFrom(classify.model_spec)
        several.input.example_list.examples.extend(examples)
        stub.MultiInference(several, timeout=60)


def read(files: list[Path], **changes) -> tuple[Reader, list[request_logs.Request]]:
    served = Served("colours", VERSION, CIFAR10.class_names, SIZE)
    reader = Reader(dataclasses.replace(served, **changes))
    return reader, list(reader.read(map(str, files)))


def log_of(images: np.ndarray, version: int = VERSION, name: str = "colours"):
    log = prediction_log_pb2.PredictionLog()
    log.log_metadata.model_spec.name = name
    log.log_metadata.model_spec.version.value = version
    log.predict_log.request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    nearest = np.abs(images.mean((1, 2))[:, None] - np.array(CLASS_COLOURS)).sum(-1).argmin(1)
    outputs = log.predict_log.response.outputs
    outputs["class_ids"].CopyFrom(tf.make_tensor_proto(nearest.astype(np.int64)))
    return log


def write(path: Path, *logs: prediction_log_pb2.PredictionLog) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    return path


def test_every_signature_and_api_gives_pixels_and_classes(logs):
    (file,) = request_logs.find([str(logs)])
    reader, found = read([Path(file)])
    counts = reader.counts()
    assert (counts.requests, counts.unreadable, counts.of_others) == (7, 0, 0)
    assert (counts.images, counts.bad_images, counts.predictions) == (120, 0, 120)
    arrays, more_arrays, examples, files, classified, in_context, several = found
    expected = [image.tobytes() for image in images_of(list(range(10)) * 2)]
    assert arrays.images + more_arrays.images == expected
    assert examples.images == classified.images == several.images == expected
    assert in_context.images == expected[:1] * 20
    for request in (examples, files, classified, several):
        assert request.classes.tolist() == list(range(10)) * 2
    first = np.frombuffer(files.images[0], np.uint8).reshape(-1, 3)
    assert (first == CLASS_COLOURS[0]).all()


def test_requests_like_the_training_data_have_not_drifted(logs, model_dir):
    found = drift.examine(
        [str(logs)], model_dir, dataclasses.replace(LIMITS, max_image_distance=1)
    )
    label, *facts = found.comparison.distances
    assert [one.feature for one in facts] == list(IMAGE_FACTS)
    # 20 of the 120 are of the first class alone.
    assert label.current == pytest.approx([30 / 120, *[10 / 120] * 9], abs=1e-6)
    assert label.value == pytest.approx(0.15)
    assert found.drifted == ["label"]
    assert found.version == VERSION


def test_dark_requests_have_drifted_and_the_page_draws_both(model_dir, tmp_path):
    labels = list(range(10)) * 20
    write(tmp_path / "a.tfrecord", log_of(images_of(labels)))
    same = drift.examine([str(tmp_path)], model_dir, LIMITS)
    assert same.drifted == []
    assert all(one.value < 0.02 for one in same.comparison.distances)
    write(tmp_path / "a.tfrecord", log_of(images_of(labels) // 3))
    dark = drift.examine([str(tmp_path)], model_dir, LIMITS)
    assert {"brightness", "red"} <= {*dark.drifted}
    page = drift_report.render(dark)
    assert page.count("<svg") == len(dark.comparison.distances) == 7
    assert "brightness: distance" in page and "trained on" in page
    assert "predicted class" in page and ">airplane<" in page
    lines = drift_report.as_lines(dark, 80)
    assert any(line.startswith("brightness ") and "DRIFTED" in line for line in lines)


def test_a_file_that_is_being_written_is_read_up_to_its_last_whole_record(tmp_path):
    images = images_of([1, 2, 3])
    whole = write(tmp_path / "m.tfrecord.writing", *(log_of(images) for _ in range(5)))
    whole.write_bytes(whole.read_bytes()[:-100])
    reader, found = read([whole])
    assert len(found) == 4
    assert reader.counts().incomplete == [str(whole)]


@pytest.mark.parametrize("kept", [None, -40])
def test_packed_files_are_read_whatever_their_name(tmp_path, kept):
    plain = write(tmp_path / "plain", *(log_of(images_of([n])) for n in range(5)))
    packed = tmp_path / "packed.tfrecord"
    packed.write_bytes(gzip.compress(plain.read_bytes())[:kept])
    reader, found = read([packed])
    assert len(found) == (5 if kept is None else len(found))
    assert len(reader.counts().incomplete) == (kept is not None)


def test_what_is_no_request_to_the_version_is_counted(tmp_path):
    images = images_of([4])
    path = tmp_path / "m.tfrecord"
    odd = log_of(images)
    odd.predict_log.request.inputs["other"].CopyFrom(tf.make_tensor_proto(1))
    bad = log_of(images)
    del bad.predict_log.request.inputs["images"]
    bad.predict_log.request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"cut"]))
    regress = prediction_log_pb2.PredictionLog()
    regress.regress_log.request.CopyFrom(regression_pb2.RegressionRequest())
    regress.regress_log.request.input.example_list.examples.append(as_example(images[0]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in (log_of(images), log_of(images, 8), log_of(images, name="m"), odd, bad):
            writer.write(log.SerializeToString())
        for record in (b"\xff\xff", b"", regress.SerializeToString()):
            writer.write(record)
    counts = read([path])[0].counts()
    assert (counts.requests, counts.of_others, counts.unreadable) == (3, 2, 3)
    assert (counts.images, counts.bad_images, counts.predictions) == (3, 1, 2)


def test_the_memory_does_not_grow_with_the_logs(monkeypatch):
    def requests(count: int) -> Iterator[request_logs.Request]:
        draws = np.random.default_rng(0)
        for _ in range(count):
            image = draws.integers(0, 256, 48, np.uint8).tobytes()
            yield request_logs.Request([image], np.array([3]))
            yield request_logs.Request([], np.array([4]))  # as an output filter leaves it

    def peak_bytes(count: int) -> int:
        reader = Reader(Served("cats", VERSION, CIFAR10.class_names, 4))
        monkeypatch.setattr(reader, "read", lambda files: requests(count))
        tracemalloc.start()
        facts = drift.count(reader, [])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert facts.labels == [0, 0, 0, count, count]
        return peak

    assert peak_bytes(20_000) < 1.2 * peak_bytes(2_000)


def test_logs_are_found_in_folders_and_by_pattern(tmp_path):
    names = ("a.tfrecord", "deeper/b.tfrecord.gz", "deeper/c.tfrecord.writing", "d.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(*paths: str) -> list[str]:
        files = request_logs.find([f"{tmp_path}/{path}" for path in paths])
        return [str(Path(file).relative_to(tmp_path)) for file in files]

    assert found("") == [*names[:3]]
    assert found("*.tfrecord", "deeper") == [*names[:3]]
    assert found("d.txt") == ["d.txt"]
    with pytest.raises(UnusableLogsError, match="There are no logs"):
        found("absent*")


def run(*arguments: str):
    return CliRunner().invoke(main, ["drift", *arguments])


def test_the_exit_code_says_whether_it_drifted(model_dir, tmp_path):
    write(tmp_path / "like.tfrecord", log_of(images_of(list(range(10)) * 20)))
    write(tmp_path / "cats.tfrecord", log_of(images_of([3] * 200)))
    write(tmp_path / "few.tfrecord", log_of(images_of([3] * 9)), log_of(images_of([3]), 8))
    where = ("--serving-dir", str(model_dir.parent), "--model", "colours")
    where += ("--output", str(tmp_path / "output"))
    like = run(str(tmp_path / "like.tfrecord"), *where)
    assert like.exit_code == 0, like.output
    assert "DRIFTED" not in like.output
    cats = run(str(tmp_path / "cats.tfrecord"), *where, "--json")
    assert cats.exit_code == 3, cats.output
    printed = json.loads(cats.output)
    assert "label" in printed["drifted"]
    assert printed == json.loads((tmp_path / "output/drift.json").read_text())
    assert "Drifted: predicted class" in (tmp_path / "output/drift.html").read_text()
    few = run(str(tmp_path / "few.tfrecord"), *where)
    assert few.exit_code == 4
    assert "9 images and 9 predictions of version 7; 100 are needed" in few.output
    assert "to other models or versions: 1" in few.output
    absent = run(str(tmp_path / "few.tfrecord"), *where, "--version", "8")
    assert absent.exit_code == 1
    assert "does not contain version 8; versions there: 7" in absent.output


def test_a_setting_that_it_does_not_read_is_refused(tmp_path):
    refused = run(str(tmp_path), "--set", "max_image_distance=0.2", "--set", "max_shrinkage=1")
    assert refused.exit_code == 2
    assert "--set takes only max_label_distance, max_image_distance here; max_shrinkage" in (
        " ".join(refused.output.split())
    )


def test_a_version_without_facts_is_named(models_dir, tmp_path):
    write(tmp_path / "like.tfrecord", log_of(images_of([0])))
    with pytest.raises(ValueError, match="Version 7 does not say what it was trained on"):
        drift.examine([str(tmp_path)], models_dir / "colours", LIMITS)
