"""The command line of the model server."""

import json
import logging
import os
import signal
import sys
import threading
from typing import NoReturn

from contract import imports
from serving.model_server.flags import parse_command_line


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code.

    When every model is available or has failed to load, one line of JSON goes to standard
    output: `{"host": …, "grpc_port": …, "rest_api_port": …, "models": {name: {version:
    state}}}`. Everything else goes to standard error.
    """
    config = parse_command_line(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="%(asctime)s %(levelname).1s %(message)s", level=logging.INFO)
    imports.silence()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    with imports.without_garbage_collection():  # TensorFlow, once the flags are right
        from serving.model_server.server import ModelServer

    try:
        server = ModelServer(config)
    except (OSError, ValueError) as error:
        print(f"model_server: {error}", file=sys.stderr)
        return 1
    starter = threading.Thread(target=_start, args=(server,), daemon=True)
    starter.start()
    stop.wait()
    server.stop()
    return 0


def _start(server) -> None:
    server.start()
    ready = vars(server.address) | {"models": server.manager.states()}
    print(json.dumps(ready), flush=True)


def run(argv: list[str] | None = None) -> NoReturn:
    """Serves, and ends the process with the exit code.

    At once: threads of gRPC and TensorFlow that are still there can abort the interpreter
    while it clears up, and a server that drained well would seem to have crashed.
    """
    code = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
