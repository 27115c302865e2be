"""Runs concurrent requests together: one step of 32 images costs less than 32 steps.

Requests that feed and fetch the same tensors, with the same shapes behind the first
dimension, wait in one queue. A worker takes the longest-waiting queue's requests as one
batch, runs it and gives each request its rows.
"""

import collections
import dataclasses
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.model_server.config import BatchingParameters
from serving.model_server.metrics import Metrics
from serving.model_server.servable import Servable
from serving.model_server.status import Code, ServingError, invalid

# What two requests must share to be run as one: feeds with dtype and shape, fetches.
Key = tuple[tuple[tuple[str, Any, tuple[int, ...]], ...], tuple[str, ...]]


@dataclasses.dataclass
class Task:
    """One request in a queue."""

    feeds: Mapping[str, np.ndarray]
    size: int  # rows
    since: float = dataclasses.field(default_factory=time.perf_counter)
    outputs: dict[str, np.ndarray] | None = None
    error: Exception | None = None
    # Held until the task is done: a future costs three times the wake-ups.
    pending: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Begins to wait."""
        self.pending.acquire()


class BatchingServable(Servable):
    """A servable whose concurrent runs are put together."""

    def __init__(
        self, *args: Any, parameters: BatchingParameters, metrics: Metrics, **kwargs: Any
    ) -> None:
        """Loads the model and starts the batch threads."""
        super().__init__(*args, **kwargs)
        self._parameters = parameters
        self._metrics = metrics
        self._queues: dict[Key, collections.deque[Task]] = {}
        self._rows_waiting = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._workers = [
            threading.Thread(target=self._work, name=f"batch-{self.name}", daemon=True)
            for _ in range(parameters.num_batch_threads)
        ]
        for worker in self._workers:
            worker.start()

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: tuple[str, ...],
        timeout_seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns the fetched tensors' rows for these feeds, from a step with others."""
        size = self._batch_size(feeds)
        if not size:
            return super().run(feeds, fetches, timeout_seconds)
        task = Task(feeds, size)
        described = ((name, a.dtype, a.shape[1:]) for name, a in sorted(feeds.items()))
        self._enqueue((tuple(described), fetches), task)
        if not task.pending.acquire(timeout=-1 if timeout_seconds is None else timeout_seconds):
            raise ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for a batch")
        if task.error:
            raise task.error
        assert task.outputs is not None
        return task.outputs

    def close(self) -> None:
        """Ends the batch threads and frees the model; no `run` may be under way."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()
        super().close()

    def _batch_size(self, feeds: Mapping[str, np.ndarray]) -> int:
        sizes = {array.shape[:1] for array in feeds.values()}
        if () in sizes:
            raise invalid("Batching Run() input tensors must have at least one dimension.")
        if len(sizes) > 1:
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size.")
        ((size,),) = sizes or {(0,)}
        largest = self._parameters.max_batch_size
        if size > largest:
            raise invalid(f"Task size {size} is larger than maximum input batch size {largest}")
        return size

    def _enqueue(self, key: Key, task: Task) -> None:
        parameters = self._parameters
        capacity = parameters.max_enqueued_batches * parameters.max_batch_size
        with self._changed:
            if self._rows_waiting + task.size > capacity:
                raise ServingError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            self._queues.setdefault(key, collections.deque()).append(task)
            self._rows_waiting += task.size
            self._changed.notify()

    def _work(self) -> None:
        while batch := self._next_batch():
            key, tasks = batch
            _, fetches = key
            now = time.perf_counter()
            for task in tasks:
                self._metrics.queuing_latency.observe((now - task.since) * 1e6)
            self._metrics.batch_runs.add()
            try:
                self._run_together(tasks, fetches)
            except Exception as error:
                self._run_one_by_one(tasks, fetches, error)

    def _next_batch(self) -> tuple[Key, list[Task]] | None:
        """Waits for requests that are due, and returns them; None when closed."""
        patience = self._parameters.batch_timeout_micros / 1e6
        with self._changed:
            while True:
                if not self._queues:
                    if self._is_closed:
                        return None
                    self._changed.wait()
                    continue
                key = min(self._queues, key=lambda key: self._queues[key][0].since)
                due_in = self._queues[key][0].since + patience - time.perf_counter()
                if due_in <= 0 or self._is_full(key):
                    return key, self._take(key)
                self._changed.wait(due_in)

    def _is_full(self, key: Key) -> bool:
        rows = sum(task.size for task in self._queues[key])
        return rows >= self._parameters.max_batch_size

    def _take(self, key: Key) -> list[Task]:
        queue, tasks, rows = self._queues[key], [], 0
        while queue and rows + queue[0].size <= self._parameters.max_batch_size:
            tasks.append(queue.popleft())
            rows += tasks[-1].size
        if not queue:
            del self._queues[key]
        self._rows_waiting -= rows
        return tasks

    def _run_together(self, tasks: list[Task], fetches: tuple[str, ...]) -> None:
        rows = sum(task.size for task in tasks)
        feeds = {
            name: self._padded([task.feeds[name] for task in tasks], rows)
            for name in tasks[0].feeds
        }
        outputs = super().run(feeds, fetches)
        fed = len(next(iter(feeds.values())))
        for array in outputs.values():
            if array.shape[:1] != (fed,):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the "
                    "0th dimension sizes of the input tensors",
                )
        first = 0
        for task in tasks:
            last = first + task.size
            task.outputs = {n: a[first:last] for n, a in outputs.items()}
            task.pending.release()
            first = last

    def _padded(self, arrays: list[np.ndarray], rows: int) -> np.ndarray:
        """Returns the arrays joined, the last row repeated up to an allowed size."""
        allowed = self._parameters.allowed_batch_sizes
        missing = next((size for size in allowed if size >= rows), rows) - rows
        if missing:
            arrays = [*arrays, np.repeat(arrays[-1][-1:], missing, axis=0)]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def _run_one_by_one(
        self, tasks: list[Task], fetches: tuple[str, ...], error: Exception
    ) -> None:
        """Finds whose fault it was, so that one bad image does not fail its neighbours."""
        if len(tasks) == 1:
            tasks[0].error = error
            tasks[0].pending.release()
            return
        for task in tasks:
            try:
                self._run_together([task], fetches)
            except Exception as own_error:
                task.error = own_error
                task.pending.release()
