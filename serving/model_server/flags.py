"""What the server can be told. Imports nothing heavy: a wrong flag is answered at once.

The flags have the names and defaults of the C++ server, so that the arguments of a container
fit both; where a default differs on purpose, the help says so.
"""

import dataclasses
import os
from typing import Any

# A thread waits while its request does; 32 clients want to meet in one batch.
DEFAULT_THREADS = max(64, 4 * (os.cpu_count() or 1))

ADDRESSES = "Where it listens"
MODELS = "Models and versions"
BATCHING = "Batching"
RUNTIME = "TensorFlow"
OPERATION = "Operation"
NO_EFFECT = "Accepted for the sake of TensorFlow Serving's command lines, without effect here"

_IS_SLOW_ELSEWHERE = "loading and unloading never delay requests here"
_NO_TFLITE = "models run in TensorFlow, not in TensorFlow Lite"
_NO_TPU = "there is no TPU here"


def _flag(default: Any, group: str, help_text: str, why: str = "") -> Any:
    """Returns a field; `why` says what makes it one without effect."""
    metadata = {"group": group, "help": help_text, "why": why}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """The command line, checked. Fields are named after the flags."""

    host: str = _flag(
        "127.0.0.1", ADDRESSES, "Interface of both ports (TensorFlow Serving: all of them)."
    )
    port: int = _flag(
        8500, ADDRESSES, "For gRPC; 0 is any free one (TensorFlow Serving refuses 0)."
    )
    rest_api_port: int = _flag(
        8501,
        ADDRESSES,
        "For REST; 0 is any free one (TensorFlow Serving: off, which is its default).",
    )
    grpc_socket_path: str = _flag("", ADDRESSES, "Serves gRPC on this Unix socket too.")
    ssl_config_file: str = _flag(
        "",
        ADDRESSES,
        "SSLConfig as text: gRPC over TLS, with client certificates if wanted.",
    )
    grpc_channel_arguments: str = _flag(
        "", ADDRESSES, "Of the gRPC server: key=value, separated by commas."
    )
    rest_api_timeout_in_ms: int = _flag(30_000, ADDRESSES, "Of a REST request; 0 is no limit.")
    rest_api_enable_cors_support: bool = _flag(
        False, ADDRESSES, "Lets web pages of other sites read the answers."
    )
    max_request_bytes: int = _flag(
        64 * 2**20,
        ADDRESSES,
        "Of one request, compressed or not (TensorFlow Serving: 2 GiB; ours alone).",
    )

    model_name: str = _flag("default", MODELS, "Name of the one model.")
    model_base_path: str = _flag(
        "", MODELS, "Absolute path of its folder, which holds one folder a version."
    )
    model_config_file: str = _flag(
        "", MODELS, "ModelServerConfig as text, in place of the two flags above."
    )
    model_config_file_poll_wait_seconds: float = _flag(
        0, MODELS, "How often that file is read again; 0 is never."
    )
    file_system_poll_wait_seconds: float = _flag(
        1, MODELS, "How often folders are searched for versions; 0 is once, below 0 never."
    )
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, MODELS, "Lets a new label point to a version that is not loaded yet."
    )
    force_allow_any_version_labels_for_unavailable_models: bool = _flag(
        False, MODELS, "The same for a label that pointed elsewhere."
    )
    max_num_load_retries: int = _flag(5, MODELS, "After a version's first failure to load.")
    load_retry_interval_micros: int = _flag(60_000_000, MODELS, "Between two attempts.")
    num_load_threads: int = _flag(
        0, MODELS, "Versions loaded at once after the start; 0 is one at a time."
    )
    saved_model_tags: str = _flag("serve", MODELS, "Of the graph to load, with commas.")
    enable_model_warmup: bool = _flag(
        True, MODELS, "Replays a version's recorded requests before it is available."
    )
    num_request_iterations_for_warmup: int = _flag(
        0, MODELS, "How often each is replayed; 0 is once."
    )
    enable_signature_method_name_check: bool = _flag(
        False, MODELS, "Refuses a request for a signature made for another method."
    )

    enable_batching: bool = _flag(False, BATCHING, "Runs concurrent requests together.")
    batching_parameters_file: str = _flag("", BATCHING, "BatchingParameters as text.")
    enable_per_model_batching_parameters: bool = _flag(
        False, BATCHING, "Reads batching_params.pbtxt beside each saved_model.pb instead."
    )

    tensorflow_session_parallelism: int = _flag(
        0, RUNTIME, "Threads of a session, of both kinds below; 0 leaves it to them."
    )
    tensorflow_intra_op_parallelism: int = _flag(
        0, RUNTIME, "Threads of one operation; 0 is all cores but one."
    )
    tensorflow_inter_op_parallelism: int = _flag(
        0, RUNTIME, "Operations at once; 0 leaves it to TensorFlow."
    )
    tensorflow_session_config_file: str = _flag(
        "", RUNTIME, "ConfigProto as text; the three flags above override it."
    )
    platform_config_file: str = _flag(
        "", RUNTIME, "PlatformConfigMap as text; flags of batching and sessions are ignored."
    )
    per_process_gpu_memory_fraction: float = _flag(
        0.0, RUNTIME, "From 0 to 1; 0 leaves it to TensorFlow."
    )
    mixed_precision: str = _flag("", RUNTIME, "bfloat16: where oneDNN can.")
    xla_cpu_compilation_enabled: bool = _flag(
        False, RUNTIME, "XLA on CPU (here also without the flag, for models that ask for it)."
    )
    xla_gpu_compilation_enabled: bool = _flag(
        False, RUNTIME, "XLA on GPU (here also without the flag, for models that ask for it)."
    )
    enable_serialization_as_tensor_content: bool = _flag(
        False, RUNTIME, "Packs the tensors of Predict's responses."
    )

    grpc_max_threads: int = _flag(
        DEFAULT_THREADS, OPERATION, "gRPC requests at work at once (at least 64 here)."
    )
    rest_api_num_threads: int = _flag(
        DEFAULT_THREADS, OPERATION, "REST requests at work at once (at least 64 here)."
    )
    monitoring_config_file: str = _flag(
        "", OPERATION, "MonitoringConfig as text: metrics for Prometheus on the REST port."
    )
    enable_grpc_healthcheck_service: bool = _flag(
        False, OPERATION, "grpc.health.v1.Health on the gRPC port."
    )
    enable_profiler: bool = _flag(
        True, OPERATION, "ProfilerService, for TensorBoard's “capture profile”."
    )
    drain_seconds: float = _flag(
        30, OPERATION, "How long requests at work may take after SIGTERM (ours alone)."
    )
    version: bool = _flag(False, OPERATION, "Prints the versions and ends.")

    num_unload_threads: int = _flag(0, NO_EFFECT, "", _IS_SLOW_ELSEWHERE)
    flush_filesystem_caches: bool = _flag(
        True, NO_EFFECT, "", "a local file's cache is the kernel's"
    )
    remove_unused_fields_from_bundle_metagraph: bool = _flag(
        True, NO_EFFECT, "", "the graph is kept as it was loaded"
    )
    use_alts_credentials: bool = _flag(
        False, NO_EFFECT, "", "ALTS works inside Google's cloud; --ssl_config_file encrypts too"
    )
    thread_pool_factory_config_file: str = _flag(
        "", NO_EFFECT, "", "TensorFlow Serving's binary brings no such factory either"
    )
    skip_initialize_tpu: bool = _flag(False, NO_EFFECT, "", _NO_TPU)
    prefer_tflite_model: bool = _flag(False, NO_EFFECT, "", _NO_TFLITE)
    num_tflite_pools: int = _flag(0, NO_EFFECT, "", _NO_TFLITE)
    num_tflite_interpreters_per_pool: int = _flag(1, NO_EFFECT, "", _NO_TFLITE)

    def __post_init__(self) -> None:
        """Raises ValueError for what contradicts itself."""
        if self.version:
            return
        if not self.model_config_file and not self.model_base_path:
            raise ValueError("--model_base_path or --model_config_file is needed.")
        if self.batching_parameters_file and not self.enable_batching:
            raise ValueError(
                "--batching_parameters_file is set without --enable_batching, and so ignored."
            )
        if min(
            self.tensorflow_session_parallelism,
            self.tensorflow_intra_op_parallelism,
            self.tensorflow_inter_op_parallelism,
        ):
            raise ValueError(
                "--tensorflow_session_parallelism is for both kinds of threads: give it alone, "
                "or --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism."
            )
        if self.mixed_precision not in ("", "bfloat16"):
            raise ValueError(f"--mixed_precision is bfloat16, got {self.mixed_precision}.")
        for field in ("grpc_max_threads", "rest_api_num_threads", "max_request_bytes"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field} is at least 1, got {getattr(self, field)}.")

    @property
    def serves_rest(self) -> bool:
        """Returns whether REST has a port of its own; C++ then serves gRPC alone."""
        return not self.port or self.rest_api_port != self.port

    def without_effect(self) -> list[str]:
        """Returns a sentence for each flag that was set and has no effect here."""
        return [
            f"--{field.name} has no effect here: {field.metadata['why']}."
            for field in dataclasses.fields(self)
            if field.metadata["why"] and getattr(self, field.name) != field.default
        ]
