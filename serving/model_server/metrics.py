"""Counters and histograms, with the names and the text format of the C++ server."""

import bisect
import contextlib
import copy
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from serving.model_server.status import Code, cut, to_serving_error

# Upper bounds in microseconds, 10 × 1.8^i; a last bucket takes everything above.
LATENCY_BUCKETS = tuple(10 * 1.8**i for i in range(33))
COUNT_BUCKETS = tuple(float(2**i) for i in range(15))

_PREFIX = ":tensorflow:serving:"
MAX_SERIES = 1000  # per metric; further label values count as OTHER
MAX_LABEL_LENGTH = 256
OTHER = "(other)"
# Clients can send any model name; this many unknown ones are counted separately.
MAX_UNKNOWN_MODELS = 100


class Series:
    """Values by label values, limited in number and length: clients choose some labels."""

    def __init__(self, name: str, labels: tuple[str, ...], kind: str) -> None:
        self.name = _PREFIX + name
        self.kind = kind
        self._labels = labels
        self._values: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()

    def _key(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the label values to count under; the caller holds the lock."""
        if values in self._values:
            return values
        values = tuple(cut(value, MAX_LABEL_LENGTH) for value in values)
        if values in self._values or len(self._values) < MAX_SERIES:
            return values
        return (OTHER,) * len(values)

    def _items(self) -> list[tuple[tuple[str, ...], Any]]:
        with self._lock:
            return sorted((labels, copy.copy(v)) for labels, v in self._values.items())


class Counter(Series):
    """A number for each combination of label values."""

    def __init__(self, name: str, labels: tuple[str, ...], kind: str = "counter") -> None:
        """Starts without values; `add` and `set` create them."""
        super().__init__(name, labels, kind)

    def add(self, *values: str, amount: int = 1) -> None:
        """Adds to the number of these label values."""
        with self._lock:
            key = self._key(values)
            self._values[key] = self._values.get(key, 0) + amount

    def set(self, number: int, *values: str) -> None:
        """Replaces the number of these label values."""
        with self._lock:
            self._values[self._key(values)] = number

    def total(self) -> int:
        """Returns the sum over all labels."""
        return sum(number for _, number in self._items())

    def lines(self) -> list[str]:
        """Returns one line of text per number."""
        return [f"{self.name}{{{_pairs(self._labels, v)}}} {n}" for v, n in self._items()]


@dataclasses.dataclass
class _Distribution:
    """How many values fell into each bucket, and their sum."""

    counts: list[int]
    sum: float = 0.0

    def __copy__(self) -> "_Distribution":
        return _Distribution(list(self.counts), self.sum)


class Histogram(Series):
    """How often a measured value fell into each bucket, by label values."""

    def __init__(
        self, name: str, labels: tuple[str, ...], buckets: Iterable[float] = LATENCY_BUCKETS
    ) -> None:
        """Starts without values; `observe` creates them."""
        super().__init__(name, labels, "histogram")
        self._buckets = tuple(buckets)

    def observe(self, value: float, *labels: str) -> None:
        """Counts one value."""
        bucket = bisect.bisect_right(self._buckets, value)
        with self._lock:
            key = self._key(labels)
            found = self._values.get(key)
            if found is None:
                found = self._values[key] = _Distribution([0] * (len(self._buckets) + 1))
            found.counts[bucket] += 1
            found.sum += value

    def total(self) -> int:
        """Returns how many values were observed."""
        return sum(sum(found.counts) for _, found in self._items())

    def lines(self) -> list[str]:
        """Returns the cumulative buckets, the sum and the count of each label set."""
        lines = []
        limits = [f"{limit:g}" for limit in self._buckets] + ["+Inf"]
        for labels, found in self._items():
            pairs = _pairs(self._labels, labels)
            for limit, count in zip(limits, itertools.accumulate(found.counts), strict=True):
                with_limit = ",".join(filter(None, (pairs, f'le="{limit}"')))
                lines.append(f"{self.name}_bucket{{{with_limit}}} {count}")
            lines.append(f"{self.name}_sum{{{pairs}}} {found.sum:g}")
            lines.append(f"{self.name}_count{{{pairs}}} {sum(found.counts)}")
        return lines


class Metrics:
    """Everything one server counts."""

    def __init__(self) -> None:
        self.request_count = Counter("request_count", ("model_name", "status"))
        self.request_latency = Histogram("request_latency", ("model_name", "API", "entrypoint"))
        self.runtime_latency = Histogram("runtime_latency", ("model_name", "API", "runtime"))
        self.warmup_latency = Histogram("model_warmup_latency", ("model_path", "status"))
        self.example_count = Counter("request_example_count_total", ("model",))
        self.example_counts = Histogram("request_example_counts", ("model",), COUNT_BUCKETS)
        self.request_logs = Counter("request_log_count", ("model_name", "status_code"))
        self.queuing_latency = Histogram("batching_session:queuing_latency", ())
        self.batch_runs = Counter("batching_session:wrapped_run_count", ())
        self.mlmd = Counter("mlmd_map", ("model_name", "version", "mlmd_uuid"), "gauge")
        # Whether a model of this name is served; the server sets it.
        self.is_served: Callable[[str], bool] = lambda name: False
        self._unknown: set[str] = set()

    def _model(self, name: str) -> str:
        """Returns the name to count a request under."""
        if self.is_served(name) or name in self._unknown:
            return name
        name = cut(name, MAX_LABEL_LENGTH)
        if name in self._unknown:
            return name
        if len(self._unknown) >= MAX_UNKNOWN_MODELS:
            return OTHER
        self._unknown.add(name)
        return name

    @contextlib.contextmanager
    def request(self, model_name: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts a request by its outcome, and times the successful ones."""
        start = time.perf_counter()
        code = Code.CANCELLED  # raises what is no Exception
        try:
            yield
            code = Code.OK
            micros = (time.perf_counter() - start) * 1e6
            self.request_latency.observe(micros, self._model(model_name), api, entrypoint)
        except Exception as error:
            code = to_serving_error(error).code
            raise
        finally:
            self.request_count.add(self._model(model_name), code.name)

    @contextlib.contextmanager
    def runtime(self, model_name: str, api: str) -> Iterator[None]:
        """Times inference, including the decoding of tensors."""
        start = time.perf_counter()
        yield
        micros = (time.perf_counter() - start) * 1e6
        self.runtime_latency.observe(micros, model_name, api, "TF1")

    def examples(self, model_name: str, count: int) -> None:
        """Counts the examples of a Classify, Regress or MultiInference request."""
        self.example_count.add(model_name, amount=count)
        self.example_counts.observe(count, model_name)

    def all(self) -> list[Counter | Histogram]:
        """Returns every metric."""
        return [m for m in vars(self).values() if isinstance(m, (Counter, Histogram))]

    def total(self, name: str) -> int:
        """Returns the sum of a counter over all labels; 0 if it does not exist.

        Args:
            name: As on the page, or with slashes, as in TensorFlow Serving's code.
        """
        wanted = name.replace("/", ":")
        return sum(m.total() for m in self.all() if m.name == wanted)

    def page(self) -> str:
        """Returns the metrics as text for Prometheus."""
        lines = []
        for metric in self.all():
            lines += [f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
        return "\n".join(lines) + "\n"


def _pairs(names: Iterable[str], values: Iterable[str]) -> str:
    return ",".join(
        f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)
    )


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
