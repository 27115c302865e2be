"""Runs concurrent requests as one batch: one step of 32 images costs less than 32 steps.

Requests that feed and fetch the same tensors, with the same shapes after the first
dimension, wait in one queue. A worker takes the requests of the queue that is due first as one
batch, runs it and gives each request its rows. Requests that arrive during a step wait until
it ends, until `HOLD_SECONDS` have passed, or until their own batch is full.
"""

import asyncio
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

# How long a running step delays the next one. With 32 clients that send single images, a step
# gets 13 images; without the delay it gets 5, and each image takes a third longer.
HOLD_SECONDS = 0.02

# Requests with equal keys can share a batch: feeds with dtype and shape, fetches.
Key = tuple[tuple[tuple[str, Any, Any], ...], tuple[str, ...]]


@dataclasses.dataclass(eq=False)
class Task:
    """One request in a queue, or a part of one."""

    feeds: Mapping[str, np.ndarray]
    size: int  # rows
    since: float = dataclasses.field(default_factory=time.perf_counter)
    outputs: dict[str, np.ndarray] | None = None
    error: Exception | None = None
    # Held until the task is done; a thread's future needs three times as many wake-ups.
    pending: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    future: asyncio.Future | None = None  # of a request in the event loop, which has no thread

    def __post_init__(self) -> None:
        """Marks the task as pending."""
        self.pending.acquire()

    def result(self, timeout_seconds: float | None) -> dict[str, np.ndarray]:
        """Waits for the outputs; raises the task's error if it failed, or TimeoutError."""
        if not self.pending.acquire(timeout=-1 if timeout_seconds is None else timeout_seconds):
            raise TimeoutError
        return self.outcome()

    def outcome(self) -> dict[str, np.ndarray]:
        """Returns the outputs of a task that is done; raises its error if it failed."""
        if self.error:
            raise self.error
        assert self.outputs is not None
        return self.outputs


@dataclasses.dataclass
class TaskQueue:
    """Tasks that can run as one batch."""

    tasks: collections.deque[Task] = dataclasses.field(default_factory=collections.deque)
    rows: int = 0

    def add(self, task: Task) -> None:
        """Appends a task."""
        self.tasks.append(task)
        self.rows += task.size

    def take(self, most_rows: int) -> list[Task]:
        """Removes and returns as many of the first tasks as fit."""
        taken: list[Task] = []
        while self.tasks and self.tasks[0].size <= most_rows:
            taken.append(self.tasks.popleft())
            most_rows -= taken[-1].size
            self.rows -= taken[-1].size
        return taken

    def withdraw(self, task: Task) -> int:
        """Removes a task if it is in the queue; returns how many rows fewer there are."""
        if task not in self.tasks:
            return 0
        self.tasks.remove(task)
        self.rows -= task.size
        return task.size


class BatchingServable(Servable):
    """A servable that batches concurrent runs."""

    def __init__(
        self, *args: Any, parameters: BatchingParameters, metrics: Metrics, **kwargs: Any
    ) -> None:
        """Loads the model and starts the batch threads."""
        super().__init__(*args, **kwargs)
        self._parameters = parameters
        self._metrics = metrics
        self._queues: dict[Key, TaskQueue] = {}
        self._rows_waiting = 0
        self._steps = 0  # running now
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
        """Returns these feeds' rows of the fetched tensors, from a shared step."""
        size = self._batch_size(feeds)
        if not size:
            return super().run(feeds, fetches, timeout_seconds)
        most = self._parameters.largest_step
        starts = range(0, size, most)
        tasks = [
            Task({n: a[i : i + most] for n, a in feeds.items()}, min(most, size - i))
            for i in starts
        ]
        key = self._key(feeds, fetches)
        self._enqueue(key, tasks)
        try:
            parts = [task.result(timeout_seconds) for task in tasks]
        except TimeoutError:
            raise self._withdraw(key, tasks) from None
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    async def run_async(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: tuple[str, ...],
        timeout_seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns what `run` returns, without taking up a thread."""
        size = self._batch_size(feeds)
        if not 0 < size <= self._parameters.largest_step:
            return await super().run_async(feeds, fetches, timeout_seconds)
        done = asyncio.get_running_loop().create_future()
        task = Task(feeds, size, future=done)
        key = self._key(feeds, fetches)
        self._enqueue(key, [task])
        try:
            await asyncio.wait_for(done, timeout_seconds)
        except asyncio.TimeoutError:
            raise self._withdraw(key, [task]) from None
        except asyncio.CancelledError:  # the client is gone
            self._withdraw(key, [task])
            raise
        return task.outcome()

    def close(self) -> None:
        """Stops the batch threads and frees the model; no `run` may be in progress."""
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

    def _key(self, feeds: Mapping[str, np.ndarray], fetches: tuple[str, ...]) -> Key:
        is_padded = self._parameters.pad_variable_length_inputs
        described = (
            (name, array.dtype, array.ndim if is_padded else array.shape[1:])
            for name, array in sorted(feeds.items())
        )
        return tuple(described), fetches

    def _enqueue(self, key: Key, tasks: list[Task]) -> None:
        parameters = self._parameters
        rows = sum(task.size for task in tasks)
        with self._changed:
            if self._rows_waiting + rows > (
                parameters.max_enqueued_batches * parameters.max_batch_size
            ):
                raise ServingError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            queue = self._queues.setdefault(key, TaskQueue())
            is_first = not queue.tasks
            for task in tasks:
                queue.add(task)
            self._rows_waiting += rows
            # Wake a worker only if it may have something to run.
            if is_first or not self._steps or queue.rows >= parameters.largest_step:
                self._changed.notify()

    def _work(self) -> None:
        while batch := self._next_batch():
            (_, fetches), tasks = batch
            now = time.perf_counter()
            for task in tasks:
                self._metrics.queuing_latency.observe((now - task.since) * 1e6)
            self._metrics.batch_runs.add()
            try:
                self._run_together(tasks, fetches)
            except Exception as error:
                self._run_one_by_one(tasks, fetches, error)

    def _next_batch(self) -> tuple[Key, list[Task]] | None:
        """Waits for a batch that is due, and returns it; None when closed."""
        with self._changed:
            while True:
                if not self._queues:
                    if self._is_closed:
                        return None
                    self._changed.wait()
                    continue
                due = {key: self._due_in(queue) for key, queue in self._queues.items()}
                key = min(due, key=due.__getitem__)
                if due[key] <= 0:
                    return key, self._taken(key)
                self._changed.wait(due[key])

    def _due_in(self, queue: TaskQueue) -> float:
        """Returns for how many more seconds a queue may wait for requests."""
        if queue.rows >= self._parameters.largest_step:
            return 0
        patience = self._parameters.batch_timeout_micros / 1e6
        if self._steps:
            patience = max(patience, HOLD_SECONDS)
        return queue.tasks[0].since + patience - time.perf_counter()

    def _taken(self, key: Key) -> list[Task]:
        queue = self._queues[key]
        tasks = queue.take(self._parameters.largest_step)
        if not queue.tasks:
            del self._queues[key]
        if self._queues:
            self._changed.notify()  # another worker watches the rest
        self._rows_waiting -= sum(task.size for task in tasks)
        self._steps += 1
        return tasks

    def _withdraw(self, key: Key, tasks: list[Task]) -> ServingError:
        """Removes a request from its queue; returns the error if its time has run out."""
        with self._changed:
            queue = self._queues.get(key, TaskQueue())
            rows = sum(map(queue.withdraw, tasks))
            self._rows_waiting -= rows
            if rows and not queue.tasks:
                del self._queues[key]
        if rows:
            return ServingError(
                Code.RESOURCE_EXHAUSTED,
                "Run() timeout exceeded while waiting in batching queue",
            )
        return ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")

    def _run_together(self, tasks: list[Task], fetches: tuple[str, ...]) -> None:
        outputs, fed = self._step(tasks, fetches)
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
            first = last
        wake(tasks)

    def _step(
        self, tasks: list[Task], fetches: tuple[str, ...]
    ) -> tuple[dict[str, np.ndarray], int]:
        """Returns the outputs of a batch, and its number of rows with padding.

        The next step may start as soon as this one ends, before its rows are distributed.
        """
        rows = sum(task.size for task in tasks)
        try:
            feeds = {
                name: self._joined([task.feeds[name] for task in tasks], rows)
                for name in tasks[0].feeds
            }
            return super().run(feeds, fetches), len(next(iter(feeds.values())))
        finally:
            with self._changed:
                self._steps -= 1
                self._changed.notify()

    def _joined(self, arrays: list[np.ndarray], rows: int) -> np.ndarray:
        """Returns one array, padded with copies of the last row to an allowed size."""
        if self._parameters.pad_variable_length_inputs:
            arrays = padded(arrays)
        allowed = self._parameters.allowed_batch_sizes
        missing = next((size for size in allowed if size >= rows), rows) - rows
        if missing:
            arrays = [*arrays, np.repeat(arrays[-1][-1:], missing, axis=0)]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def _run_one_by_one(
        self, tasks: list[Task], fetches: tuple[str, ...], error: Exception
    ) -> None:
        """Runs the tasks of a failed batch one by one, so that only the bad ones fail."""
        if len(tasks) == 1:
            tasks[0].error = error
            wake(tasks)
            return
        for task in tasks:
            with self._changed:
                self._steps += 1
            try:
                self._run_together([task], fetches)
            except Exception as own_error:
                task.error = own_error
                wake([task])


def wake(tasks: list[Task]) -> None:
    """Wakes whoever waits for the tasks: each thread, and the event loop once for all."""
    for task in tasks:
        task.pending.release()
    waiting = [task.future for task in tasks if task.future]
    if waiting:
        waiting[0].get_loop().call_soon_threadsafe(_resolve, waiting)


def _resolve(waiting: list[asyncio.Future]) -> None:
    for future in waiting:
        if not future.done():  # the client may be gone
            future.set_result(None)


def padded(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the arrays padded to the largest size in all dimensions after the first.

    Each is padded with its own first element, as in the C++ server.
    """
    sizes = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    found = []
    for array in arrays:
        missing = [(0, 0), *((0, m) for m in sizes - array.shape[1:])]
        filler = array.flat[0] if array.size else 0
        found.append(np.pad(array, missing, constant_values=filler))
    return found
