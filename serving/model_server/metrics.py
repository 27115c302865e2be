"""Counters and histograms, under the names and in the text of the C++ server."""

import bisect
import contextlib
import itertools
import threading
import time
from collections.abc import Iterable, Iterator

from serving.model_server.status import Code, to_serving_error

# Microseconds: 10 × 1.8^i, and what is above.
LATENCY_BUCKETS = tuple(10 * 1.8**i for i in range(33))
COUNT_BUCKETS = tuple(float(2**i) for i in range(15))

_PREFIX = ":tensorflow:serving:"


class Number:
    """A number for each combination of label values."""

    def __init__(self, name: str, labels: tuple[str, ...], kind: str = "counter") -> None:
        """Starts without a value; `add` and `set` make them."""
        self.name = _PREFIX + name
        self.kind = kind
        self._labels = labels
        self._values: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def add(self, *values: str, amount: int = 1) -> None:
        """Adds to the number of these label values."""
        with self._lock:
            self._values[values] = self._values.get(values, 0) + amount

    def set(self, number: int, *values: str) -> None:
        """Replaces the number of these label values."""
        with self._lock:
            self._values[values] = number

    def lines(self) -> list[str]:
        """Returns one line of text a number."""
        with self._lock:
            items = sorted(self._values.items())
        return [f"{self.name}{{{_pairs(self._labels, v)}}} {n}" for v, n in items]


class Histogram:
    """How often a measured value fell into each bucket, by label values."""

    kind = "histogram"

    def __init__(
        self, name: str, labels: tuple[str, ...], buckets: Iterable[float] = LATENCY_BUCKETS
    ) -> None:
        """Starts without a value; `observe` makes them."""
        self.name = _PREFIX + name
        self._labels = labels
        self._buckets = tuple(buckets)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *labels: str) -> None:
        """Counts one value."""
        bucket = bisect.bisect_right(self._buckets, value)
        with self._lock:
            counts = self._counts.setdefault(labels, [0] * (len(self._buckets) + 1))
            counts[bucket] += 1
            self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> list[str]:
        """Returns the cumulative buckets, the sum and the count of each label set."""
        with self._lock:
            items = sorted((labels, list(c)) for labels, c in self._counts.items())
            sums = dict(self._sums)
        lines = []
        limits = [f"{limit:g}" for limit in self._buckets] + ["+Inf"]
        for labels, counts in items:
            pairs = _pairs(self._labels, labels)
            for limit, count in zip(limits, itertools.accumulate(counts), strict=True):
                lines.append(f'{self.name}_bucket{{{pairs},le="{limit}"}} {count}')
            lines.append(f"{self.name}_sum{{{pairs}}} {sums[labels]:g}")
            lines.append(f"{self.name}_count{{{pairs}}} {sum(counts)}")
        return lines


class Metrics:
    """Everything one server counts."""

    def __init__(self) -> None:
        """Starts at nothing."""
        self.request_count = Number("request_count", ("model_name", "status"))
        self.request_latency = Histogram("request_latency", ("model_name", "API", "entrypoint"))
        self.runtime_latency = Histogram("runtime_latency", ("model_name", "API", "runtime"))
        self.warmup_latency = Histogram("model_warmup_latency", ("model_path", "status"))
        self.example_count = Number("request_example_count_total", ("model",))
        self.example_counts = Histogram("request_example_counts", ("model",), COUNT_BUCKETS)
        self.queuing_latency = Histogram("batching_session:queuing_latency", ())
        self.batch_runs = Number("batching_session:wrapped_run_count", ())
        self.mlmd = Number("mlmd_map", ("model_name", "version", "mlmd_uuid"), "gauge")

    @contextlib.contextmanager
    def request(self, model_name: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts a request by its outcome, and times the successful ones."""
        start = time.perf_counter()
        code = Code.OK
        try:
            yield
            micros = (time.perf_counter() - start) * 1e6
            self.request_latency.observe(micros, model_name, api, entrypoint)
        except Exception as error:
            code = to_serving_error(error).code
            raise
        finally:
            self.request_count.add(model_name, code.name)

    @contextlib.contextmanager
    def runtime(self, model_name: str, api: str) -> Iterator[None]:
        """Times what is spent on inference, decoding of tensors included."""
        start = time.perf_counter()
        yield
        micros = (time.perf_counter() - start) * 1e6
        self.runtime_latency.observe(micros, model_name, api, "TF1")

    def examples(self, model_name: str, count: int) -> None:
        """Counts the examples of a Classify, Regress or MultiInference request."""
        self.example_count.add(model_name, amount=count)
        self.example_counts.observe(count, model_name)

    def page(self) -> str:
        """Returns the text a Prometheus server reads."""
        lines = []
        for metric in vars(self).values():
            of_metric = metric.lines()
            if of_metric:
                lines += [f"# TYPE {metric.name} {metric.kind}", *of_metric]
        return "\n".join(lines) + "\n"


def _pairs(names: Iterable[str], values: Iterable[str]) -> str:
    return ",".join(
        f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)
    )


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
