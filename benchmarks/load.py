"""The clients of `cifar bench serving`, which use as little CPU time as possible.

If h2load (Debian: nghttp2-client) is installed, it sends the requests: a C program needs a
fifth of Python's CPU time and leaves the rest to the server. Otherwise this module does, as
`python -m benchmarks.load TARGET METHOD REQUEST_FILE CLIENTS SECONDS`: each of CLIENTS clients
sends the same bytes repeatedly over its own connection; it prints one line of JSON.
"""

import asyncio
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc

WARMUP_SECONDS = 0.5
H2LOAD_WARMUP_SECONDS = 1  # whole seconds only
_RATE = re.compile(r"finished in [^,]+, ([0-9.]+) req/s")
_OUTCOME = re.compile(r"(\d+) done, \d+ succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")


def measure(
    target: str, method: str, request: bytes, folder: Path, clients: int, seconds: float
) -> dict[str, Any]:
    """Returns what clients in a separate process measured, and their share of the cores.

    Args:
        target: Host and port.
        method: The RPC's path.
        request: A serialized message.
        folder: For the files that the clients read.
        clients: Number of clients, each with one request at a time.
        seconds: Duration after a warm-up.
    """
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = h2load if shutil.which("h2load") else python_clients
    found = run(target, method, request, folder, clients, seconds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    share = spent / (time.monotonic() - started) / (os.cpu_count() or 1)
    return found | {"clients": clients, "share_of_cores": round(share, 3)}


def h2load(
    target: str, method: str, request: bytes, folder: Path, clients: int, seconds: float
) -> dict[str, Any]:
    """Returns what h2load measured; it does not see errors that gRPC reports."""
    file = folder / "frame"
    file.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
    command = ["h2load", f"--duration={seconds:.0f}", f"--warm-up-time={H2LOAD_WARMUP_SECONDS}"]
    command += ["--clients", str(clients), "--max-concurrent-streams=1", "--threads=1"]
    command += ["--data", str(file), "--header=content-type: application/grpc"]
    command += ["--header=te: trailers", f"http://{target}{method}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rate, outcome = _RATE.search(done.stdout), _OUTCOME.search(done.stdout)
    if not rate or not outcome:
        raise RuntimeError(f"h2load measured nothing:\n{done.stdout[-1000:]}")
    requests, *failures = map(int, outcome.groups())
    return {
        "generator": "h2load",
        "requests": requests,
        "requests_per_second": float(rate[1]),
        "failures": sum(failures),
        "first_failure": "" if not sum(failures) else outcome[0],
    }


def python_clients(
    target: str, method: str, request: bytes, folder: Path, clients: int, seconds: float
) -> dict[str, Any]:
    """Returns what this module measured as a separate program."""
    file = folder / "request"
    file.write_bytes(request)
    command = [sys.executable, "-m", "benchmarks.load", target, method]
    command += [str(file), str(clients), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


async def client(target: str, method: str, body: bytes, end: float, counts: dict) -> None:
    """Sends requests one after another until `end`; counts responses and failures."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        send = channel.unary_unary(method)
        begin = time.perf_counter() + WARMUP_SECONDS
        while (now := time.perf_counter()) < end:
            try:
                await send(body, timeout=30)
            except grpc.RpcError as error:
                counts["failures"].append(error.details())
            if now >= begin:
                counts["requests"] += 1


async def run(target: str, method: str, body: bytes, clients: int, seconds: float) -> dict:
    """Returns the number of requests, their rate per second, and the failures."""
    counts: dict = {"requests": 0, "failures": []}
    end = time.perf_counter() + WARMUP_SECONDS + seconds
    await asyncio.gather(*(client(target, method, body, end, counts) for _ in range(clients)))
    return {
        "generator": "Python",
        "requests": counts["requests"],
        "requests_per_second": round(counts["requests"] / seconds, 1),
        "failures": len(counts["failures"]),
        "first_failure": next(iter(counts["failures"]), ""),
    }


if __name__ == "__main__":
    address, name, file, number, duration = sys.argv[1:]
    result = run(address, name, Path(file).read_bytes(), int(number), float(duration))
    print(json.dumps(asyncio.run(result)))
