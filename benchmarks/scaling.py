"""Writes the tables of docs/scaling.md: what was measured, and what follows for more.

The measurements are those in docs/measurements/; `python -m benchmarks.scaling` computes the
rest from them. Tables stand between `<!-- NAME -->` and `<!-- end -->`, as in
docs/measurements.md.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable

from benchmarks import beam
from benchmarks.line import fitted
from benchmarks.measurements import BLOCK, DOCS, read
from benchmarks.process import GIB
from contract.features import CHANNELS
from data_sources.cifar_format import CIFAR10
from data_sources.dataset import read_sample

PAGE = DOCS / "scaling.md"
COMMAND = "cifar bench pipeline --scale 10"
EVAL_SHARE = 1 / 6  # of CIFAR-10's images
ON_EVAL = ("Evaluator", "ReportGen")  # stages whose time grows with eval alone
SIZES = (1_000_000, 100_000_000)
WORKERS = (1, 8, 64)
NETWORK_BYTES_PER_SECOND = 10e9 / 8  # assumed: 10 Gbit/s between two pods
PARAMETER_BYTES = 4 * 1_068_298  # of our network, float32
BATCH_OF_A_WORKER = 128
TRAINING_WORKERS = (1, 2, 4, 8, 16, 64)
UTILIZATION = 0.6  # of a server on average, so that the queue stays short
REQUEST_RATES = (100, 1_000, 10_000)


@dataclasses.dataclass(frozen=True)
class Cost:
    """The seconds of a stage: `fixed`, and more for each image of `eval` or of all."""

    fixed: float
    per_image: float
    share: float

    def seconds(self, images: int, workers: int = 1) -> float:
        """Returns the seconds with perfectly divided work."""
        return self.fixed + self.per_image * images * self.share / workers


def main() -> None:
    """Updates the numbers on the page."""
    PAGE.write_text(with_tables(PAGE.read_text()))


def with_tables(text: str) -> str:
    """Returns the page with every table computed anew."""

    def block(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        return f"{begin}{chr(10).join(TABLES[name]())}\n{end}"

    return BLOCK.sub(block, text)


def costs() -> dict[str, Cost]:
    """Returns the line through both measurements of each stage."""
    report = read("growth")
    once, often = report["once"]["stages"], report["scaled"]["stages"]
    found = {}
    for stage, seconds in once.items():
        share = EVAL_SHARE if stage in ON_EVAL else 1.0
        images = report["images"] * share
        per_image = max(0.0, (often[stage] - seconds) / (images * (report["scale"] - 1)))
        found[stage] = Cost(max(0.0, seconds - per_image * images), per_image, share)
    return found


def stages() -> Iterable[str]:
    """Yields the fixed and the marginal cost of each stage."""
    report = read("growth")
    yield (
        f"`{COMMAND}`, {report['date']}, {report['cores']} cores ({report['cpu']}), "
        "one process a stage:"
    )
    yield ""
    yield (
        "| stage | measured, 60,000 images | measured, 600,000 | computed: fixed | "
        "computed: each image |"
    )
    yield "|---|---|---|---|---|"
    for stage, cost in costs().items():
        once, often = (report[key]["stages"][stage] for key in ("once", "scaled"))
        each = f"{1e6 * cost.per_image:.0f} µs" + " of `eval`" * (cost.share < 1)
        yield (
            f"| {stage} | {once:.1f} s | {often:.1f} s | {cost.fixed:.1f} s | "
            f"{each if cost.per_image > 1e-6 else '–'} |"
        )
    once, often = (report[key]["peak_bytes"] / GIB for key in ("once", "scaled"))
    yield f"| peak memory of the run | {once:.2f} GiB | {often:.2f} GiB | | |"


def runners() -> Iterable[str]:
    """Yields the cost of each Beam stage on each runner, from several amounts of data."""
    report = read("beam")
    sizes = [size for size in report["scale"] if size]
    amounts = [report["images"] * size for size in sizes]
    yield (
        f"`cifar bench beam --scale {','.join(map(str, sizes))}`, {report['date']}, "
        f"{report['cores']} cores ({report['cpu']}):"
    )
    yield ""
    yield (
        "| stage | runner | "
        + " | ".join(f"measured, {amount:,}" for amount in amounts)
        + " | fitted: fixed | fitted: each image | farthest from the line |"
    )
    yield "|---" * (5 + len(sizes)) + "|"
    for stage in beam.STAGES:
        share = EVAL_SHARE if stage in ON_EVAL else 1.0
        images = [amount * share for amount in amounts]
        for runner in dict.fromkeys(one["runner"] for one in report["runs"]):
            seconds = [beam.seconds_of(report, runner, size)[stage] for size in sizes]
            line = fitted(images, seconds)
            cells = " | ".join(f"{each:.1f} s" for each in seconds)
            yield (
                f"| {stage} | {runner} | {cells} | {line.fixed:.1f} s | "
                f"{1e6 * line.each:.0f} µs{' of `eval`' * (share < 1)} | "
                f"{line.farthest:.0%} |"
            )


def larger() -> Iterable[str]:
    """Yields the computed time of the Beam stages and the report for more data and workers."""
    yield (
        "| computed | "
        + " | ".join(
            f"{size:,} images, {workers} workers"
            if workers > 1
            else f"{size:,} images, 1 worker"
            for size in SIZES
            for workers in WORKERS
        )
        + " |"
    )
    yield "|---" * (1 + len(SIZES) * len(WORKERS)) + "|"
    for stage in (*beam.STAGES, "ReportGen"):
        cells = [
            duration(costs()[stage].seconds(size, workers if stage in beam.STAGES else 1))
            for size in SIZES
            for workers in WORKERS
        ]
        yield f"| {stage} | " + " | ".join(cells) + " |"


def training() -> Iterable[str]:
    """Yields the computed speed of training on several workers."""
    yield (
        "| workers | joint batch | computed: step alone | + making all batches | + gradients | "
        "images/s | of ideal |"
    )
    yield "|---" * 7 + "|"
    for workers in TRAINING_WORKERS:
        step, making, gradients = step_seconds(workers)
        yield (
            f"| {workers} | {BATCH_OF_A_WORKER * workers:,} | {1e3 * step:.0f} ms | "
            f"{1e3 * making:.0f} ms | {1e3 * gradients:.0f} ms | {joint_speed(workers):,.0f} | "
            f"{step / (step + making + gradients):.0%} |"
        )


def step_seconds(workers: int) -> tuple[float, float, float]:
    """Returns the seconds of a step: alone, for making the joint batch, for gradients.

    Gradients travel around a ring, which takes each worker's link twice.
    """
    medians = read("training")["medians"]
    # Without instructions for bfloat16 it was not trained in.
    speed = medians.get("ours_bfloat16", medians["ours_float32"])
    joint = BATCH_OF_A_WORKER * workers
    making = joint / (speed * input_factor()) if workers > 1 else 0.0
    sent_bytes = 2 * (workers - 1) / workers * PARAMETER_BYTES
    return BATCH_OF_A_WORKER / speed, making, sent_bytes / NETWORK_BYTES_PER_SECOND


def joint_speed(workers: int) -> float:
    """Returns the images that workers train on in a second, all together."""
    return BATCH_OF_A_WORKER * workers / sum(step_seconds(workers))


def input_factor() -> float:
    """Returns how many times as fast as a step batches are made, as measured."""
    (factor,) = (
        target["measured"]
        for target in read("training")["targets"]
        if target["name"].startswith("input pipeline")
    )
    return float(factor)


def volume() -> Iterable[str]:
    """Yields how much the shared volume holds and has to deliver."""
    image_bytes = CHANNELS * 32 * 32
    checksums = read_sample().checksums
    file_bytes = len(json.dumps(dict(checksums))) / len(checksums)
    files = 100_000_000 // 10_000
    yield "| computed for 100,000,000 images | |"
    yield "|---|---|"
    yield f"| batch files | {CIFAR10.record_bytes * 1e8 / 1e9:,.0f} GB |"
    yield f"| pixels that a pass of one Trainer reads | {image_bytes * 1e8 / 1e9:,.0f} GB |"
    for workers in WORKERS[1:]:
        rate = joint_speed(workers) * image_bytes / 1e6
        yield (
            f"| read at full speed by each of {workers} workers, all of them together | "
            f"{rate:,.0f} MB/s, {workers * rate / 1e3:,.1f} GB/s |"
        )
    yield (
        f"| checksums in the metadata, {files:,} batch files of 10,000 | "
        f"{file_bytes * files / 1e6:.1f} MB |"
    )


def serving() -> Iterable[str]:
    """Yields the measured rates of one server, and the computed number of replicas."""
    report = read("serving")
    rates = {
        images: max(
            one["requests_per_second"]
            for one in report["throughput"]
            if one["images_of_a_request"] == images
        )
        for images in (1, 32)
    }
    yield (
        f"| images a request | measured: requests/s of one server, {report['cores']} cores | "
        + " | ".join(f"computed: replicas for {rate:,}/s" for rate in REQUEST_RATES)
        + " |"
    )
    yield "|---" * (2 + len(REQUEST_RATES)) + "|"
    for images, measured in rates.items():
        cells = [str(replicas(rate, measured)) for rate in REQUEST_RATES]
        yield f"| {images} | {measured:,.0f} | " + " | ".join(cells) + " |"


def replicas(rate: float, of_one: float) -> int:
    """Returns how many servers bear a rate at UTILIZATION, with one to spare."""
    return math.ceil(rate / (of_one * UTILIZATION)) + 1


def duration(seconds: float) -> str:
    """Returns seconds as `45 s`, `12 min` or `3.4 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"


TABLES: dict[str, Callable[[], Iterable[str]]] = {
    "stages": stages,
    "runners": runners,
    "larger": larger,
    "training": training,
    "volume": volume,
    "serving": serving,
}

if __name__ == "__main__":
    main()
