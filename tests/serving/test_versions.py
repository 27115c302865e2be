"""Versions are loaded, unloaded and selected while requests continue."""

import contextlib
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving import model_registry, rollback, version_store
from serving.model_registry import Provenance
from serving.model_server import warmup
from serving.model_server.process import ServerProcess, ServerStartError
from serving.model_server.servable import Servable
from serving.model_server.served_model import LoadPolicy, ModelConfig, ServedModel, State
from serving.model_server.status import Code, ServingError
from tests.serving import saved_models
from tests.shared_server import free_port, wait_until_available

POLL = "--file_system_poll_wait_seconds=0.1"
QUICK = (POLL, "--max_num_load_retries=0")


def answer(server: ServerProcess, model: str = "m", version: str = "") -> float | str:
    """Returns the model's answer for 2.0, or the error."""
    url = f"{server.rest_url}/v1/models/{model}{version}:predict"
    reply = requests.post(url, data='{"inputs": 2.0}', timeout=10).json()
    return reply["outputs"] if "outputs" in reply else reply["error"]


def states(server: ServerProcess, model: str = "m") -> dict[str, str]:
    reply = requests.get(f"{server.rest_url}/v1/models/{model}", timeout=10).json()
    return {v["version"]: v["state"] for v in reply.get("model_version_status", [])}


def wait_for(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def warmup_records(path, *requests_: predict_pb2.PredictRequest) -> bytes:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests_:
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
    return path.read_bytes()


def test_a_new_version_replaces_the_old_one_and_a_rollback_brings_it_back(tmp_path):
    base = tmp_path / "m"
    saved_models.write_half_plus(base / "1", 2.0)
    with ServerProcess("--model_name=m", f"--model_base_path={base}", *QUICK) as server:
        assert answer(server) == 3.0
        saved_models.write_half_plus(base / "2", 3.0)
        wait_for(lambda: states(server) == {"2": "AVAILABLE", "1": "END"})
        assert answer(server) == 4.0
        assert answer(server, version="/versions/1") == (
            "Servable not found for request: Specific(m, 1)"
        )
        (base / "2").rename(tmp_path / "withdrawn")
        wait_for(lambda: states(server) == {"2": "END", "1": "AVAILABLE"})
        assert answer(server) == 3.0


def test_a_rollback_fails_no_request(tmp_path):
    base, pushed = tmp_path / "m", []
    for offset in (2.0, 3.0):
        model = tmp_path / f"model-{offset}"
        saved_models.write_half_plus(model, offset)
        provenance = Provenance(str(offset), checksums=model_registry.checksums(model))
        pushed.append(version_store.push(model, base, provenance).name)
    with ServerProcess("--model_name=m", f"--model_base_path={base}", *QUICK) as server:
        assert answer(server) == 4.0
        answers, stop = [], threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answers.append(answer(server))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            new = str(rollback.roll_back(base).version)
            wait_for(lambda: states(server) == {new: "AVAILABLE", pushed[1]: "END"})
            wait_for(lambda: answers[-1] == 3.0)
        finally:
            stop.set()
            asking.join()
    assert answers == sorted(answers, reverse=True)  # 4.0, then 3.0; an error would not sort
    assert set(answers) == {4.0, 3.0}


def test_a_broken_version_leaves_the_old_one_in_place(tmp_path):
    base = tmp_path / "m"
    saved_models.write_half_plus(base / "1", 2.0)
    with ServerProcess("--model_name=m", f"--model_base_path={base}", *QUICK) as server:
        (base / "2").mkdir()
        (base / "2" / "saved_model.pb").write_bytes(b"not a model")
        wait_for(lambda: states(server).get("2") == "END")
        url = f"{server.rest_url}/v1/models/m/versions/2"
        (status,) = requests.get(url, timeout=10).json()["model_version_status"]
        assert status["status"]["error_code"] != "OK"
        assert answer(server) == 3.0
        saved_models.write_half_plus(base / "3", 3.0)
        wait_for(lambda: answer(server) == 4.0)


def test_warmup_runs_before_a_version_is_available(tmp_path):
    good = predict_pb2.PredictRequest()
    good.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    bad = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(signature_name="no_such_signature")
    )
    base = tmp_path / "m"
    file = tmp_path / "records"
    saved_models.write_half_plus(base / "1", 2.0, warmup_records(file, good, good))
    saved_models.write_half_plus(base / "2", 3.0, warmup_records(file, good, bad))
    saved_models.write_half_plus(base / "3", 3.0, b"this is text, not records")
    saved_models.write_half_plus(base / "4", 3.0, warmup_records(file, *[good] * 1001))
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{base}" '
        "model_platform: 'tensorflow' model_version_policy { all {} } } }"
    )
    with ServerProcess(f"--model_config_file={config}", *QUICK) as server:
        assert server.ready.models["m"] == {
            "4": "END",
            "3": "END",
            "2": "END",
            "1": "AVAILABLE",
        }
        versions = requests.get(f"{server.rest_url}/v1/models/m", timeout=10).json()
        errors = [v["status"]["error_message"] for v in versions["model_version_status"]]
        assert errors[0].startswith("Number of warmup records exceeds the maximum (1000)")
        assert "verify your warmup data is in TFRecord format" in errors[1]
        assert errors[2] == 'Serving signature key "no_such_signature" not found.'
        assert "Replayed 2 warm-up records of m version 1" in server.log()


def test_a_warmup_record_that_is_no_log_is_an_invalid_argument(tmp_path):
    """Source: saved_model_warmup_util.cc of TensorFlow Serving."""
    file = tmp_path / "records"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(b"\xff\xff")
    with pytest.raises(ServingError, match="Failed to parse warmup record from") as error:
        warmup.read_records(file)
    assert error.value.code == Code.INVALID_ARGUMENT


def test_no_request_fails_or_mixes_versions_while_they_are_swapped(tmp_path):
    """Version v adds v, so an answer must match the version in its response."""
    base = tmp_path / "m"
    saved_models.write_half_plus(base / "1", 1.0)
    with ServerProcess("--model_name=m", f"--model_base_path={base}", *QUICK) as server:
        problems: list[str] = []
        answers = 0
        is_over = threading.Event()

        def ask() -> None:
            nonlocal answers
            with grpc.insecure_channel(server.grpc_target) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                request = predict_pb2.PredictRequest(
                    model_spec=model_pb2.ModelSpec(name="m", signature_name="two_outputs")
                )
                request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([2])))
                while not is_over.is_set():
                    try:
                        response = stub.Predict(request, timeout=10)
                    except grpc.RpcError as error:
                        problems.append(str(error))
                        continue
                    values = [response.outputs[n].float_val[0] for n in ("y", "y2")]
                    version = response.model_spec.version.value
                    if values != [1 + version, 2 + version]:
                        problems.append(f"{values} from version {version}")
                    answers += 1

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        for version in range(2, 7):
            saved_models.write_half_plus(base / str(version), float(version))
            wait_until_available(server.rest_url, "m", version)
        is_over.set()
        for client in clients:
            client.join()
        assert not problems
        assert answers > 100
        wait_for(lambda: list(states(server).values()).count("END") == 5)


def test_sigterm_lets_requests_at_work_finish(tmp_path):
    base = tmp_path / "m"
    saved_models.write_half_plus(base / "1", 2.0)
    # Batches wait half a second, so requests are in progress when the signal comes.
    batching = tmp_path / "batching.config"
    batching.write_text("batch_timeout_micros { value: 500000 }")
    flags = ("--enable_batching", f"--batching_parameters_file={batching}")
    with ServerProcess("--model_name=m", f"--model_base_path={base}", *flags) as server:
        answers: list[float | str] = []

        def ask_by_grpc() -> None:
            with grpc.insecure_channel(server.grpc_target) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                request = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name="m"))
                request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([2])))
                response = stub.Predict(request, timeout=10)
                answers.append(response.outputs["y"].float_val[0])

        def ask_by_rest() -> None:
            url = f"{server.rest_url}/v1/models/m:predict"
            reply = requests.post(url, data='{"inputs": [2.0]}', timeout=10)
            answers.append(reply.json()["outputs"][0])

        clients = [
            threading.Thread(target=ask) for ask in (ask_by_grpc, ask_by_rest) for _ in "ab"
        ]
        for client in clients:
            client.start()
        time.sleep(0.25)
        assert not answers
        assert server.stop() == 0
        for client in clients:
            client.join()
        assert answers == [3.0] * 4
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{server.rest_url}/v1/models/m", timeout=10)


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    """A folder with versions 1 and 2 of model `a`, and version 1 of model `b`."""
    folder = tmp_path_factory.mktemp("two_models")
    saved_models.write_half_plus(folder / "a" / "1", 2.0)
    saved_models.write_half_plus(folder / "a" / "2", 3.0)
    saved_models.write_half_plus(folder / "b" / "1", 10.0)
    return folder


def models_text(folder, *names: str, extra: str = "") -> str:
    configs = (
        f'config {{ name: "{name}" base_path: "{folder / name}" '
        f'model_platform: "tensorflow" {extra} }}'
        for name in names
    )
    return f"model_config_list {{ {' '.join(configs)} }}"


def test_reload_request_replaces_models_and_moves_labels(two_models):
    first = ("--model_name=a", f"--model_base_path={two_models / 'a'}")
    both_versions = "model_version_policy { all {} }"
    with (
        ServerProcess(*first, *QUICK) as server,
        grpc.insecure_channel(server.grpc_target) as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        def reload(text: str) -> str:
            request = model_management_pb2.ReloadConfigRequest()
            text_format.Parse(text, request.config)
            try:
                response = stub.HandleReloadConfigRequest(request, timeout=20)
            except grpc.RpcError as error:
                return error.details()
            assert response.status.error_code == 0
            return ""

        assert not reload(models_text(two_models, "a", extra=both_versions))
        wait_for(lambda: states(server, "a") == {"2": "AVAILABLE", "1": "AVAILABLE"})
        labelled = both_versions + ' version_labels { key: "stable" value: 1 }'
        assert not reload(models_text(two_models, "a", extra=labelled))
        assert answer(server, "a", "/labels/stable") == 3.0
        moved = both_versions + ' version_labels { key: "stable" value: 2 }'
        assert not reload(models_text(two_models, "a", extra=moved))
        assert answer(server, "a", "/labels/stable") == 4.0
        wrong = both_versions + ' version_labels { key: "stable" value: 9 }'
        assert reload(models_text(two_models, "a", extra=wrong)) == (
            "Request to assign label to version 9 of model a, which is not currently "
            "available for inference"
        )
        assert not reload(models_text(two_models, "b"))
        assert answer(server, "b") == 11.0
        wait_for(lambda: states(server, "a") == {"2": "END", "1": "END"})
        assert answer(server, "a") == "Servable not found for request: Latest(a)"
        assert reload(models_text(two_models, "b", "b")) == (
            "Illegal to list model b multiple times in config list"
        )


@pytest.fixture(scope="module")
def server_of_a(two_models):
    """A server of model `a`, and a function that reloads its config: "" or the error."""
    flags = ("--model_name=a", f"--model_base_path={two_models / 'a'}", *QUICK)
    with (
        ServerProcess(*flags) as server,
        grpc.insecure_channel(server.grpc_target) as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        def reload(text: str, seconds: float = 20, metrics: tuple[str, ...] = ()):
            request = model_management_pb2.ReloadConfigRequest(metric_names=metrics)
            text_format.Parse(text, request.config)
            try:
                return stub.HandleReloadConfigRequest(request, timeout=seconds)
            except grpc.RpcError as error:
                return f"{error.code().name}: {error.details()}"

        yield server, reload


def test_a_wrong_config_changes_nothing(server_of_a, two_models):
    """Source: server_core.cc, ReloadConfig: configs and labels are checked first."""
    server, reload = server_of_a
    label = 'version_labels { key: "stable" value: 9 }'
    both = models_text(two_models, "a", "b", extra=label)
    assert "which is not currently available for inference" in reload(both)
    relative = 'model_config_list { config { name: "b" base_path: "b" } }'
    assert "Expected model b to have an absolute path or URI; got base_path()=b" in reload(
        relative
    )
    caffe = models_text(two_models, "a").replace('platform: "tensorflow"', 'platform: "caffe"')
    assert "Illegal to change a model's platform. For model a platform was" in reload(caffe)
    kinds = models_text(two_models, "b", extra="model_type: TENSORFLOW")
    assert "setting both ModelServerConfig::model_type (deprecated)" in reload(kinds)
    none = models_text(two_models, "b").replace('model_platform: "tensorflow"', "")
    assert "setting neither ModelServerConfig::model_type (deprecated)" in reload(none)
    assert states(server, "a") == {"2": "AVAILABLE"}
    assert states(server, "b") == {}


def test_a_new_model_that_cannot_load_is_named(server_of_a, two_models):
    _, reload = server_of_a
    (two_models / "bad" / "1").mkdir(parents=True)
    assert reload(models_text(two_models, "a", "bad")).startswith(
        "UNKNOWN: 1 model(s) did not become available: {{{name: bad version: 1} due to error: "
    )
    waited_for = reload(models_text(two_models, "a", "missing"), seconds=0.5)
    assert waited_for.startswith("DEADLINE_EXCEEDED")
    assert reload(models_text(two_models, "a")).status.error_code == 0


def test_a_reload_tells_how_metrics_grew(server_of_a, two_models):
    """Source: model_service_impl.cc, RecordMetricsIncrease."""
    _, reload = server_of_a
    names = ("/tensorflow/serving/request_count", "/no/such/metric")
    response = reload(models_text(two_models, "a"), metrics=names)
    assert {m.name: m.int64_value_increase for m in response.metric} == dict.fromkeys(names, 0)


def test_a_model_removed_while_it_loads_is_unloaded(tmp_path):
    saved_models.write_half_plus(tmp_path / "1", 2.0)
    is_assigned = threading.Event()

    def load(name, number, path):
        servable = Servable(path, name, number)
        is_assigned.wait()
        model.remove()
        return servable

    config = ModelConfig(name="m", base_path=str(tmp_path))
    model = ServedModel(config, load, LoadPolicy(poll_seconds=0.1))
    is_assigned.set()
    wait_for(lambda: [version.state for version in model.status(None)] == [State.END])


def test_labels_of_the_first_config_need_a_flag(two_models, tmp_path):
    """Source: server_core.cc, UpdateModelVersionLabelMap: nothing is loaded yet."""
    config = tmp_path / "models.config"
    extra = 'version_labels { key: "stable" value: 2 }'
    config.write_text(models_text(two_models, "a", extra=extra))
    server = ServerProcess(f"--model_config_file={config}", *QUICK)
    with pytest.raises(ServerStartError, match="not currently available"), server:
        pass
    flag = "--allow_version_labels_for_unavailable_models"
    with ServerProcess(f"--model_config_file={config}", flag, *QUICK) as server:
        assert answer(server, "a", "/labels/stable") == 4.0


def test_model_config_file_is_read_again(two_models, tmp_path):
    config = tmp_path / "models.config"
    config.write_text(models_text(two_models, "a"))
    flags = (f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=0.1")
    with ServerProcess(*flags, *QUICK) as server:
        assert answer(server, "a") == 4.0
        config.write_text("half written {")
        wait_for(lambda: "Keeping the current model config" in server.log())
        assert answer(server, "a") == 4.0
        config.write_text(models_text(two_models, "a", "b"))
        wait_for(lambda: answer(server, "b") == 11.0)


def test_a_config_may_not_turn_into_another_kind(two_models, tmp_path):
    """Source: server_core_test.cc, IllegalReconfiguration…; server_core.cc, ReloadConfig."""
    config = tmp_path / "models.config"
    config.write_text("# no models yet")
    flags = (f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=0.1")
    with ServerProcess(*flags, *QUICK) as server:
        assert answer(server, "a") == "Servable not found for request: Latest(a)"
        config.write_text(models_text(two_models, "a"))
        wait_for(lambda: answer(server, "a") == 4.0)
        for number, text in enumerate(("custom_model_config {}", ""), 1):
            config.write_text(text)
            wait_for(lambda n=number: server.log().count("Cannot transition to") >= n)
            assert answer(server, "a") == 4.0
    config.write_text("custom_model_config {}")
    server = ServerProcess(*flags)
    with pytest.raises(ServerStartError) as error, server:
        pass
    assert error.value.reason == "custom_model_config is not supported."


@contextlib.contextmanager
def starting(*flags: str):
    """Starts a server beside the test; yields its process and its ports."""
    ports = free_port(), free_port()
    given = (f"--port={ports[0]}", f"--rest_api_port={ports[1]}", *flags)
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.model_server", *given],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield process, ports
    finally:
        process.terminate()
        process.wait(30)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_ports_open_when_the_first_model_is_there(tmp_path):
    """Source: server.cc: ServerCore::Create waits for the models, then gRPC is started."""
    flags = ("--model_name=m", f"--model_base_path={tmp_path / 'm'}", *QUICK)
    with starting(*flags) as (process, ports):
        for line in process.stdout:
            if "Could not find base path" in line:
                break
        assert not any(map(is_open, ports))
        assert process.poll() is None
        saved_models.write_half_plus(tmp_path / "m" / "1", 2.0)
        wait_for(lambda: all(map(is_open, ports)))
        reply = requests.post(
            f"http://127.0.0.1:{ports[1]}/v1/models/m:predict", json={"inputs": 2.0}, timeout=5
        )
        assert reply.json() == {"outputs": 3.0}


def test_sigterm_ends_a_server_that_waits(tmp_path):
    flags = ("--model_name=m", f"--model_base_path={tmp_path / 'm'}", *QUICK)
    with starting(*flags) as (process, _):
        for line in process.stdout:
            if "Could not find base path" in line:
                break
        process.terminate()
        assert process.wait(20) == 0


def test_a_first_model_that_cannot_load_ends_the_server(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    retries = ("--max_num_load_retries=2", "--load_retry_interval_micros=100000", POLL)
    server = ServerProcess("--model_name=m", f"--model_base_path={tmp_path / 'm'}", *retries)
    with pytest.raises(ServerStartError) as error, server:
        pass
    assert error.value.reason.startswith("1 model(s) did not become available: {{{name: m ver")
    assert "(exit code 255)" in str(error.value)
    assert "attempt 3 of 3" in str(error.value)


def test_a_load_is_tried_again(tmp_path):
    base = tmp_path / "m"
    (base / "1").mkdir(parents=True)
    retry = ("--max_num_load_retries=50", "--load_retry_interval_micros=100000", POLL)
    flags = ("--model_name=m", f"--model_base_path={base}", *retry)
    with starting(*flags) as (process, ports):
        for line in process.stdout:
            if "failed (attempt 2 of 51)" in line:
                break
        assert not any(map(is_open, ports))
        saved_models.write_half_plus(tmp_path / "good" / "1", 2.0)
        for part in (tmp_path / "good" / "1").iterdir():
            part.rename(base / "1" / part.name)
        wait_for(lambda: all(map(is_open, ports)))
