"""Reads the text files named in flags: models, batching, sessions, monitoring, TLS."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server import protos
from serving.model_server.flags import ServerConfig

DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"
PLATFORM = "tensorflow"


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """How concurrent requests are batched."""

    max_batch_size: int = 1000  # examples; limits single requests too
    batch_timeout_micros: int = 0  # how long the first request waits for others
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()  # batches are padded to one; ascending
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0  # per step if splitting; 0 is max_batch_size

    def __post_init__(self) -> None:
        """Raises ValueError for parameters no batch can satisfy."""
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != self.largest_step):
            name = "max_execution_batch_size" if self.is_split else "max_batch_size"
            raise ValueError(
                f"allowed_batch_sizes must ascend and end with {name} ({self.largest_step}); "
                f"got {list(sizes)}."
            )
        if self.largest_step > self.max_batch_size:
            raise ValueError(
                f"max_execution_batch_size ({self.largest_step}) must not exceed "
                f"max_batch_size ({self.max_batch_size})."
            )

    @property
    def is_split(self) -> bool:
        """Returns whether one request may run in several steps."""
        return self.enable_large_batch_splitting and self.max_execution_batch_size > 0

    @property
    def largest_step(self) -> int:
        """Returns the largest number of examples per step."""
        return self.max_execution_batch_size if self.is_split else self.max_batch_size


@dataclasses.dataclass(frozen=True)
class Runtime:
    """How models are loaded and run."""

    session: config_pb2.ConfigProto
    tags: tuple[str, ...]
    warmup_iterations: int  # 0: no warm-up
    batching: BatchingParameters | None


def read_models(config: ServerConfig) -> model_server_config_pb2.ModelServerConfig:
    """Returns the models to serve, from the config file or else from the flags."""
    models = model_server_config_pb2.ModelServerConfig()
    if config.model_config_file:
        return read_text_file(Path(config.model_config_file), models)
    models.model_config_list.config.add(
        name=config.model_name, base_path=config.model_base_path, model_platform=PLATFORM
    )
    return models


def read_runtime(config: ServerConfig) -> Runtime:
    """Returns how models run, from the platform config or else from the flags."""
    if config.platform_config_file:
        return _platform_runtime(Path(config.platform_config_file))
    batching = None
    if config.enable_batching:
        file = config.batching_parameters_file
        batching = read_batching_parameters(Path(file)) if file else BatchingParameters()
    return Runtime(
        session=session_config(config),
        tags=tuple(config.saved_model_tags.split(",")),
        warmup_iterations=(
            max(1, config.num_request_iterations_for_warmup)
            if config.enable_model_warmup
            else 0
        ),
        batching=batching,
    )


def session_config(config: ServerConfig) -> config_pb2.ConfigProto:
    """Returns how sessions run.

    By default, an operation uses all cores but one. The threads that accept requests need that
    core; without it, they would delay every parallel operation.
    """
    session = config_pb2.ConfigProto()
    if config.tensorflow_session_config_file:
        read_text_file(Path(config.tensorflow_session_config_file), session)
    intra = config.tensorflow_intra_op_parallelism
    inter = config.tensorflow_inter_op_parallelism
    if intra <= 0 and inter <= 0:
        intra = inter = config.tensorflow_session_parallelism
    session.inter_op_parallelism_threads = inter or session.inter_op_parallelism_threads
    session.intra_op_parallelism_threads = (
        intra or session.intra_op_parallelism_threads or max(1, (os.cpu_count() or 1) - 1)
    )
    if config.per_process_gpu_memory_fraction:
        fraction = config.per_process_gpu_memory_fraction
        session.gpu_options.per_process_gpu_memory_fraction = fraction
    if config.enable_batching:
        # Threads that spin while they wait for the next batch take the cores from those that
        # gather it, which costs 5% of the throughput on two cores.
        session.experimental.disable_thread_spinning = True
    if config.mixed_precision:
        rewrite = session.graph_options.rewrite_options
        rewrite.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    return session


def read_batching_parameters(path: Path) -> BatchingParameters:
    """Returns the parameters from a BatchingParameters text file."""
    message = read_text_file(path, protos.BatchingParameters())
    try:
        return _batching_parameters(message)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_metrics_path(config: ServerConfig) -> str | None:
    """Returns the path of the metrics page; None unless a config enables it."""
    if not config.monitoring_config_file:
        return None
    message = read_text_file(Path(config.monitoring_config_file), protos.MonitoringConfig())
    if not message.prometheus_config.enable:
        return None
    return message.prometheus_config.path or DEFAULT_METRICS_PATH


def read_text_file(path: Path, message: Any) -> Any:
    """Returns the message in a text file; raises ValueError if it cannot be parsed."""
    try:
        # The message's own pool resolves the content of an Any.
        pool = message.DESCRIPTOR.file.pool
        return text_format.Parse(path.read_text(), message, descriptor_pool=pool)
    except text_format.ParseError as error:
        kind = message.DESCRIPTOR.full_name
        raise ValueError(f"{path}: Error parsing text-format {kind}: {error}") from error


def _platform_runtime(path: Path) -> Runtime:
    platforms = read_text_file(path, protos.PlatformConfigMap()).platform_configs
    adapter = protos.SavedModelBundleSourceAdapterConfig()
    if PLATFORM not in platforms or not platforms[PLATFORM].source_adapter_config.Unpack(
        adapter
    ):
        raise ValueError(
            f"{path} has no {adapter.DESCRIPTOR.full_name} for the platform “{PLATFORM}”."
        )
    bundle = adapter.legacy_config
    has_batching = bundle.HasField("batching_parameters")
    warmup = bundle.model_warmup_options.num_request_iterations.value
    return Runtime(
        session=config_pb2.ConfigProto.FromString(bundle.session_config.SerializeToString()),
        tags=tuple(bundle.saved_model_tags) or ("serve",),
        warmup_iterations=max(1, warmup) if bundle.enable_model_warmup else 0,
        batching=_batching_parameters(bundle.batching_parameters) if has_batching else None,
    )


def _batching_parameters(message: Any) -> BatchingParameters:
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name == "allowed_batch_sizes":
            values[field.name] = tuple(value)
        elif field.name in BatchingParameters.__dataclass_fields__:
            values[field.name] = getattr(value, "value", value)
    return BatchingParameters(**values)
