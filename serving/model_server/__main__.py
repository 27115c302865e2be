"""The model server as a program."""

import json
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from contract import imports, lazy_modules, stopping
from serving.model_server import command_line
from serving.model_server.command_line import FAILED
from serving.model_server.process import FAILURE
from serving.model_server.status import ServingError

if TYPE_CHECKING:
    from serving.model_server.server import ModelServer


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code.

    When every model is available and the ports are open, one line of JSON goes to standard
    output: `{"host": …, "grpc_port": …, "rest_api_port": …, "models": {name: {version:
    state}}}`. Everything else goes to standard error.
    """
    config = command_line.parse_command_line(sys.argv[1:] if argv is None else argv)
    if config.version:
        print(command_line.versions())
        return 0
    logging.basicConfig(format="%(asctime)s %(levelname).1s %(message)s", level=logging.INFO)
    # An operator can do nothing about deprecations inside the pinned TensorFlow.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for warning in config.without_effect():
        logging.warning(warning)

    # Import TensorFlow only once the flags are checked.
    lazy_modules.make_lazy(lazy_modules.KERAS)
    with imports.fast():
        from serving.model_server.server import ModelServer
    try:
        return _serve(ModelServer(config))
    except (OSError, ValueError, ServingError) as error:
        print(f"{FAILURE}{error}", file=sys.stderr)
        return FAILED


def _serve(server: "ModelServer") -> int:
    """Starts the server in a thread; the main thread waits for a signal."""
    is_stopping = threading.Event()
    failures: list[Exception] = []

    def start() -> None:
        try:
            server.start()
            ready = vars(server.address) | {"models": server.manager.states()}
            print(json.dumps(ready), flush=True)
        except Exception as error:
            if not is_stopping.is_set():
                failures.append(error)
                alarm.ring()

    with stopping.Alarm() as alarm:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: is_stopping.set())
        threading.Thread(target=start, daemon=True).start()
        alarm.wait()
        is_stopping.set()
        server.stop()
    if failures:
        raise failures[0]
    return 0


def run(argv: list[str] | None = None) -> NoReturn:
    """Serves, and ends the process with the exit code.

    It skips the interpreter's shutdown: threads of gRPC and TensorFlow that are still running
    can abort it, and a server that drained cleanly would appear to have crashed.
    """
    code = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
