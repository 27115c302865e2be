"""The whole server: its parts, startup and shutdown."""

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Iterator

import grpc

from serving.model_server import config as configs
from serving.model_server import model_configs, rest
from serving.model_server.flags import ServerConfig
from serving.model_server.grpc_server import GrpcServer
from serving.model_server.grpc_service import ModelService, PredictionService
from serving.model_server.http_server import HttpServer
from serving.model_server.loading import VersionLoader
from serving.model_server.manager import LabelPolicy, ModelManager
from serving.model_server.metrics import Metrics
from serving.model_server.profiler import ProfilerService
from serving.model_server.request_log import RequestLog
from serving.model_server.served_model import LoadPolicy
from serving.model_server.status import ServingError

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
        """Reads the files and reserves the ports; `start` opens them.

        Raises:
            OSError: A port is taken, or a file cannot be read.
            ValueError: A file cannot be parsed.
            ServingError: A model cannot be served with this config.
        """
        self._config = config
        self._models = configs.read_models(config)
        model_configs.configs_by_name(self._models, {})
        metrics_path = configs.read_metrics_path(config)
        self.metrics = Metrics()
        self._loader = VersionLoader(config, configs.read_runtime(config), self.metrics)
        self._request_log = RequestLog(self.metrics)
        self.manager = ModelManager(
            self._loader, load_policy(config), label_policy(config), self._request_log.configure
        )
        self.metrics.is_served = self.manager.is_configured
        self._grpc = GrpcServer(config)
        self._http = self._http_server(metrics_path)
        port = self._http.port if self._http else 0
        self.address = Address(config.host, self._grpc.port, port)
        self._is_stopped = threading.Event()

    def start(self) -> None:
        """Loads the models, then opens the ports; returns when the server is ready.

        Raises:
            ServingError: A model does not become available.
            OSError: A port was taken in the meantime.
        """
        self.manager.reload_config(self._models)
        if self._is_stopped.is_set():
            return
        self._loader.limit(self._config.num_load_threads)
        self._grpc.start(self._services())
        if self._http:
            self._http.start()
        if self._config.model_config_file:
            threading.Thread(target=self._watch_config, name="config", daemon=True).start()

    def stop(self) -> None:
        """Rejects new requests, waits for open ones, and stops."""
        self._is_stopped.set()
        start = time.perf_counter()
        with contextlib.ExitStack() as stack:
            stack.callback(self.manager.stop)
            stack.callback(self._request_log.close)
            draining = threading.Thread(target=self._grpc.drain)
            draining.start()
            stack.callback(draining.join)
            if self._http:
                self._http.drain()
        _log.info("Drained in %.1f s", time.perf_counter() - start)

    def _services(self) -> Iterator[grpc.GenericRpcHandler]:
        packs_tensors = self._config.enable_serialization_as_tensor_content
        yield PredictionService(
            self.manager,
            self.metrics,
            self._request_log,
            packs_tensors,
            is_batched=self._loader.is_batching,
        ).handlers()
        yield ModelService(self.manager, self.metrics).handlers()
        if self._config.enable_profiler:
            yield ProfilerService().handlers()

    def _http_server(self, metrics_path: str | None) -> HttpServer | None:
        config = self._config
        if not config.serves_rest:
            _log.error("--rest_api_port cannot be same as --port: REST is not served.")
            return None
        milliseconds = config.rest_api_timeout_in_ms
        seconds = milliseconds / 1000 if milliseconds > 0 else None
        api = rest.RestApi(self.manager, self.metrics, self._request_log, metrics_path, seconds)
        return HttpServer(config, api, seconds)

    def _watch_config(self) -> None:
        """Rereads the model config periodically and applies changes."""
        seconds = self._config.model_config_file_poll_wait_seconds
        in_force = self._models
        while seconds > 0 and not self._is_stopped.wait(seconds):
            try:
                models = configs.read_models(self._config)
                if models != in_force:
                    self.manager.reload_config(models)
                    in_force = models
            except (OSError, ValueError, ServingError) as error:
                _log.error("Keeping the current model config: %s", error)


def load_policy(config: ServerConfig) -> LoadPolicy:
    """Returns when to look for versions, and how often to retry loading one."""
    return LoadPolicy(
        config.file_system_poll_wait_seconds,
        config.max_num_load_retries,
        max(0.0, config.load_retry_interval_micros / 1e6),
    )


def label_policy(config: ServerConfig) -> LabelPolicy:
    """Returns which labels may point to unavailable versions."""
    if config.force_allow_any_version_labels_for_unavailable_models:
        return LabelPolicy.ANY
    if config.allow_version_labels_for_unavailable_models:
        return LabelPolicy.UNUSED
    return LabelPolicy.NONE
