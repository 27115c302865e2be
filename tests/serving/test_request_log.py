"""Requests are logged as a model's logging_config says, and a full disk fails none."""

import time
from pathlib import Path

import grpc
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    inference_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.model_server import request_log
from serving.model_server.metrics import Metrics
from serving.model_server.model_configs import ModelConfig, configs_by_name
from serving.model_server.process import ServerProcess
from serving.model_server.request_log import Collector, RequestLog, RotatedFiles
from serving.model_server.status import ServingError
from tests.full_disk import files_of_at_most
from tests.serving import saved_models

LOGGING = """
    logging_config {{
      log_collector_config {{ type: "{type}" filename_prefix: "{prefix}" }}
      sampling_config {{ sampling_rate: {rate} }}
    }}
"""


def model_config(prefix, base="/m", type_: str = "tfrecord", rate: float = 1) -> ModelConfig:
    text = f'name: "m" base_path: "{base}" model_platform: "tensorflow"'
    logging = LOGGING.format(type=type_, prefix=prefix, rate=rate)
    return text_format.Parse(text + logging, ModelConfig())


def read(folder: Path, suffix: str = ".tfrecord") -> list[prediction_log_pb2.PredictionLog]:
    files = sorted(str(path) for path in folder.glob(f"*{suffix}"))
    records = tf.data.TFRecordDataset(files).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def test_requests_of_both_protocols_are_kept(tmp_path):
    saved_models.write_half_plus(tmp_path / "m" / "1", 2.0)
    config = tmp_path / "models.config"
    model = model_config(tmp_path / "log" / "m", tmp_path / "m")
    config.write_text(f"model_config_list {{ config {{ {model} }} }}")
    with ServerProcess(f"--model_config_file={config}") as server:
        url = f"{server.rest_url}/v1/models/m"
        assert requests.post(f"{url}:predict", json={"instances": [2.0]}, timeout=10).ok
        body = {"signature_name": "regress", "examples": [{"x": 2.0}]}
        assert requests.post(f"{url}:regress", json=body, timeout=10).ok
        assert not requests.post(f"{url}:predict", data="{", timeout=10).ok
        with grpc.insecure_channel(server.grpc_target) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            predict = predict_pb2.PredictRequest()
            predict.model_spec.name = "m"
            predict.inputs["x"].CopyFrom(tf.make_tensor_proto([[4.0]]))
            answered = stub.Predict(predict, timeout=10)
            several = inference_pb2.MultiInferenceRequest()
            task = several.tasks.add(method_name="tensorflow/serving/regress")
            task.model_spec.name, task.model_spec.signature_name = "m", "regress"
            example = several.input.example_list.examples.add()
            example.features.feature["x"].float_list.value.append(6.0)
            stub.MultiInference(several, timeout=10)
    by_rest, regressed, by_grpc, multi = read(tmp_path / "log")
    assert by_rest.log_metadata.model_spec.version.value == 1
    assert by_rest.log_metadata.sampling_config.sampling_rate == 1
    sent = by_rest.predict_log.request
    assert sent.model_spec.signature_name == "serving_default"
    assert tf.make_ndarray(sent.inputs["x"]).tolist() == [2.0]
    assert tf.make_ndarray(by_rest.predict_log.response.outputs["y"]).tolist() == [3.0]
    assert regressed.regress_log.response.result.regressions[0].value == 3.0
    assert by_grpc.predict_log.request == predict
    assert by_grpc.predict_log.response == answered
    assert multi.multi_inference_log.request == several


def test_a_share_of_requests_is_kept(tmp_path):
    log = RequestLog(Metrics())
    log.configure({"m": model_config(tmp_path / "m", rate=0.1)})
    kept = sum(log.wants("m") for _ in range(10_000))
    assert 800 < kept < 1200
    assert not log.wants("other")
    log.configure({})
    assert not log.wants("m")
    log.close()


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (
            model_config("/log", type_="kafka"),
            "Cannot find LogCollector::Factory for type: kafka",
        ),
        (model_config("log"), "A log collector's filename_prefix must be an absolute path"),
        (model_config("/log", rate=1.5), "sampling_rate must be between 0 and 1, got 1.5"),
    ],
    ids=["type", "prefix", "rate"],
)
def test_what_cannot_be_followed_is_refused(config, error):
    from tensorflow_serving.config import model_server_config_pb2

    models = model_server_config_pb2.ModelServerConfig()
    models.model_config_list.config.append(config)
    with pytest.raises(ServingError) as refused:
        configs_by_name(models, {})
    assert refused.value.message.startswith(error)


def test_files_are_rotated_and_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(request_log, "ROTATE_BYTES", 100)
    monkeypatch.setattr(request_log, "MAX_FILES", 3)
    files = RotatedFiles(tmp_path / "m")
    for i in range(6):
        files.write(bytes([i]) * 100)
        files.rotate_if_due()
    records = [
        record[0]
        for path in sorted(tmp_path.glob("*.tfrecord"))
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    assert records == [3, 4, 5]


@pytest.mark.parametrize("prefix", ["cifar10", "[m]*"])
def test_only_files_of_the_prefix_itself_are_counted_and_deleted(tmp_path, monkeypatch, prefix):
    monkeypatch.setattr(request_log, "ROTATE_BYTES", 1)
    monkeypatch.setattr(request_log, "MAX_FILES", 3)
    others = {f"{prefix}-canary-20260101T00000{i}-1-00001.tfrecord" for i in range(5)}
    others |= {
        f"{prefix}-canary-20260101T000005-1-00001.tfrecord.writing",
        f"{prefix}-a.tfrecord",
    }
    for name in others:
        (tmp_path / name).write_bytes(b"of another")
    files = RotatedFiles(tmp_path / prefix)
    for i in range(6):
        files.write(bytes([i]))
        files.rotate_if_due()
    there = {path.name for path in tmp_path.iterdir()}
    assert others < there
    own = sorted(name.removesuffix(".tfrecord")[-5:] for name in there - others)
    assert own == ["00004", "00005", "00006"]


def test_what_a_killed_server_left_is_taken_over_and_what_another_writes_is_not(tmp_path):
    mine, others = RotatedFiles(tmp_path / "m"), RotatedFiles(tmp_path / "m")
    others.write(b"of another")
    (tmp_path / "m-20260101T000000-1-00001.tfrecord.writing").write_bytes(b"torn")
    RotatedFiles(tmp_path / "m")
    assert [path.name for path in tmp_path.glob("*.tfrecord")] == [
        "m-20260101T000000-1-00001.tfrecord"
    ]
    assert len(list(tmp_path.glob("*.writing"))) == 1
    others.close()
    mine.close()


def test_a_disk_that_takes_nothing_fails_no_request(tmp_path):
    (tmp_path / "file").write_text("in the way")
    log = RequestLog(Metrics())
    log.configure({"m": model_config(tmp_path / "file" / "m")})
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "m"
    for _ in range(20):
        assert log.wants("m")
        log.add("regress", request.model_spec, request, regression_pb2.RegressionResponse())
    log.close()


def test_a_full_disk_costs_no_earlier_log_and_is_tried_once_a_minute(tmp_path, caplog):
    earlier = {f"m-20260101T000000-1-{i:05}.tfrecord" for i in range(request_log.MAX_FILES)}
    for name in earlier:
        (tmp_path / name).write_bytes(b"of an earlier day")
    collector = Collector(str(tmp_path / "m"))
    with files_of_at_most(1000):
        for _ in range(150):
            assert collector.add(b"a" * 2000)
        collector.close()
    assert {path.name for path in tmp_path.iterdir()} == earlier
    assert caplog.text.count("Cannot log requests") == 1


def test_requests_are_logged_again_when_the_disk_has_room(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(request_log, "PAUSE_SECONDS", 0)
    collector = Collector(str(tmp_path / "m"))
    with files_of_at_most(1000):
        assert collector.add(b"before" * 10) and collector.add(b"full" * 1000)
        while "Cannot log requests" not in caplog.text:
            time.sleep(0.01)
    assert collector.add(b"after")
    collector.close()
    first, second = sorted(tmp_path.iterdir())
    assert next(tf.data.TFRecordDataset(str(first)).as_numpy_iterator()) == b"before" * 10
    assert list(tf.data.TFRecordDataset(str(second)).as_numpy_iterator()) == [b"after"]


def test_a_writer_that_falls_behind_costs_records_and_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(request_log, "MAX_WAITING_BYTES", 1000)
    monkeypatch.setattr(RotatedFiles, "write", lambda self, record: time.sleep(0.2))
    collector = Collector(str(tmp_path / "m"))
    kept = [collector.add(b"a" * 400) for _ in range(10)]
    assert kept.count(True) <= 3
    collector.close()
