"""Every flag of tensorflow_model_server, and its effect here."""

import contextlib
import dataclasses
import re
import subprocess
import sys

import grpc
import pytest
import requests
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

from serving.model_server import command_line, protos
from serving.model_server import config as configs
from serving.model_server.command_line import parse_command_line
from serving.model_server.flags import ServerConfig
from serving.model_server.process import ServerProcess, ServerStartError
from tests.serving import saved_models

# All flags that main.cc of TensorFlow Serving 2.15.1 defines.
FLAGS = re.findall(
    r"\w+",
    """
    port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
    rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
    batching_parameters_file enable_per_model_batching_parameters model_config_file
    model_config_file_poll_wait_seconds model_name model_base_path num_load_threads
    num_unload_threads max_num_load_retries load_retry_interval_micros
    file_system_poll_wait_seconds flush_filesystem_caches tensorflow_session_parallelism
    tensorflow_session_config_file tensorflow_intra_op_parallelism
    tensorflow_inter_op_parallelism use_alts_credentials ssl_config_file platform_config_file
    per_process_gpu_memory_fraction saved_model_tags grpc_channel_arguments grpc_max_threads
    enable_model_warmup num_request_iterations_for_warmup version monitoring_config_file
    remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
    num_tflite_interpreters_per_pool enable_signature_method_name_check
    xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler
    thread_pool_factory_config_file mixed_precision skip_initialize_tpu
    enable_grpc_healthcheck_service enable_serialization_as_tensor_content
    """,
)


def parsed(*flags: str) -> ServerConfig:
    return parse_command_line(["--model_base_path=/m", *flags])


def test_every_flag_of_the_binary_is_known():
    known = {field.name for field in dataclasses.fields(ServerConfig)}
    assert set(FLAGS) <= known


def test_a_flag_without_effect_says_so_once():
    (warning,) = parsed("--num_tflite_pools=4").without_effect()
    assert warning == (
        "--num_tflite_pools has no effect here: "
        "models run in TensorFlow, not in TensorFlow Lite."
    )
    assert not parsed("--enable_batching").without_effect()


def test_a_flag_nobody_knows_is_told_with_the_usage_and_ignored(capsys):
    """Source: main.cc prints `unknown argument: …` and the usage, and continues."""
    assert parsed("--no_such_flag=3", "--port=7").port == 7
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["unknown argument: --no_such_flag=3", "usage: cifar serve", "Flags:"]
    assert len(lines) == 3 + len(dataclasses.fields(ServerConfig))


def test_usage_has_a_line_for_each_flag_laid_out_as_the_binary_s():
    """Source: command_line_flags.cc of TensorFlow, Flags::Usage: flag, type, text."""
    lines = {line.split("=")[0]: line.split("\t") for line in command_line.usage().splitlines()}
    assert lines["\t--port"][1:3] == ["--port=8500".ljust(33), "int32"]
    assert lines["\t--model_name"][1] == '--model_name="default"'.ljust(33)
    assert lines["\t--enable_batching"][1:3] == ["--enable_batching=false".ljust(33), "bool"]
    assert lines["\t--per_process_gpu_memory_fraction"][2] == "float"
    assert all(text for _, *_, text in list(lines.values())[2:])


@pytest.mark.parametrize("flag", ["--port=many", "--enable_batching=maybe"])
def test_a_malformed_value_ends_the_server_with_usage_and_255(capsys, flag):
    """Source: main.cc: Flags::Parse fails, then `return -1`."""
    with pytest.raises(SystemExit) as end:
        parsed(flag)
    assert end.value.code == 255
    message, usage, *_ = capsys.readouterr().err.splitlines()
    assert flag.split("=")[0] in message
    assert usage == "usage: cifar serve"


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--batching_parameters_file=/b",), "without --enable_batching"),
        (("--mixed_precision=float8",), "--mixed_precision must be bfloat16"),
        (
            (
                "--tensorflow_session_parallelism=2",
                "--tensorflow_intra_op_parallelism=2",
                "--tensorflow_inter_op_parallelism=2",
            ),
            "sets both kinds of threads",
        ),
    ],
    ids=range(3),
)
def test_what_contradicts_itself_is_refused(capsys, flags, error):
    """Source: main.cc: `Failed to start server. Error: …`, then `return -1`."""
    with pytest.raises(SystemExit) as end:
        parsed(*flags)
    assert end.value.code == 255
    message = capsys.readouterr().err
    assert message.startswith("Failed to start server. Error: ")
    assert error in message


@pytest.mark.parametrize(
    ("flags", "intra_and_inter"),
    [
        (("--tensorflow_session_parallelism=3",), (3, 3)),
        (("--tensorflow_session_parallelism=3", "--tensorflow_intra_op_parallelism=2"), (2, 0)),
        (
            ("--tensorflow_session_parallelism=3", "--tensorflow_intra_op_parallelism=-1"),
            (3, 3),
        ),
        (
            ("--tensorflow_intra_op_parallelism=2", "--tensorflow_inter_op_parallelism=5"),
            (2, 5),
        ),
    ],
    ids=range(4),
)
def test_session_parallelism_gives_way_to_either_kind_of_threads(flags, intra_and_inter):
    """Source: server.cc, BuildAndStart; only values above 0 count."""
    session = configs.session_config(parsed(*flags))
    threads = session.intra_op_parallelism_threads, session.inter_op_parallelism_threads
    assert threads == intra_and_inter


def test_flags_that_a_platform_config_replaces_may_contradict_each_other():
    """Source: server.cc checks them only without a platform_config_file."""
    assert parsed("--platform_config_file=/p", "--batching_parameters_file=/b")


def test_version_is_printed_without_a_model():
    command = [sys.executable, "-m", "serving.model_server", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("TensorFlow ModelServer: protocol of 2.15.1")
    assert "TensorFlow Library: 2.15.1" in done.stdout


def test_equal_ports_leave_grpc_alone():
    """Source: server.cc: “Skipped exporting HTTP/REST API”."""
    assert not parsed("--port=8500", "--rest_api_port=8500").serves_rest
    assert parsed("--port=0", "--rest_api_port=0").serves_rest


def test_warmup_iterations_of_zero_are_those_of_the_default():
    flags = ("--num_request_iterations_for_warmup=0",)
    assert configs.read_runtime(parsed(*flags)).warmup_iterations == 1
    assert configs.read_runtime(parsed("--enable_model_warmup=false")).warmup_iterations == 0


def test_session_config_file_gives_way_to_flags(tmp_path):
    file = tmp_path / "session.config"
    file.write_text("intra_op_parallelism_threads: 3 allow_soft_placement: true")
    flag = f"--tensorflow_session_config_file={file}"
    session = configs.session_config(parsed(flag, "--mixed_precision=bfloat16"))
    assert (session.intra_op_parallelism_threads, session.allow_soft_placement) == (3, True)
    assert session.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 == 1
    session = configs.session_config(parsed(flag, "--tensorflow_intra_op_parallelism=5"))
    assert session.intra_op_parallelism_threads == 5


def test_platform_config_file_takes_the_place_of_flags(tmp_path):
    file = tmp_path / "platform.config"
    file.write_text(
        """
        platform_configs { key: "tensorflow" value { source_adapter_config {
          [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
            legacy_config {
              session_config { inter_op_parallelism_threads: 2 }
              batching_parameters { max_batch_size { value: 5 } }
              saved_model_tags: "gpu"
              enable_model_warmup: true
            } } } } }
        """
    )
    runtime = configs.read_runtime(parsed(f"--platform_config_file={file}"))
    assert runtime.session.inter_op_parallelism_threads == 2
    assert runtime.batching.max_batch_size == 5
    assert (runtime.tags, runtime.warmup_iterations) == (("gpu",), 1)
    file.write_text("")
    with pytest.raises(ValueError, match="for the platform “tensorflow”"):
        configs.read_runtime(parsed(f"--platform_config_file={file}"))


def test_a_file_that_is_no_such_text_is_named_as_the_binary_names_it(tmp_path):
    """Source: tensorflow_model_server_test.py, testBadModelConfig."""
    file = tmp_path / "models.config"
    file.write_text("improperly formatted file")
    with pytest.raises(ServerStartError) as error, ServerProcess(f"--model_config_file={file}"):
        pass
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in str(error.value)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Flags for a server of one model."""
    base = tmp_path_factory.mktemp("flags") / "m"
    saved_models.write_half_plus(base / "1", 2.0)
    return "--model_name=m", f"--model_base_path={base}"


def metadata(channel: grpc.Channel) -> int:
    """Returns the version that answers on a channel."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    return stub.GetModelMetadata(request, timeout=10).model_spec.version.value


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """PEM files: a CA, and the certificates it signed for a server and a client."""
    folder = tmp_path_factory.mktemp("pem")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("server", "client"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-extfile", "san", "-out", f"{name}.pem"),
        )
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_grpc_speaks_tls_and_asks_for_certificates(model, certificates, tmp_path):
    """Source: server.cc, BuildServerCredentialsFromSSLConfigFile; REST is unchanged."""
    ssl = protos.SSLConfig(
        server_key=certificates["server.key"].decode(),
        server_cert=certificates["server.pem"].decode(),
        custom_ca=certificates["ca.pem"].decode(),
        client_verify=True,
    )
    file = tmp_path / "ssl.config"
    file.write_text(str(ssl))
    known = grpc.ssl_channel_credentials(
        certificates["ca.pem"], certificates["client.key"], certificates["client.pem"]
    )
    unknown = grpc.ssl_channel_credentials(certificates["ca.pem"])
    with ServerProcess(*model, f"--ssl_config_file={file}") as server:
        with grpc.secure_channel(server.grpc_target, known) as channel:
            assert metadata(channel) == 1
        for channel in (
            grpc.secure_channel(server.grpc_target, unknown),
            grpc.insecure_channel(server.grpc_target),
        ):
            with channel, pytest.raises(grpc.RpcError) as error:
                metadata(channel)
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert requests.get(f"{server.rest_url}/v1/models/m", timeout=10).ok


def test_a_certificate_is_needed_whole(tmp_path):
    file = tmp_path / "ssl.config"
    file.write_text('server_key: "key"')
    server = ServerProcess("--model_base_path=/m", f"--ssl_config_file={file}")
    with pytest.raises(ServerStartError) as error, server:
        pass
    assert error.value.reason == f"{file} needs a server_key and a server_cert in PEM."


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """A server with a Unix socket, reflection and the profiler."""
    path = tmp_path_factory.mktemp("socket") / "grpc.sock"
    flags = (f"--grpc_socket_path={path}", "--num_tflite_pools=3")
    with ServerProcess(*model, *flags) as server:
        yield server, path


def test_grpc_listens_on_a_unix_socket_too(served):
    """Source: server.cc, grpc_socket_path."""
    server, path = served
    for target in (f"unix:{path}", server.grpc_target):
        with grpc.insecure_channel(target) as channel:
            assert metadata(channel) == 1


def test_a_later_server_takes_a_unix_socket_over(model, tmp_path):
    """As TensorFlow Serving's own suite does with all of its servers."""
    path = tmp_path / "grpc.sock"
    flag = f"--grpc_socket_path={path}"
    with ServerProcess(*model, flag) as first, ServerProcess(*model, flag) as second:
        with grpc.insecure_channel(f"unix:{path}") as channel:
            assert metadata(channel) == 1
        first.kill()
        with grpc.insecure_channel(f"unix:{path}") as channel:
            assert metadata(channel) == 1
        assert second.stop() == 0
    assert not path.exists()


def test_warnings_of_flags_are_logged(served):
    server, _ = served
    assert server.log().count("--num_tflite_pools has no effect here") == 1


def test_services_can_be_listed_and_described(served):
    """As grpcurl does."""
    server, _ = served
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(
                file_containing_symbol="tensorflow.serving.PredictionService"
            ),
        ]
        listed, described = stub.ServerReflectionInfo(iter(asked), timeout=10)
    names = {service.name for service in listed.list_services_response.service}
    assert {
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "grpc.reflection.v1alpha.ServerReflection",
    } <= names
    assert b"MultiInference" in b"".join(
        described.file_descriptor_response.file_descriptor_proto
    )


def test_a_profile_is_captured_while_the_server_works(served, tmp_path):
    """With TensorFlow's own client, as TensorBoard calls it."""
    server, _ = served
    code = (
        "import sys, tensorflow as tf\n"
        "tf.profiler.experimental.client.trace(sys.argv[1], sys.argv[2], 1500)\n"
    )
    command = [sys.executable, "-c", code, f"grpc://{server.grpc_target}", str(tmp_path)]
    profiler = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    url = f"{server.rest_url}/v1/models/m:predict"
    while profiler.poll() is None:
        with contextlib.suppress(requests.RequestException):
            assert requests.post(url, json={"inputs": 2.0}, timeout=5).ok
    assert profiler.returncode == 0, profiler.stderr.read()[-2000:]
    (trace,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert b"SessionRun" in trace.read_bytes() or b"ExecutorState" in trace.read_bytes()


def test_the_interface_may_be_one_of_ipv6(model):
    with ServerProcess(*model, "--host=::1") as server:
        target = f"[::1]:{server.ready.grpc_port}"
        with grpc.insecure_channel(target) as channel:
            assert metadata(channel) == 1
        url = f"http://[::1]:{server.ready.rest_api_port}/v1/models/m"
        assert requests.get(url, timeout=10).ok
