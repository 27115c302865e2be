"""The server as a whole: what it is made of, how it starts and how it ends."""

import dataclasses
import functools
import logging
import os
import threading
import time
from pathlib import Path

from tensorflow.core.protobuf import config_pb2

from serving.model_server import config as configs
from serving.model_server import grpc_service, http_server, rest, warmup
from serving.model_server.batching import BatchingServable
from serving.model_server.flags import ServerConfig
from serving.model_server.manager import LoadPolicy, ModelManager
from serving.model_server.metrics import Metrics
from serving.model_server.servable import Servable
from serving.model_server.status import ServingError, to_serving_error

PER_MODEL_BATCHING_FILE = "batching_params.pbtxt"
MLMD_FILE = Path("assets.extra") / "mlmd_uuid"

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a running server listens."""

    host: str
    grpc_port: int
    rest_api_port: int


class ModelServer:
    """Both protocols in front of one set of models."""

    def __init__(self, config: ServerConfig) -> None:
        """Opens the ports; requests are answered after `start`.

        Raises:
            OSError: A port is taken, or a config file cannot be read.
            ValueError: A config file is no such file.
        """
        self._config = config
        self.metrics = Metrics()
        self.manager = ModelManager(
            functools.partial(load, config, self.metrics),
            LoadPolicy(
                config.file_system_poll_wait_seconds,
                config.max_num_load_retries,
                config.load_retry_interval_micros / 1e6,
            ),
            config.allow_version_labels_for_unavailable_models,
        )
        self.metrics.is_served = self.manager.is_configured
        self._models = configs.read_models(config)
        metrics_path = configs.read_metrics_path(config)
        if config.enable_batching and config.batching_parameters_file:
            configs.read_batching_parameters(Path(config.batching_parameters_file))
        self._grpc, grpc_port = grpc_service.create_server(config, self.manager, self.metrics)
        timeout_ms = config.rest_api_timeout_in_ms
        timeout_seconds = timeout_ms / 1000 if timeout_ms > 0 else None
        api = rest.RestApi(self.manager, self.metrics, metrics_path, timeout_seconds)
        self._rest = http_server.HttpServer(config, api, timeout_seconds)
        self.address = Address(config.host, grpc_port, self._rest.port)
        self._is_stopped = threading.Event()

    def start(self) -> None:
        """Answers requests; returns when each model is available or has failed to load."""
        self._grpc.start()
        self._rest.start()
        self._apply(self._models)
        if self._config.model_config_file:
            threading.Thread(target=self._watch_config, name="config", daemon=True).start()

    def stop(self) -> None:
        """Refuses new requests, lets those at work finish, and ends."""
        self._is_stopped.set()
        start = time.perf_counter()
        stopped = self._grpc.stop(self._config.drain_seconds)
        self._rest.drain()
        stopped.wait(self._config.drain_seconds)
        self.manager.stop()
        _log.info("Drained in %.1f s", time.perf_counter() - start)

    def _apply(self, models) -> bool:
        try:
            self.manager.reload_config(models)
        except ServingError as error:
            _log.error("The model config is not in force as a whole: %s", error)
            return False
        return True

    def _watch_config(self) -> None:
        """Reads the model config again and again; applies what is new."""
        seconds = self._config.model_config_file_poll_wait_seconds
        in_force = self._models
        while seconds > 0 and not self._is_stopped.wait(seconds):
            try:
                models = configs.read_models(self._config)
            except (OSError, ValueError) as error:
                _log.error("Keeping the model config in force: %s", error)
                continue
            if models != in_force and self._apply(models):
                in_force = models


def load(
    config: ServerConfig, metrics: Metrics, name: str, version: int, path: Path
) -> Servable:
    """Returns a version, loaded and warmed up.

    Raises:
        Exception: TensorFlow cannot load it, or a warm-up request fails.
    """
    tags = tuple(config.saved_model_tags.split(","))
    parameters = batching_parameters(config, path)
    servable: Servable
    if parameters:
        servable = BatchingServable(
            path, name, version, tags, session_config(config),
            parameters=parameters, metrics=metrics,
        )  # fmt: skip
    else:
        servable = Servable(path, name, version, tags, session_config(config))
    try:
        if config.enable_model_warmup:
            _warm_up(config, metrics, servable)
    except BaseException:
        servable.close()
        raise
    mlmd_file = path / MLMD_FILE
    if mlmd_file.exists():
        metrics.mlmd.set(1, name, str(version), mlmd_file.read_text().strip())
    return servable


def batching_parameters(config: ServerConfig, path: Path) -> configs.BatchingParameters | None:
    """Returns how the requests of a version are batched; None where they are not."""
    if not config.enable_batching:
        return None
    if config.enable_per_model_batching_parameters:
        own_file = path / PER_MODEL_BATCHING_FILE
        return configs.read_batching_parameters(own_file) if own_file.exists() else None
    if config.batching_parameters_file:
        return configs.read_batching_parameters(Path(config.batching_parameters_file))
    return configs.BatchingParameters()


def session_config(config: ServerConfig) -> config_pb2.ConfigProto:
    """Returns how many threads a session may use.

    Where no flag says it, an operation is shared by all cores but one: the threads that take
    requests need that one, and would make every shared operation wait for them.
    """
    both = config.tensorflow_session_parallelism
    all_but_one = max(1, (os.cpu_count() or 1) - 1)
    return config_pb2.ConfigProto(
        intra_op_parallelism_threads=(
            config.tensorflow_intra_op_parallelism or both or all_but_one
        ),
        inter_op_parallelism_threads=config.tensorflow_inter_op_parallelism or both,
    )


def _warm_up(config: ServerConfig, metrics: Metrics, servable: Servable) -> None:
    start = time.perf_counter()
    status = "OK"
    try:
        records = warmup.warm_up(servable, config.num_request_iterations_for_warmup)
    except Exception as error:
        records, status = 1, str(to_serving_error(error))
        raise
    finally:
        if records:
            micros = (time.perf_counter() - start) * 1e6
            metrics.warmup_latency.observe(micros, str(servable.path), status)
