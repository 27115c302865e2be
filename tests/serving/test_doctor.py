"""What `cifar doctor` finds in good folders and in bad ones."""

import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving.doctor import diagnose
from tests.conftest import CLASS_COLOURS
from tests.serving import saved_models
from tests.serving.test_client import encoded
from tests.serving.test_versions import warmup_records


def findings(report) -> dict[str, str]:
    return {check.question: check.finding for check in report.checks}


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """The base path of an image model with warm-up records for two signatures."""
    folder = tmp_path_factory.mktemp("doctor")
    pixels = predict_pb2.PredictRequest()
    pixels.inputs["images"].CopyFrom(tf.make_tensor_proto(np.zeros((3, 32, 32, 3), np.uint8)))
    files = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(signature_name="predict_image_bytes")
    )
    content = np.array([encoded(CLASS_COLOURS[0])] * 2, object)
    files.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(content))
    records = warmup_records(folder / "records", pixels, files)
    saved_models.write_colours(folder / "colours" / "7", records)
    return folder / "colours"


def test_good_model_is_healthy(colours):
    for folder in (colours, colours / "7"):
        report = diagnose(folder)
        assert report.is_healthy, report.lines()
        found = findings(report)
        assert found["loads"] == "colours version 7"
        assert found["warm-up"] == ("2 records replayed; none for classify, predict_examples")
        assert found["outputs are batch-first"] == "each has one row for each input row"


def test_table_shows_each_signature(colours):
    (default,) = [one for one in diagnose(colours).signatures if one.name == "serving_default"]
    assert default.method == "predict"
    assert default.inputs == {"images": "uint8 [n, 32, 32, 3]"}
    assert default.outputs["probabilities"] == "float [n, 10]"


def test_printed_requests_can_be_pasted(colours, server, tmp_path):
    (tmp_path / "FILE").write_bytes(encoded(CLASS_COLOURS[6]))
    requests = {line for line in diagnose(colours).requests if ":predict" in line}
    (files,) = [line for line in requests if "predict_image_bytes" in line]
    (pixels,) = [line for line in requests if "serving_default" in line]
    answers = [
        subprocess.run(
            line.replace("http://127.0.0.1:8501", server.rest_url),
            shell=True, cwd=tmp_path, capture_output=True, text=True, check=True,
        ).stdout
        for line in (files, pixels)
    ]  # fmt: skip
    assert '"classes": "frog"' in answers[0]
    assert '"predictions"' in answers[1]


def test_model_that_cannot_be_served_is_told_why(tmp_path):
    missing = diagnose(tmp_path / "none")
    assert not missing.is_healthy
    assert "there is no folder" in findings(missing)["layout"]
    empty = diagnose(tmp_path)
    assert "with it as --model_base_path, a server waits forever" in "\n".join(empty.lines())
    saved_models.write_half_plus(tmp_path / "m" / "latest", 2.0)
    named = diagnose(tmp_path / "m" / "latest")
    assert "latest is not a number" in findings(named)["layout"]
    broken = tmp_path / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"not a model")
    assert not diagnose(broken).is_healthy


def test_failing_warmup_and_scalar_outputs_are_found(tmp_path):
    bad = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(signature_name="no_such_signature")
    )
    records = warmup_records(tmp_path / "records", bad)
    saved_models.write_half_plus(tmp_path / "m" / "1", 2.0, records)
    found = findings(diagnose(tmp_path / "m"))
    assert "a server rejects the model: Serving signature key" in found["warm-up"]
    saved_models.write_echo(tmp_path / "echo" / "1")
    found = findings(diagnose(tmp_path / "echo"))
    assert "scalar: total is a scalar" in found["outputs fit REST"]
    assert "float16: same is DT_HALF, which JSON cannot represent" in found["outputs fit REST"]
