"""Runs the server in a separate process, for tests, benchmarks and the serving check."""

import dataclasses
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from contract.child_process import bound_to_parent

START_SECONDS = 60.0
STOP_SECONDS = 40.0
FAILURE = "Failed to start server. Error: "


@dataclasses.dataclass(frozen=True)
class Ready:
    """The server's message when it is ready."""

    host: str
    grpc_port: int
    rest_api_port: int
    models: dict[str, dict[str, str]]  # version states by model and version


class ServerStartError(RuntimeError):
    """The server ended before it was ready, or was not ready in time.

    Attributes:
        reason: The server's own error message, on one line.
    """

    def __init__(self, message: str, log: str) -> None:
        """Takes a message and the server's whole log."""
        super().__init__(f"{message} Its log ends:\n{log[-2000:]}")
        failures = [line for line in log.splitlines() if line.startswith(FAILURE)]
        self.reason = failures[-1].removeprefix(FAILURE) if failures else message


class ServerProcess:
    """A model server that runs during a `with` block, and never outlives its parent process.

    ```
    with ServerProcess("--model_name=m", "--model_base_path=/models/m") as server:
        requests.get(f"{server.rest_url}/v1/models/m")
    ```
    """

    def __init__(self, *flags: str, start_seconds: float = START_SECONDS) -> None:
        """Takes the server's flags; without port flags, it picks free ports."""
        self._flags = flags
        self._start_seconds = start_seconds

    def __enter__(self) -> "ServerProcess":
        """Starts the server and waits until its models are available.

        Raises:
            ServerStartError: The server ended, or is not ready in time.
        """
        self._log = tempfile.NamedTemporaryFile(prefix="model-server-", suffix=".log")
        self._process = subprocess.Popen(
            bound_to_parent(
                [
                    sys.executable, "-m", "serving.model_server",
                    "--port=0", "--rest_api_port=0", *self._flags,
                ]
            ),
            stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        try:
            self.ready = self._wait_until_ready()
        except BaseException:
            self.kill()
            self._log.close()
            raise
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the server; kills it if this process is itself being stopped."""
        if error is None or isinstance(error, Exception):
            self.stop()
        else:
            self.kill()
        self._log.close()

    @property
    def grpc_target(self) -> str:
        """Returns host and port for a gRPC channel."""
        return f"{self.ready.host}:{self.ready.grpc_port}"

    @property
    def rest_url(self) -> str:
        """Returns the base URL of the REST API."""
        return f"http://{self.ready.host}:{self.ready.rest_api_port}"

    @property
    def pid(self) -> int:
        """Returns the process id."""
        return self._process.pid

    def log(self) -> str:
        """Returns what the server has logged."""
        return Path(self._log.name).read_text(errors="replace")

    def terminate(self) -> None:
        """Asks the server to drain and end; `stop` waits for it."""
        self._process.terminate()

    def stop(self) -> int:
        """Lets the server drain and returns its exit code; kills it if it does not end."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()
        finally:
            if self._process.stdout:
                self._process.stdout.close()

    def kill(self) -> int:
        """Ends the server at once."""
        self._process.kill()
        return self._process.wait()

    def _wait_until_ready(self) -> Ready:
        lines: queue.Queue[str] = queue.Queue()
        stdout: IO[Any] | None = self._process.stdout
        assert stdout is not None
        threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
        start = time.monotonic()
        try:
            line = lines.get(timeout=self._start_seconds)
        except queue.Empty:
            line = ""
        if not line:
            seconds = time.monotonic() - start
            message = f"The model server was not ready after {seconds:.0f} s"
            message += f" (exit code {self._exit_code()})."
            raise ServerStartError(message, self.log())
        return Ready(**json.loads(line))

    def _exit_code(self) -> int | None:
        """Returns the exit code; None if the server is still running."""
        try:
            return self._process.wait(1)
        except subprocess.TimeoutExpired:
            return None
