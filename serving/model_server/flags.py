"""The command line. Imports nothing heavy, so that a wrong flag is answered at once.

The flags have the names and defaults of the C++ server, so that the arguments of a
container fit both. Ours alone are `--host`, `--max_request_bytes` and `--drain_seconds`;
ours differ where port 0 picks a free port, and in the number of threads.
"""

import argparse
import dataclasses
import os
from typing import Any

# A thread waits while its request does; 32 clients want to meet in one batch.
DEFAULT_THREADS = max(64, 4 * (os.cpu_count() or 1))


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """The command line, checked. Fields are named after the flags."""

    host: str = "127.0.0.1"
    port: int = 8500  # 0: any free one
    rest_api_port: int = 8501  # 0: any free one
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0  # 0: read once
    file_system_poll_wait_seconds: float = 1
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    allow_version_labels_for_unavailable_models: bool = False
    saved_model_tags: str = "serve"
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 1
    enable_batching: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    monitoring_config_file: str = ""
    tensorflow_session_parallelism: int = 0  # the two below, unless they are given
    tensorflow_intra_op_parallelism: int = 0  # 0: all cores but one
    tensorflow_inter_op_parallelism: int = 0  # 0: TensorFlow chooses
    grpc_max_threads: int = DEFAULT_THREADS
    grpc_channel_arguments: str = ""
    enable_grpc_healthcheck_service: bool = False
    rest_api_num_threads: int = DEFAULT_THREADS
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    max_request_bytes: int = 64 * 2**20
    drain_seconds: float = 30

    def __post_init__(self) -> None:
        """Raises ValueError for what contradicts itself."""
        if not self.model_config_file and not self.model_base_path:
            raise ValueError("--model_base_path or --model_config_file is needed.")
        if self.port and self.port == self.rest_api_port:
            raise ValueError("--rest_api_port cannot be the same as --port.")
        for field in ("grpc_max_threads", "rest_api_num_threads", "max_request_bytes"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field} is at least 1, got {getattr(self, field)}.")


def parse_command_line(argv: list[str]) -> ServerConfig:
    """Returns the config of a command line; exits with a message for a wrong one."""
    parser = argparse.ArgumentParser(
        prog="model_server",
        description="Serves SavedModels over TensorFlow Serving's gRPC and REST protocol.",
        allow_abbrev=False,
    )
    for field in dataclasses.fields(ServerConfig):
        flag: dict[str, Any] = {"default": field.default, "type": type(field.default)}
        if isinstance(field.default, bool):
            flag |= {"type": _boolean, "nargs": "?", "const": True}
        elif field.name.endswith("_seconds"):
            flag["type"] = float
        parser.add_argument(f"--{field.name}", **flag)
    try:
        return ServerConfig(**vars(parser.parse_args(argv)))
    except ValueError as error:
        parser.error(str(error))


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text}")
