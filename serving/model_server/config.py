"""The text files that flags name: models, batching, monitoring."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server.flags import ServerConfig

DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"


def read_models(config: ServerConfig) -> model_server_config_pb2.ModelServerConfig:
    """Returns which models to serve: the config file's, or the one of the flags."""
    models = model_server_config_pb2.ModelServerConfig()
    if config.model_config_file:
        return _read_text_file(Path(config.model_config_file), models)
    models.model_config_list.config.add(
        name=config.model_name,
        base_path=config.model_base_path,
        model_platform="tensorflow",
    )
    return models


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """How concurrent requests are put together."""

    max_batch_size: int = 1000  # examples
    batch_timeout_micros: int = 0  # how long the first request may wait for company
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()  # padded up to; the last is the largest
    pad_variable_length_inputs: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for parameters no batch can satisfy."""
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size):
            raise ValueError(
                "allowed_batch_sizes must rise, and end with max_batch_size "
                f"({self.max_batch_size}); got {list(sizes)}."
            )
        if self.pad_variable_length_inputs:
            raise ValueError(
                "pad_variable_length_inputs is not supported here: requests whose shapes "
                "differ go into batches of their own."
            )


def read_batching_parameters(path: Path) -> BatchingParameters:
    """Returns the parameters in a text file of the C++ server's BatchingParameters."""
    message = _read_text_file(path, _MESSAGES["BatchingParameters"]())
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name == "allowed_batch_sizes":
            values[field.name] = tuple(value)
        elif field.name in BatchingParameters.__dataclass_fields__:
            values[field.name] = value.value
    try:
        return BatchingParameters(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_metrics_path(config: ServerConfig) -> str | None:
    """Returns where the metrics are served; None without a config that enables them."""
    if not config.monitoring_config_file:
        return None
    message = _read_text_file(
        Path(config.monitoring_config_file), _MESSAGES["MonitoringConfig"]()
    )
    if not message.prometheus_config.enable:
        return None
    return message.prometheus_config.path or DEFAULT_METRICS_PATH


def _read_text_file(path: Path, message: Any) -> Any:
    try:
        return text_format.Parse(path.read_text(), message)
    except text_format.ParseError as error:
        raise ValueError(
            f"{path} is no text protocol buffer of {message.DESCRIPTOR.name}: {error}"
        ) from error


def _messages() -> dict[str, type[Message]]:
    """Returns the two config messages that tensorflow-serving-api does not bring.

    Sources: session_bundle_config.proto and monitoring_config.proto of TensorFlow Serving.
    """
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/model_server/config.proto",
        package="model_server",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )

    def message(name: str, **fields: Any) -> None:
        descriptor = file.message_type.add(name=name)
        for number, (field, type_) in enumerate(fields.items(), start=1):
            added = descriptor.field.add(name=field, number=number)
            added.label = kind.LABEL_OPTIONAL
            if isinstance(type_, str):
                added.type, added.type_name = kind.TYPE_MESSAGE, type_
            else:
                added.type = type_
                if field == "allowed_batch_sizes":
                    added.label = kind.LABEL_REPEATED

    integer, boolean = ".google.protobuf.Int64Value", ".google.protobuf.BoolValue"
    message(
        "BatchingParameters",
        max_batch_size=integer,
        batch_timeout_micros=integer,
        max_enqueued_batches=integer,
        num_batch_threads=integer,
        thread_pool_name=".google.protobuf.StringValue",
        allowed_batch_sizes=kind.TYPE_INT64,
        pad_variable_length_inputs=boolean,
        enable_large_batch_splitting=boolean,
    )
    message("PrometheusConfig", enable=kind.TYPE_BOOL, path=kind.TYPE_STRING)
    message("MonitoringConfig", prometheus_config=".model_server.PrometheusConfig")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    factory: Any = message_factory.MessageFactory(pool)
    return {
        name: factory.GetPrototype(pool.FindMessageTypeByName(f"model_server.{name}"))
        for name in ("BatchingParameters", "MonitoringConfig")
    }


_MESSAGES = _messages()
