"""One loaded version of a model: a session and its signatures."""

import asyncio
import collections
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving.model_server import tensors
from serving.model_server.status import Code, ServingError, invalid

DEFAULT_SIGNATURE = "serving_default"
# A client can request any subset of the outputs. Making a callable takes
# 200 ms in a large graph, so the most recently used are kept.
MAX_CALLABLES = 64
# When a step of a request with a deadline is cancelled.
STEP_SECONDS = 64


class Servable:
    """A SavedModel in its own session. `run` may be called from many threads."""

    def __init__(
        self,
        path: Path,
        name: str,
        version: int,
        tags: tuple[str, ...] = ("serve",),
        session_config: config_pb2.ConfigProto | None = None,
        checks_method_names: bool = False,
    ) -> None:
        """Loads the SavedModel in `path`.

        Args:
            path: The version's folder.
            name: Name of the model.
            version: Number of the version.
            tags: Tags of the graph to load.
            session_config: How the session runs.
            checks_method_names: Whether a signature only serves the method it names.

        Raises:
            ServingError: There is no SavedModel, it is damaged, or it has no graph with
                these tags.
            tf.errors.OpError: Its variables cannot be restored.
        """
        self.path = path
        self.checks_method_names = checks_method_names
        self.name = name
        self.version = version
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph, config=session_config)
        self._callables: collections.OrderedDict[tuple, Callable[..., list]] = (
            collections.OrderedDict()
        )
        self._data_types: dict[str, int] = {}
        self._lock = threading.Lock()
        self._making = threading.Lock()
        try:
            with self._graph.as_default():
                self._meta_graph = tf.compat.v1.saved_model.loader.load(
                    self._session, list(tags), str(path)
                )
        except BaseException as error:
            self._session.close()
            if isinstance(error, (OSError, RuntimeError)):
                raise _load_error(path, tags, error) from error
            raise

    @property
    def signatures(self) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        """Returns the signatures by their key."""
        return self._meta_graph.signature_def

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: tuple[str, ...],
        timeout_seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns the fetched tensors.

        Args:
            feeds: Arrays by tensor name; strings are bytes in an object array.
            fetches: Names of tensors.
            timeout_seconds: How long the client waits; see `step_limit`.

        Returns:
            Arrays by tensor name.

        Raises:
            tf.errors.OpError: A kernel rejected its input, or the time ran out.
        """
        names = tuple(sorted(feeds))
        self._check_dtypes(names, feeds)
        step = self._callable(names, fetches, step_limit(timeout_seconds))
        values = step(*(feeds[name] for name in names))
        return {
            name: np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
            for name, value in zip(fetches, values, strict=True)
        }

    async def run_async(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: tuple[str, ...],
        timeout_seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns what `run` returns, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self.run, feeds, fetches, timeout_seconds)

    def close(self) -> None:
        """Frees the variables and the graph; no `run` may be in progress."""
        self._callables.clear()
        self._session.close()

    def _check_dtypes(self, names: tuple[str, ...], feeds: Mapping[str, np.ndarray]) -> None:
        """Raises INVALID_ARGUMENT with the message of the C++ session."""
        for i, name in enumerate(names):
            expected = self._data_types.get(name)
            if expected is None:
                dtype = self._graph.get_tensor_by_name(name).dtype
                expected = self._data_types[name] = dtype.as_datatype_enum
            provided = tensors.data_type(feeds[name])
            if provided != expected:
                raise invalid(
                    f"Expects arg[{i}] to be {tensors.cpp_name(expected)} but "
                    f"{tensors.cpp_name(provided)} is provided"
                )

    def _callable(
        self, feeds: tuple[str, ...], fetches: tuple[str, ...], limit_seconds: int
    ) -> Callable[..., list]:
        key = (feeds, fetches, limit_seconds)
        if step := self._known(key):
            return step
        with self._making:  # one thread makes it; others that need it wait
            if step := self._known(key):
                return step
            options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
            options.run_options.timeout_in_ms = limit_seconds * 1000
            # Keras runs its graphs this way: 42 µs per call, where Session.run and
            # make_callable(feed_list=…) take 190 µs. Like the C++ server, it accepts any
            # shape.
            step = self._session._make_callable_from_options(options)
            with self._lock:
                self._callables[key] = step
                if len(self._callables) > MAX_CALLABLES:
                    self._callables.popitem(last=False)  # freed after its last run
            return step

    def _known(self, key: tuple) -> Callable[..., list] | None:
        with self._lock:
            if key in self._callables:
                self._callables.move_to_end(key)
            return self._callables.get(key)


def _load_error(path: Path, tags: tuple[str, ...], error: Exception) -> ServingError:
    """Returns an error of Python's loader with the code and the message of the C++ loader."""
    if isinstance(error, RuntimeError):
        return ServingError(
            Code.NOT_FOUND,
            "Could not find meta graph def matching supplied tags: "
            f"{{ {' '.join(tags)} }}. To inspect available tag-sets in the SavedModel, please "
            "use the SavedModel CLI: `saved_model_cli`",
        )
    if tf.saved_model.contains_saved_model(str(path)):
        return ServingError(Code.DATA_LOSS, str(error))
    return ServingError(
        Code.NOT_FOUND,
        "Could not find SavedModel .pb or .pbtxt at supplied export directory path: "
        f"{path}. Check that the directory exists and that you have the right permissions for "
        "accessing it.",
    )


def step_limit(timeout_seconds: float | None) -> int:
    """Returns after how many seconds a step is cancelled; 0 is never.

    The caller enforces the exact deadline. A separate callable for each limit would have to
    optimize the graph again at its first run.
    """
    if timeout_seconds is None or timeout_seconds > STEP_SECONDS:
        return 0
    return STEP_SECONDS
