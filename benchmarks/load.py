"""Clients that do little more than wait: the load of `cifar bench serving`.

`python -m benchmarks.load TARGET METHOD REQUEST_FILE CLIENTS SECONDS` sends the same bytes
again and again from so many clients, each with a connection of its own, and prints one line
of JSON. A process without TensorFlow, which leaves the cores to the server.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import grpc

WARMUP_SECONDS = 0.5


async def client(target: str, method: str, body: bytes, end: float, counts: dict) -> None:
    """Sends requests one after the other until the end; counts what comes back."""
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
    """Returns how many requests were answered, how many each second, and the failures."""
    counts: dict = {"requests": 0, "failures": []}
    end = time.perf_counter() + WARMUP_SECONDS + seconds
    await asyncio.gather(*(client(target, method, body, end, counts) for _ in range(clients)))
    return {
        "clients": clients,
        "requests": counts["requests"],
        "requests_per_second": round(counts["requests"] / seconds, 1),
        "failures": len(counts["failures"]),
        "first_failure": next(iter(counts["failures"]), ""),
    }


if __name__ == "__main__":
    address, name, file, number, duration = sys.argv[1:]
    result = run(address, name, Path(file).read_bytes(), int(number), float(duration))
    print(json.dumps(asyncio.run(result)))
