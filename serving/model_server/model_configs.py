"""Checks model configs, with the rules and error messages of server_core.cc."""

from collections.abc import Mapping
from typing import TypeAlias

from tensorflow_serving.config import logging_config_pb2, model_server_config_pb2

from serving.model_server.config import PLATFORM
from serving.model_server.status import Code, ServingError, invalid

ModelConfig: TypeAlias = model_server_config_pb2.ModelConfig
LOG_COLLECTOR = "tfrecord"  # the only type; see request_log


def configs_by_name(
    config: model_server_config_pb2.ModelServerConfig, known: Mapping[str, ModelConfig]
) -> dict[str, ModelConfig]:
    """Returns the config of each model; raises INVALID_ARGUMENT if one cannot be served."""
    if config.HasField("custom_model_config"):
        raise ServingError(Code.UNIMPLEMENTED, "custom_model_config is not supported.")
    configs: dict[str, ModelConfig] = {}
    for model in config.model_config_list.config:
        if model.name in configs:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        if not (model.base_path.startswith("/") or "://" in model.base_path):
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; got "
                f"base_path()={model.base_path}"
            )
        configs[model.name] = model
    for name, model in configs.items():
        if model.HasField("logging_config"):
            _check_logging(model.logging_config)
        platform = _platform(model)
        if name in known and _platform(known[name]) != platform:
            raise invalid(
                f"Illegal to change a model's platform. For model {name} platform was "
                f"{_platform(known[name])} and new platform requested is {platform}"
            )
        if platform != PLATFORM:
            raise invalid(f"Model {name} requests unsupported platform {platform}")
    return configs


def _platform(model: ModelConfig) -> str:
    """Returns the platform of a model, from one of two fields."""
    if model.model_type:
        if model.model_platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform."
            )
        if model.model_type == model_server_config_pb2.TENSORFLOW:
            return PLATFORM
        raise invalid(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
    if not model.model_platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform."
        )
    return model.model_platform


def _check_logging(config: logging_config_pb2.LoggingConfig) -> None:
    """Raises if our only collector does not support the config."""
    collector = config.log_collector_config
    if collector.type != LOG_COLLECTOR:
        raise ServingError(
            Code.NOT_FOUND, f"Cannot find LogCollector::Factory for type: {collector.type}"
        )
    if not collector.filename_prefix.startswith("/"):
        raise invalid(
            "A log collector's filename_prefix must be an absolute path, got "
            f"“{collector.filename_prefix}”."
        )
    rate = config.sampling_config.sampling_rate
    if not 0 <= rate <= 1:
        raise invalid(f"sampling_rate must be between 0 and 1, got {rate}.")
