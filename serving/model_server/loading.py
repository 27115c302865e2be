"""Loads one version, adds batching if enabled, and warms it up."""

import contextlib
import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

from serving.model_server import config as configs
from serving.model_server import warmup
from serving.model_server.batching import BatchingServable
from serving.model_server.flags import ServerConfig
from serving.model_server.metrics import Metrics
from serving.model_server.servable import Servable
from serving.model_server.status import to_serving_error

PER_MODEL_BATCHING_FILE = "batching_params.pbtxt"
MLMD_FILE = Path("assets.extra") / "mlmd_uuid"


class VersionLoader:
    """Loads versions. A callable, so that models need not know the flags."""

    def __init__(
        self, config: ServerConfig, runtime: configs.Runtime, metrics: Metrics
    ) -> None:
        """Loads any number of versions in parallel until `limit` is called."""
        self._config = config
        self._runtime = runtime
        self._metrics = metrics
        self._slots: Any = contextlib.nullcontext()

    @property
    def is_batching(self) -> bool:
        """Returns whether batching is enabled."""
        return self._runtime.batching is not None

    def limit(self, num_load_threads: int) -> None:
        """Limits how many versions load in parallel from now on; 0 is one."""
        self._slots = threading.Semaphore(max(1, num_load_threads))

    def __call__(self, name: str, version: int, path: Path) -> Servable:
        """Returns a version, loaded and warmed up.

        Raises:
            Exception: TensorFlow cannot load it, or a warm-up request fails.
        """
        with self._slots:
            servable = self._load(name, version, path)
            try:
                if self._runtime.warmup_iterations:
                    self._warm_up(servable)
            except BaseException:
                servable.close()
                raise
        mlmd_file = path / MLMD_FILE
        if mlmd_file.exists():
            self._metrics.mlmd.set(1, name, str(version), mlmd_file.read_text().strip())
        return servable

    def _load(self, name: str, version: int, path: Path) -> Servable:
        settings: dict[str, Any] = {
            "tags": self._runtime.tags,
            "session_config": self._runtime.session,
            "checks_method_names": self._config.enable_signature_method_name_check,
        }
        parameters = self._batching_parameters(path)
        if not parameters:
            return Servable(path, name, version, **settings)
        return BatchingServable(
            path, name, version, parameters=parameters, metrics=self._metrics, **settings
        )

    def _batching_parameters(self, path: Path) -> configs.BatchingParameters | None:
        """Returns how the requests of a version are batched; None if they are not."""
        common = self._runtime.batching
        if common is None or not self._config.enable_per_model_batching_parameters:
            return common
        own_file = path / PER_MODEL_BATCHING_FILE
        if not own_file.exists():
            return None
        own = configs.read_batching_parameters(own_file)
        return dataclasses.replace(own, num_batch_threads=common.num_batch_threads)

    def _warm_up(self, servable: Servable) -> None:
        start = time.perf_counter()
        status = "OK"
        try:
            records = warmup.warm_up(servable, self._runtime.warmup_iterations)
        except Exception as error:
            records, status = 1, str(to_serving_error(error))
            raise
        finally:
            if records:
                micros = (time.perf_counter() - start) * 1e6
                self._metrics.warmup_latency.observe(micros, str(servable.path), status)
