"""Third-party clients, each with its own reading of the protocol."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tensorflow_serving.apis import classification_pb2, predict_pb2
from tfx.components.infra_validator import types
from tfx.components.infra_validator.model_server_clients import tensorflow_serving_client

from tests.serving.test_grpc_protocol import example_input, predict_request, spec

# A Python with `ovmsclient` installed. Its protocol buffers have the names of ours, so one
# process cannot hold both.
OVMSCLIENT_PYTHON = os.environ.get("OVMSCLIENT_PYTHON", "")


def test_tfx_finds_the_model_ready_and_sends_its_requests(server):
    client = tensorflow_serving_client.TensorFlowServingClient(server.grpc_target, "colours")
    assert client._GetServingStatus() == types.ModelServingStatus.READY
    client = tensorflow_serving_client.TensorFlowServingClient(
        server.grpc_target, "half_plus_two"
    )
    predict: predict_pb2.PredictRequest = predict_request({"x": [2.0]})
    classify = classification_pb2.ClassificationRequest(
        model_spec=spec("classify"), input=example_input(2)
    )
    client.SendRequests([predict, classify])


@pytest.fixture(scope="module")
def ovmsclient_python(tmp_path_factory) -> Path:
    """A Python that has ovmsclient: the one named, or a new environment."""
    if OVMSCLIENT_PYTHON:
        return Path(OVMSCLIENT_PYTHON)
    folder = tmp_path_factory.mktemp("ovmsclient")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "ovmsclient==2023.1", "setuptools<81"]
    if subprocess.run(install, capture_output=True).returncode:
        pytest.skip("ovmsclient cannot be installed here (no package index?)")
    return python


@pytest.mark.slow
def test_ovmsclient_reads_status_metadata_and_predictions(server, ovmsclient_python):
    script = textwrap.dedent(
        f"""
        import numpy as np
        import ovmsclient

        for client in (
            ovmsclient.make_grpc_client("{server.grpc_target}"),
            ovmsclient.make_http_client("{server.grpc_target.rsplit(":", 1)[0]}:"
                                        "{server.ready.rest_api_port}"),
        ):
            status = client.get_model_status(model_name="half_plus_two", model_version=1)
            assert status[1]["state"] == "AVAILABLE", status
            metadata = client.get_model_metadata(model_name="half_plus_two", model_version=1)
            assert "metadata" in metadata or metadata["inputs"]["x"]["shape"] == [-1, 1]
            x = np.array([[2.0], [5.0]], np.float32)
            y = client.predict(inputs={{"x": x}}, model_name="half_plus_two", model_version=1)
            assert y.tolist() == [[3.0], [4.5]], y
            image = np.full((2, 32, 32, 3), [240, 20, 20], np.uint8)
            found = client.predict(inputs={{"images": image}}, model_name="colours",
                                    model_version=7)
            assert found["class_ids"].tolist() == [0, 0], found
            try:
                client.predict(inputs={{"x": x}}, model_name="none")
            except ovmsclient.tfs_compat.base.errors.ModelNotFoundError:
                pass
            else:
                raise AssertionError("a model that is not there answered")
        print("as expected")
        """
    )
    done = subprocess.run(
        [ovmsclient_python, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "as expected\n", done.stderr
