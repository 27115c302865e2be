"""The model server compared with direct calls of the model: latency, throughput, endurance."""

import contextlib
import json
import platform
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks import load, malformed
from benchmarks.targets import Target, conclude
from data_sources.cifar_format import CIFAR10
from pipeline_def.config import PipelineConfig
from serving.model_server import storage
from serving.model_server.config import DEFAULT_METRICS_PATH
from serving.model_server.process import ServerProcess
from serving.model_server.servable import DEFAULT_SIGNATURE, Servable
from trainer_module import layers, network, preprocessing
from trainer_module.hyper_parameters import REFERENCE

MODEL = "cifar10"
METHOD = "/tensorflow.serving.PredictionService/Predict"
# Direct calls and the servers take turns, so that a slow minute of the machine affects all.
ROUNDS = 3
LATENCY_TURNS = 7  # in each round
LATENCY_BLOCK = 50
LOAD_SECONDS = 2.0
DIRECT_SECONDS = 1.0
CLIENTS = (1, 8, 32)
IMAGES_OF_A_REQUEST = (1, 32)
SWAP_SECONDS = 60
SWAP_CLIENTS = 4
MALFORMED_COUNT = 10_000
MIB = 2**20

# No batch timeout: the next batch gathers while one runs.
BATCHING = "max_batch_size { value: 64 } max_enqueued_batches { value: 100 }"


def main(json_output: bool, model_dir: str = "", swap_seconds: float = SWAP_SECONDS) -> int:
    """Measures, prints a table or one JSON object, and returns the exit code.

    Args:
        json_output: Whether to print JSON.
        model_dir: A version folder; "" takes the latest pushed model or, if there is none,
            the network with random weights, which costs the same.
        swap_seconds: How long to swap versions under load, one per second.

    Returns:
        0 when every target is met, else 1.
    """
    report: dict[str, Any] = {
        "benchmark": "serving",
        "python": platform.python_version(),
    }
    with tempfile.TemporaryDirectory(prefix="cifar-bench-") as name:
        folder = Path(name)
        version, report["model"] = find_model(model_dir, folder)
        base = folder / "served"
        base.mkdir()
        shutil.copytree(version, base / "1")
        report |= measure_speed(base, folder)
        report["swaps"] = measure_swaps(base, folder, swap_seconds)
        report["malformed"] = measure_malformed(base)
    return conclude(report, judge(report), table, json_output)


def find_model(model_dir: str, folder: Path) -> tuple[Path, str]:
    """Returns the version folder to measure, and its description."""
    if model_dir:
        return Path(model_dir), model_dir
    config = PipelineConfig()
    pushed = Path(config.serving_dir or Path(config.output_dir) / "serving") / MODEL
    versions = storage.list_versions(pushed) if pushed.is_dir() else {}
    if versions:
        return versions[max(versions)], f"pushed version {max(versions)}"
    write_untrained(folder / "untrained")
    return folder / "untrained", "the network with random weights"


def write_untrained(path: Path) -> None:
    """Writes the network as a SavedModel whose default signature takes images."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.uint8, [None, *CIFAR10.image_set.image_shape], "images")
        cropped = preprocessing.standardize(preprocessing.central_crop(images))
        all_layers = network.layers(REFERENCE.conv_stddev, CIFAR10.num_classes)
        logits = layers.logits_of(cropped, all_layers, "float32")
        probabilities = tf.nn.softmax(logits)
        class_ids = tf.argmax(probabilities, -1)
        outputs = {
            "probabilities": probabilities,
            "class_ids": class_ids,
            "classes": tf.gather(tf.constant(CIFAR10.class_names), class_ids),
        }
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(path), {"images": images}, outputs)


def images_of(count: int) -> np.ndarray:
    """Returns noise as uint8 images, shape (count, 32, 32, 3)."""
    shape = (count, *CIFAR10.image_set.image_shape)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def request_of(count: int) -> predict_pb2.PredictRequest:
    """Returns a request with `count` images."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images_of(count)))
    return request


def timed(calls: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    """Returns the p50 and p99 latency of each call, in milliseconds.

    The calls take turns, a block of each at a time, so that a slow minute of the machine
    affects all of them equally.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(LATENCY_TURNS + 1):
        for name, call in calls.items():
            for _ in range(LATENCY_BLOCK):
                start = time.perf_counter()
                call()
                if turn:  # the first one warms up
                    seconds[name].append(time.perf_counter() - start)
    found = {name: np.percentile(times, [50, 99]) * 1000 for name, times in seconds.items()}
    return {
        name: {"p50_ms": round(p50, 3), "p99_ms": round(p99, 3)}
        for name, (p50, p99) in found.items()
    }


def direct_call(servable: Servable) -> Callable[[np.ndarray], object]:
    """Returns a function that runs the default signature on images, in this process."""
    signature = servable.signatures[DEFAULT_SIGNATURE]
    fed = signature.inputs["images"].name
    fetches = tuple(sorted(info.name for info in signature.outputs.values()))
    return lambda images: servable.run({fed: images}, fetches)


def measure_speed(base: Path, folder: Path) -> dict[str, Any]:
    """Returns the medians of several rounds: direct calls, latency and throughput."""
    batching = folder / "batching.config"
    batching.write_text(BATCHING)
    flags = ("--enable_batching", f"--batching_parameters_file={batching}")
    servable = Servable(base / "1", MODEL, 1)
    with served(base) as plain, served(base, *flags) as batched:
        rounds = [
            {
                "direct_images_per_second": measure_direct(servable),
                "latency": measure_latency(servable, plain),
                "throughput": measure_throughput(plain, batched, folder),
            }
            for _ in range(ROUNDS)
        ]
    servable.close()
    return combined(rounds)


def combined(values: Sequence[Any]) -> Any:
    """Returns one report for several of the same form: the median of each number.

    Failures add up, and the message of the first one is kept.
    """
    first = values[0]
    if isinstance(first, dict):
        return {
            key: sum(value[key] for value in values)
            if key == "failures"
            else combined([value[key] for value in values])
            for key in first
        }
    if isinstance(first, list):
        return [combined(items) for items in zip(*values, strict=True)]
    if isinstance(first, str):
        return next(filter(None, values), "")
    return statistics.median(values)


def measure_direct(servable: Servable) -> dict[str, float]:
    """Returns the images per second of direct calls, by batch size."""
    call = direct_call(servable)
    rates = {}
    for count in (1, 8, 32, 64):
        images = images_of(count)
        for _ in range(5):
            call(images)
        runs, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < DIRECT_SECONDS:
            call(images)
            runs += 1
        rates[str(count)] = round(count * runs / elapsed, 1)
    return rates


@contextlib.contextmanager
def served(base: Path, *flags: str) -> Iterator[ServerProcess]:
    """Runs a server for the model."""
    name = f"--model_name={MODEL}"
    poll = "--file_system_poll_wait_seconds=0.1"
    monitoring = base.parent / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    flags = (*flags, poll, f"--monitoring_config_file={monitoring}")
    with ServerProcess(name, f"--model_base_path={base}", *flags) as server:
        yield server


def measure_latency(servable: Servable, server: ServerProcess) -> dict[str, Any]:
    """Returns the latency of one image: by a direct call and over each protocol."""
    import grpc

    call, images = direct_call(servable), images_of(1)
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = request_of(1)
        session = requests.Session()
        url = f"{server.rest_url}/v1/models/{MODEL}:predict"
        body = json.dumps({"instances": images.tolist()})
        return timed(
            {
                "direct": lambda: call(images),
                "grpc": lambda: stub.Predict(request, timeout=30),
                "rest": lambda: session.post(url, data=body, timeout=30).json(),
            }
        )


def measure_throughput(
    plain: ServerProcess, batched: ServerProcess, folder: Path
) -> list[dict[str, Any]]:
    """Returns the images per second by number of clients, with and without batching."""
    rows = []
    for server in (plain, batched):
        for images in IMAGES_OF_A_REQUEST:
            for clients in CLIENTS:
                body = request_of(images).SerializeToString()
                before = refused(server)
                target = server.grpc_target
                found = load.measure(target, METHOD, body, folder, clients, LOAD_SECONDS)
                found["failures"] += refused(server) - before
                rate = round(found["requests_per_second"] * images, 1)
                row = {"batching": server is batched, "images_of_a_request": images}
                rows.append(row | found | {"images_per_second": rate})
    return rows


def refused(server: ServerProcess) -> int:
    """Returns how many requests the server counts as failed.

    h2load ends by closing its connections, which cancels the requests on them.
    """
    page = requests.get(f"{server.rest_url}{DEFAULT_METRICS_PATH}", timeout=10).text
    counts = re.findall(r'request_count\{model_name="[^"]*",status="(\w+)"\} (\d+)', page)
    return sum(int(count) for status, count in counts if status not in ("OK", "CANCELLED"))


def measure_swaps(base: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """Returns how requests fare while a new version is pushed every second."""
    with served(base) as server:
        is_over = threading.Event()
        swaps = 1

        def push() -> None:
            nonlocal swaps
            while not is_over.wait(1):
                swaps += 1
                staging = base / f".staging-{swaps}"
                shutil.copytree(base / "1", staging)
                staging.rename(base / str(swaps))

        pusher = threading.Thread(target=push)
        pusher.start()
        body = request_of(1).SerializeToString()
        target = server.grpc_target
        found = load.python_clients(target, METHOD, body, folder, SWAP_CLIENTS, seconds)
        is_over.set()
        pusher.join()
        states = requests.get(f"{server.rest_url}/v1/models/{MODEL}", timeout=10).json()
        versions = states["model_version_status"]
        loaded = sum(v["status"]["error_code"] == "OK" for v in versions)
        memory = psutil.Process(server.pid).memory_info().rss // MIB
    return found | {"versions_served": loaded, "server_memory_mib": memory}


def measure_malformed(base: Path) -> dict[str, Any]:
    """Returns how malformed requests affect a server."""
    with served(base) as server:
        process = psutil.Process(server.pid)
        malformed.send_by_rest(server.rest_url, MALFORMED_COUNT // 20)
        before = process.memory_info().rss
        start = time.perf_counter()
        malformed.send_by_rest(server.rest_url, MALFORMED_COUNT * 4 // 5)
        malformed.send_by_grpc(server.grpc_target, MALFORMED_COUNT // 5)
        seconds = time.perf_counter() - start
        grown = (process.memory_info().rss - before) / MIB
        url = f"{server.rest_url}/v1/models/{MODEL}/metadata"
        is_alive = requests.get(url, timeout=10).ok
    return {
        "requests": MALFORMED_COUNT,
        "seconds": round(seconds, 1),
        "memory_grown_mib": round(grown, 1),
        "is_alive": is_alive,
    }


def judge(report: dict[str, Any]) -> list[Target]:
    """Returns the targets of `cifar bench serving` with the measured values."""
    p50 = {name: found["p50_ms"] for name, found in report["latency"].items()}
    above = p50["grpc"] - p50["direct"]
    targets = [Target("one image over gRPC: median above a direct call", above, 1, "ms")]
    for row in report["throughput"]:
        if row["batching"] and row["clients"] == max(CLIENTS):
            images = row["images_of_a_request"]
            rate = report["direct_images_per_second"][str(images)]
            percent = 100 * row["images_per_second"] / rate
            name = f"32 clients, batched, {images} image{'s' * (images > 1)} a request"
            share = f"{name}: share of the direct rate"
            targets.append(Target(share, percent, 80, "%", is_minimum=True))
            if images == 1:
                rate = row["images_per_second"]
                targets.append(Target(name, rate, 1500, "images/s", is_minimum=True))
    failures = sum(row["failures"] for row in [*report["throughput"], report["swaps"]])
    return [
        *targets,
        Target("failed requests while versions are swapped", failures, 0, "requests"),
        Target(
            "memory grown by malformed requests",
            report["malformed"]["memory_grown_mib"],
            50,
            "MiB",
        ),
    ]


def table(report: dict[str, Any], targets: list[Target]) -> Iterator[str]:
    """Yields the lines for a terminal."""
    yield f"model: {report['model']}, {report['cores']} cores"
    for name, found in report["latency"].items():
        yield f"one image, {name}: p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms"
    for images, rate in report["direct_images_per_second"].items():
        yield f"direct call, {images} images: {rate:,.0f} images/s"
    for row in report["throughput"]:
        batching = "batched" if row["batching"] else "unbatched"
        yield (
            f"gRPC, {batching}, {row['clients']} clients, {row['images_of_a_request']} "
            f"images each: {row['images_per_second']:,.0f} images/s ({row['generator']} took "
            f"{row['share_of_cores']:.0%} of the cores)"
        )
    swaps = report["swaps"]
    yield (
        f"swaps: {swaps['versions_served']} versions, {swaps['requests']:,} requests, "
        f"{swaps['failures']} failed"
    )
    for target in targets:
        sign = "≥" if target.is_minimum else "≤"
        met = "met" if target.is_met else "MISSED"
        yield (
            f"{met}: {target.name}: {target.measured:.1f} {target.unit} "
            f"(goal {sign} {target.wanted:g})"
        )
