"""The server's flags. Imports nothing heavy, so that a wrong flag is reported at once.

Names and defaults are those of the C++ server, so the same container arguments fit both;
where a default differs on purpose, the help says so.
"""

import dataclasses
import os
from typing import Any

# A thread blocks while its request waits; requests from 32 clients should fit into one batch.
DEFAULT_THREADS = max(64, 4 * (os.cpu_count() or 1))

ADDRESSES = "Addresses"
MODELS = "Models and versions"
BATCHING = "Batching"
RUNTIME = "TensorFlow"
OPERATION = "Operation"
NO_EFFECT = "Flags of TensorFlow Serving that have no effect here"

_IS_SLOW_ELSEWHERE = "loading and unloading never delay requests here"
_NO_TFLITE = "models run in TensorFlow, not in TensorFlow Lite"
_NO_TPU = "there is no TPU here"


def _flag(default: Any, group: str, help_text: str, why: str = "") -> Any:
    """Returns a field; `why` gives the reason if the flag has no effect."""
    metadata = {"group": group, "help": help_text, "why": why}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """The checked command line. Fields are named after the flags."""

    host: str = _flag(
        "127.0.0.1", ADDRESSES, "Interface of both ports (TensorFlow Serving: all interfaces)."
    )
    port: int = _flag(
        8500, ADDRESSES, "gRPC port; 0 picks a free one (TensorFlow Serving rejects 0)."
    )
    rest_api_port: int = _flag(
        8501,
        ADDRESSES,
        "REST port; 0 picks a free one (TensorFlow Serving: 0, its default, turns REST off).",
    )
    grpc_socket_path: str = _flag("", ADDRESSES, "Also serves gRPC on this Unix socket.")
    ssl_config_file: str = _flag(
        "",
        ADDRESSES,
        "SSLConfig text file: gRPC over TLS, optionally with client certificates.",
    )
    grpc_channel_arguments: str = _flag(
        "", ADDRESSES, "Arguments of the gRPC server: key=value, separated by commas."
    )
    rest_api_timeout_in_ms: int = _flag(
        30_000, ADDRESSES, "Time limit of a REST request; 0 is no limit."
    )
    rest_api_enable_cors_support: bool = _flag(
        False, ADDRESSES, "Lets web pages from other sites read the responses."
    )
    max_request_bytes: int = _flag(
        64 * 2**20,
        ADDRESSES,
        "Largest request, in REST before and after decompression (TensorFlow Serving: 2 GiB). "
        "gRPC requests must not be compressed (in TensorFlow Serving, they may be).",
    )

    model_name: str = _flag("default", MODELS, "Name of the model.")
    model_base_path: str = _flag(
        "", MODELS, "Absolute path of its folder, which contains one folder per version."
    )
    model_config_file: str = _flag(
        "", MODELS, "ModelServerConfig text file; replaces the two flags above."
    )
    model_config_file_poll_wait_seconds: float = _flag(
        0, MODELS, "Interval for rereading that file; 0 is never."
    )
    file_system_poll_wait_seconds: float = _flag(
        1, MODELS, "Interval for finding new versions; 0 looks once, a negative value never."
    )
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, MODELS, "Lets a new label point to a version that is not loaded yet."
    )
    force_allow_any_version_labels_for_unavailable_models: bool = _flag(
        False, MODELS, "The same for a label that already points to another version."
    )
    max_num_load_retries: int = _flag(5, MODELS, "Retries after a version fails to load.")
    load_retry_interval_micros: int = _flag(60_000_000, MODELS, "Time between two attempts.")
    num_load_threads: int = _flag(
        0, MODELS, "Versions loaded in parallel after startup; 0 is one at a time."
    )
    saved_model_tags: str = _flag(
        "serve", MODELS, "Tags of the graph to load, separated by commas."
    )
    enable_model_warmup: bool = _flag(
        True, MODELS, "Replays a version's recorded requests before it becomes available."
    )
    num_request_iterations_for_warmup: int = _flag(
        0, MODELS, "How many times each of them is replayed; 0 is once."
    )
    enable_signature_method_name_check: bool = _flag(
        False, MODELS, "Rejects a request whose signature was exported for another method."
    )

    enable_batching: bool = _flag(False, BATCHING, "Runs concurrent requests as one batch.")
    batching_parameters_file: str = _flag("", BATCHING, "BatchingParameters text file.")
    enable_per_model_batching_parameters: bool = _flag(
        False, BATCHING, "Reads batching_params.pbtxt next to each saved_model.pb instead."
    )

    tensorflow_session_parallelism: int = _flag(
        0, RUNTIME, "Threads of both kinds below; ignored if one of those flags is set."
    )
    tensorflow_intra_op_parallelism: int = _flag(
        0, RUNTIME, "Threads per operation; 0 is all cores but one."
    )
    tensorflow_inter_op_parallelism: int = _flag(
        0, RUNTIME, "Operations run in parallel; 0 leaves it to TensorFlow."
    )
    tensorflow_session_config_file: str = _flag(
        "", RUNTIME, "ConfigProto text file; the three flags above override it."
    )
    platform_config_file: str = _flag(
        "",
        RUNTIME,
        "PlatformConfigMap text file; the flags for batching and sessions are then ignored.",
    )
    per_process_gpu_memory_fraction: float = _flag(
        0.0, RUNTIME, "Fraction of GPU memory, 0 to 1; 0 leaves it to TensorFlow."
    )
    mixed_precision: str = _flag("", RUNTIME, "bfloat16: used where oneDNN supports it.")
    xla_cpu_compilation_enabled: bool = _flag(
        False, RUNTIME, "XLA on CPU (here, models that request it get it without the flag)."
    )
    xla_gpu_compilation_enabled: bool = _flag(
        False, RUNTIME, "XLA on GPU (here, models that request it get it without the flag)."
    )
    enable_serialization_as_tensor_content: bool = _flag(
        False, RUNTIME, "Packs the tensors in Predict responses."
    )

    grpc_max_threads: int = _flag(
        DEFAULT_THREADS,
        OPERATION,
        "gRPC requests handled in parallel (at least 64 here); others wait, up to 256 in all.",
    )
    rest_api_num_threads: int = _flag(
        DEFAULT_THREADS, OPERATION, "REST requests handled in parallel (at least 64 here)."
    )
    monitoring_config_file: str = _flag(
        "", OPERATION, "MonitoringConfig text file: Prometheus metrics on the REST port."
    )
    enable_grpc_healthcheck_service: bool = _flag(
        False, OPERATION, "Serves grpc.health.v1.Health on the gRPC port."
    )
    enable_profiler: bool = _flag(
        True, OPERATION, "Serves ProfilerService, for TensorBoard's “capture profile”."
    )
    drain_seconds: float = _flag(
        30,
        OPERATION,
        "How long open requests may take after SIGTERM (not in TensorFlow Serving).",
    )
    version: bool = _flag(False, OPERATION, "Prints the versions and exits.")

    num_unload_threads: int = _flag(0, NO_EFFECT, "", _IS_SLOW_ELSEWHERE)
    flush_filesystem_caches: bool = _flag(
        True, NO_EFFECT, "", "the kernel manages the cache of local files"
    )
    remove_unused_fields_from_bundle_metagraph: bool = _flag(
        True, NO_EFFECT, "", "the graph is kept as it was loaded"
    )
    use_alts_credentials: bool = _flag(
        False,
        NO_EFFECT,
        "",
        "ALTS works only in Google's cloud; --ssl_config_file encrypts too",
    )
    thread_pool_factory_config_file: str = _flag(
        "", NO_EFFECT, "", "TensorFlow Serving's binary contains no such factory either"
    )
    skip_initialize_tpu: bool = _flag(False, NO_EFFECT, "", _NO_TPU)
    prefer_tflite_model: bool = _flag(False, NO_EFFECT, "", _NO_TFLITE)
    num_tflite_pools: int = _flag(0, NO_EFFECT, "", _NO_TFLITE)
    num_tflite_interpreters_per_pool: int = _flag(1, NO_EFFECT, "", _NO_TFLITE)

    def __post_init__(self) -> None:
        """Raises ValueError if the flags contradict each other."""
        if self.version:
            return
        if not self.model_config_file and not self.model_base_path:
            raise ValueError("Set --model_base_path or --model_config_file.")
        if not self.platform_config_file:
            self._check_runtime()
        if self.mixed_precision not in ("", "bfloat16"):
            raise ValueError(f"--mixed_precision must be bfloat16, got {self.mixed_precision}.")
        for field in ("grpc_max_threads", "rest_api_num_threads", "max_request_bytes"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field} must be at least 1, got {getattr(self, field)}.")

    def _check_runtime(self) -> None:
        """Checks the flags that a platform config replaces."""
        if self.batching_parameters_file and not self.enable_batching:
            raise ValueError(
                "--batching_parameters_file has no effect without --enable_batching. Set both."
            )
        threads = (
            self.tensorflow_session_parallelism,
            self.tensorflow_intra_op_parallelism,
            self.tensorflow_inter_op_parallelism,
        )
        if min(threads) > 0:
            raise ValueError(
                "--tensorflow_session_parallelism sets both kinds of threads: use it alone, or "
                "--tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism."
            )

    @property
    def serves_rest(self) -> bool:
        """Returns whether REST is served: the C++ server drops it if both ports are equal."""
        return not self.port or self.rest_api_port != self.port

    def without_effect(self) -> list[str]:
        """Returns a sentence for each flag that was set and has no effect here."""
        return [
            f"--{field.name} has no effect here: {field.metadata['why']}."
            for field in dataclasses.fields(self)
            if field.metadata["why"] and getattr(self, field.name) != field.default
        ]
