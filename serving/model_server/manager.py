"""Manages all models: finds the requested version, reports states, applies new configs."""

import contextlib
import enum
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server.model_configs import ModelConfig, configs_by_name
from serving.model_server.servable import Servable
from serving.model_server.served_model import (
    Loader,
    LoadPolicy,
    ServedModel,
    State,
    Version,
    not_found,
)
from serving.model_server.status import Code, ServingError, invalid


class LabelPolicy(enum.Enum):
    """Which labels may point to a version that is not available."""

    NONE = enum.auto()
    UNUSED = enum.auto()
    ANY = enum.auto()


class ModelManager:
    """All models of the server."""

    def __init__(
        self,
        loader: Loader,
        policy: LoadPolicy,
        labels_of_unavailable: LabelPolicy = LabelPolicy.NONE,
        follow: Callable[[Mapping[str, ModelConfig]], None] = lambda configs: None,
    ) -> None:
        """Starts without models; `reload_config` adds them.

        Args:
            loader: Loads a version.
            policy: When to look for versions, and how often to retry loading one.
            labels_of_unavailable: Which labels may point to unavailable versions.
            follow: Called with each config that takes effect.
        """
        self._follow = follow
        self._loader = loader
        self._policy = policy
        self._labels_of_unavailable = labels_of_unavailable
        self._models: dict[str, ServedModel] = {}
        self._configs: dict[str, ModelConfig] = {}
        self._has_config = False
        self._labels: dict[str, dict[str, int]] = {}
        self._reload_lock = threading.Lock()

    @contextlib.contextmanager
    def borrow(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """Lends the requested version: by number, by label, or else the latest."""
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        number = None
        if choice == "version":
            number = spec.version.value
        elif choice == "version_label":
            label = spec.version_label
            number = self._labels.get(spec.name, {}).get(label)
            if number is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        model = self._models.get(spec.name)
        if model is None:
            wanted = f"Latest({spec.name})"
            if number is not None:
                wanted = f"Specific({spec.name}, {number})"
            raise not_found(wanted)
        with model.borrow(number) as servable:
            yield servable

    def status(self, spec: model_pb2.ModelSpec) -> list[Version]:
        """Returns the states of a model's versions, newest first; a label is ignored."""
        model = self._models.get(spec.name)
        number = spec.version.value if spec.HasField("version") else None
        versions = model.status(number) if model else []
        if versions:
            return versions
        if number is not None:
            raise ServingError(
                Code.NOT_FOUND, f"Could not find version {number} of model {spec.name}"
            )
        raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")

    def is_configured(self, name: str) -> bool:
        """Returns whether the config contains a model of this name."""
        return name in self._configs

    def states(self) -> dict[str, dict[str, str]]:
        """Returns the name of each version's state, by model and version."""
        return {
            name: {str(v.number): State.Name(v.state) for v in model.status(None)}
            for name, model in self._models.items()
        }

    def reload_config(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        timeout_seconds: float | None = None,
    ) -> None:
        """Applies `config`: adds, changes and removes models.

        Args:
            config: Contains a model_config_list; the first one may also be empty.
            timeout_seconds: How long to wait for new models; None waits forever.

        Raises:
            ServingError: The config is invalid or a label points to an unavailable version;
                nothing has changed then. Or a new model does not become available; the config
                is in effect nevertheless.
        """
        with self._reload_lock:
            kind = config.WhichOneof("config")
            if self._has_config and kind != "model_config_list":
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    "Cannot transition to requested config. It is only legal to transition "
                    "from one ModelConfigList to another.",
                )
            if not kind:
                return  # as in C++: a later config may still list models
            configs = configs_by_name(config, self._configs)
            self._labels = self._checked_labels(configs)
            self._has_config = True
            new = [name for name in configs if name not in self._configs]
            for name, model_config in configs.items():
                if name in new:
                    self._models[name] = ServedModel(model_config, self._loader, self._policy)
                elif model_config != self._configs[name]:
                    self._models[name].reconfigure(model_config)
            for name in self._configs.keys() - configs.keys():
                self._models[name].remove()
            self._configs = configs
            self._wait_for(new, timeout_seconds)
            self._follow(configs)

    def stop(self) -> None:
        """Stops the threads of all models."""
        for model in list(self._models.values()):
            model.stop()

    def _wait_for(self, names: list[str], timeout_seconds: float | None) -> None:
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        failed = [
            name
            for name in names
            if not self._models[name].wait_until_settled(
                None if deadline is None else max(0.0, deadline - time.monotonic())
            )
        ]
        if failed and deadline is not None and time.monotonic() >= deadline:
            raise ServingError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if failed:
            listed = "".join(
                f"{{{{name: {name} version: {version.number}}}{_due_to(version)}}}, "
                for name in failed
                for version in self._models[name].status(None)
            )
            raise ServingError(
                Code.UNKNOWN, f"{len(failed)} model(s) did not become available: {{{listed}}}"
            )

    def _checked_labels(self, configs: dict[str, ModelConfig]) -> dict[str, dict[str, int]]:
        labels: dict[str, dict[str, int]] = {}
        for name, config in configs.items():
            for label, number in config.version_labels.items():
                known = self._labels.get(name, {}).get(label)
                if not self._is_free(known, number) and not self._is_available(name, number):
                    raise ServingError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {number} of model {name}, "
                        "which is not currently available for inference",
                    )
                labels.setdefault(name, {})[label] = number
        return labels

    def _is_free(self, known: int | None, number: int) -> bool:
        """Returns whether a label may point to a version that is not available."""
        if self._labels_of_unavailable == LabelPolicy.UNUSED:
            return known in (None, number)
        return self._labels_of_unavailable == LabelPolicy.ANY

    def _is_available(self, name: str, number: int) -> bool:
        return name in self._models and self._models[name].is_available(number)


def _due_to(version: Version) -> str:
    if version.error is None:
        return ""
    return f" due to error: {version.error.code.name}: {version.error.message}"
