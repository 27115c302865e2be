"""One server for all tests that do not change it."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from serving.model_server.process import Ready, ServerProcess

# A tensorflow_model_server binary, or HOST:GRPC_PORT:REST_PORT of one that already serves
# what `python -m tests.serving.saved_models` writes. Unset: the server of this repository.
REFERENCE = os.environ.get("TENSORFLOW_MODEL_SERVER", "")


class Reference:
    """Another implementation of the protocol, to run the same tests against."""

    def __init__(self, host: str, grpc_port: int, rest_api_port: int) -> None:
        """Takes its addresses."""
        self.ready = Ready(host, grpc_port, rest_api_port, {})
        self.grpc_target = f"{host}:{grpc_port}"
        self.rest_url = f"http://{host}:{rest_api_port}"


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models that the shared server serves."""
    from tests.serving import saved_models  # imports TensorFlow, which many tests do not need

    folder = tmp_path_factory.mktemp("models")
    saved_models.write_all(folder)
    return folder


@pytest.fixture(scope="session")
def server(models_dir: Path) -> Iterator[ServerProcess | Reference]:
    """A server of half_plus_two (versions 1 and 2), echo and colours."""
    flags = (
        f"--model_config_file={models_dir / 'models.config'}",
        f"--monitoring_config_file={models_dir / 'monitoring.config'}",
        "--enable_grpc_healthcheck_service=true",
        # Labels of versions that are still to be loaded.
        "--allow_version_labels_for_unavailable_models=true",
    )
    if REFERENCE.count(":") == 2:
        host, grpc_port, rest_port = REFERENCE.split(":")
        yield Reference(host, int(grpc_port), int(rest_port))
    elif REFERENCE:
        yield from started_binary(flags)
    else:
        with ServerProcess(*flags) as process:
            yield process


def started_binary(flags: tuple[str, ...]) -> Iterator[Reference]:
    """Runs the named binary with the same flags until the tests are done."""
    reference = Reference("127.0.0.1", free_port(), free_port())
    ports = (
        f"--port={reference.ready.grpc_port}",
        f"--rest_api_port={reference.ready.rest_api_port}",
    )
    process = subprocess.Popen([REFERENCE, *ports, *flags])
    try:
        wait_until_available(reference.rest_url, "colours")
        yield reference
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    """Returns a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_available(
    rest_url: str, model: str, version: int | None = None, seconds: float = 30
) -> None:
    """Waits until a model, or one version of it, answers."""
    suffix = f"/versions/{version}" if version is not None else ""
    url = f"{rest_url}/v1/models/{model}{suffix}/metadata"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"{url} did not answer in {seconds} s")
