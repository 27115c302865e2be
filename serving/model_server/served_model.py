"""One model: its versions, and the thread that loads and unloads them.

The thread polls the model's folder. It loads and warms up a new version while the old one
keeps answering, then retires the old one, and unloads it once its last request is done. A
request uses one version throughout, so no response mixes two.
"""

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server import storage
from serving.model_server.servable import Servable
from serving.model_server.status import Code, ServingError, to_serving_error

State = get_model_status_pb2.ModelVersionStatus.State
ModelConfig: TypeAlias = model_server_config_pb2.ModelConfig

# Returns a loaded and warmed-up version.
Loader = Callable[[str, int, Path], Servable]

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Version:
    """The state of one version; the model's lock guards every field."""

    number: int
    path: Path
    state: int = State.START
    error: ServingError | None = None
    servable: Servable | None = None
    borrowers: int = 0
    attempts: int = 0
    has_given_up: bool = False
    next_attempt: float = 0.0  # on the monotonic clock


@dataclasses.dataclass(frozen=True)
class LoadPolicy:
    """When to look for versions, and how often to try to load one."""

    poll_seconds: float = 1.0  # 0 looks once, a negative value never
    max_retries: int = 5
    retry_seconds: float = 60.0


class ServedModel:
    """The versions of one model, and the thread that loads and unloads them."""

    def __init__(self, config: ModelConfig, loader: Loader, policy: LoadPolicy) -> None:
        """Starts the thread; `wait_until_settled` waits for its first loads."""
        self.name = config.name
        self._config = config
        self._loader = loader
        self._policy = policy
        self._versions: dict[int, Version] = {}
        self._changed = threading.Condition()
        self._work = threading.Event()
        self._is_removed = False
        self._is_stopped = False
        self._polls = 0
        self._thread = threading.Thread(
            target=self._run, name=f"model-{self.name}", daemon=True
        )
        self._thread.start()

    @contextlib.contextmanager
    def borrow(self, number: int | None) -> Iterator[Servable]:
        """Lends a version (None: the latest available), which stays loaded meanwhile."""
        with self._changed:
            version = self._find(number)
            version.borrowers += 1
            servable = version.servable
        assert servable is not None
        try:
            yield servable
        finally:
            with self._changed:
                version.borrowers -= 1
                if not version.borrowers and version.state == State.UNLOADING:
                    self._work.set()

    def status(self, number: int | None) -> list[Version]:
        """Returns copies of all versions, newest first, or of one version."""
        with self._changed:
            versions = [dataclasses.replace(v) for v in self._versions.values()]
        versions.sort(key=lambda version: version.number, reverse=True)
        return [v for v in versions if number is None or v.number == number]

    def is_available(self, number: int) -> bool:
        """Returns whether a version answers requests now."""
        with self._changed:
            version = self._versions.get(number)
            return version is not None and version.state == State.AVAILABLE

    def reconfigure(self, config: ModelConfig) -> None:
        """Sets a new base path or version policy, which takes effect at the next poll."""
        with self._changed:
            self._config = config
            self._polls = 0
        self._work.set()

    def remove(self) -> None:
        """Unloads every version; their states stay available."""
        with self._changed:
            self._is_removed = True
            self._polls = 0
            self._changed.notify_all()
        self._work.set()

    def stop(self) -> None:
        """Stops the thread. Sessions end with the process."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._work.set()
        self._thread.join(timeout=5)

    def wait_until_settled(self, timeout_seconds: float | None) -> bool:
        """Waits until all versions were tried, and one is available or all have failed.

        Keeps waiting while the model's folder is empty or missing.

        Returns:
            Whether a version is available.
        """
        with self._changed:
            self._changed.wait_for(self._is_settled, timeout_seconds)
            return self._has(State.AVAILABLE)

    def _is_settled(self) -> bool:
        if self._is_stopped or self._is_removed:
            return True
        versions = self._versions.values()
        loading = [v for v in versions if v.state in (State.START, State.LOADING)]
        if self._has(State.AVAILABLE):
            return all(version.error for version in loading)  # each was tried once
        return not loading and any(version.has_given_up for version in versions)

    def _has(self, state: int) -> bool:
        return any(version.state == state for version in self._versions.values())

    def _find(self, number: int | None) -> Version:
        if number is None:
            ready = [v for v in self._versions.values() if v.state == State.AVAILABLE]
            if ready:
                return max(ready, key=lambda version: version.number)
            raise not_found(f"Latest({self.name})")
        version = self._versions.get(number)
        if version is None or version.state != State.AVAILABLE:
            raise not_found(f"Specific({self.name}, {number})")
        return version

    def _run(self) -> None:
        wanted: dict[int, Path] = {}
        while not self._is_stopped:
            try:
                wanted = self._poll(wanted)
                self._load_due(wanted)
                self._retire_unwanted(wanted)
                self._unload_idle()
            except Exception:  # one bad folder must not end the thread
                _log.exception("Updating the versions of %s failed; retrying", self.name)
            if self._is_removed and self._is_unloaded():
                return
            self._work.wait(self._seconds_to_next_poll(wanted))
            self._work.clear()

    def _is_unloaded(self) -> bool:
        with self._changed:
            return all(v.state == State.END for v in self._versions.values())

    def _poll(self, known: dict[int, Path]) -> dict[int, Path]:
        """Returns the wanted versions; the known ones if the folder cannot be read."""
        with self._changed:
            config, polls = self._config, self._polls
            self._polls += 1
            if self._is_removed:
                return {}
        if polls and self._policy.poll_seconds <= 0:
            return known
        try:
            on_disk = storage.list_versions(Path(config.base_path))
        except OSError as error:
            if not polls:
                _log.error(
                    "Could not find base path %s for servable %s: %s",
                    config.base_path, config.name, error.strerror,
                )  # fmt: skip
            return known
        if not on_disk and (known or not polls):
            _log.warning(
                "No versions of servable %s found under base path %s. The names of version "
                "folders must be numbers, as in %s/1/.",
                config.name, config.base_path, config.base_path,
            )  # fmt: skip
        return storage.wanted_versions(on_disk, config.model_version_policy)

    def _load_due(self, wanted: dict[int, Path]) -> None:
        with self._changed:
            for number, path in wanted.items():
                known = self._versions.get(number)
                if known is None or (known.state == State.END and not known.has_given_up):
                    self._versions[number] = Version(number, path)
        for number in wanted:
            with self._changed:
                version = self._versions[number]
                due = version.state in (State.START, State.LOADING)
                due = due and version.next_attempt <= time.monotonic()
                if due:
                    version.state = State.LOADING
                    version.attempts += 1
            if due:
                self._load(version)

    def _load(self, version: Version) -> None:
        start = time.perf_counter()
        try:
            servable = self._loader(self.name, version.number, version.path)
        except Exception as error:
            self._note_failure(version, to_serving_error(error))
            return
        with self._changed:
            version.servable, version.error = servable, None
            version.state = State.AVAILABLE
            self._changed.notify_all()
        _log.info(
            "Loaded %s version %d from %s in %.1f s",
            self.name, version.number, version.path, time.perf_counter() - start,
        )  # fmt: skip

    def _note_failure(self, version: Version, error: ServingError) -> None:
        with self._changed:
            is_last = version.attempts > self._policy.max_retries
            version.error = error
            self._changed.notify_all()
            version.next_attempt = time.monotonic() + self._policy.retry_seconds
            if is_last:
                version.state = State.END
                version.has_given_up = True
        _log.error(
            "Loading %s version %d from %s failed (attempt %d of %d): %s",
            self.name, version.number, version.path, version.attempts,
            self._policy.max_retries + 1, error,
        )  # fmt: skip

    def _retire_unwanted(self, wanted: dict[int, Path]) -> None:
        """Retires unwanted versions, but keeps an available one until it is replaced."""
        with self._changed:
            is_replaced = not wanted or any(
                number in self._versions and self._versions[number].state == State.AVAILABLE
                for number in wanted
            )
            for version in self._versions.values():
                if version.number in wanted:
                    continue
                if version.state == State.AVAILABLE and is_replaced:
                    version.state = State.UNLOADING
                elif version.state in (State.START, State.LOADING):
                    version.state = State.END
                version.has_given_up = False  # its folder may come back repaired

    def _unload_idle(self) -> None:
        with self._changed:
            idle = [
                version
                for version in self._versions.values()
                if version.state == State.UNLOADING and not version.borrowers
            ]
        for version in idle:
            assert version.servable is not None
            version.servable.close()
            with self._changed:
                version.servable = None
                version.state = State.END
                self._changed.notify_all()
            _log.info("Unloaded %s version %d", self.name, version.number)

    def _seconds_to_next_poll(self, wanted: dict[int, Path]) -> float | None:
        seconds = self._policy.poll_seconds if self._policy.poll_seconds > 0 else None
        with self._changed:
            retries = [
                version.next_attempt - time.monotonic()
                for version in self._versions.values()
                if version.state == State.LOADING and version.number in wanted
            ]
        times = [max(0.0, r) for r in retries] + ([seconds] if seconds else [])
        return min(times, default=None)


def not_found(wanted: str) -> ServingError:
    """Returns the error of a request for a version that is not available."""
    return ServingError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
