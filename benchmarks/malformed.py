"""Wrong requests by the thousand, generated from right ones."""

import random

import grpc
import requests

PREDICT = "/v1/models/{}:{}"
SEEDS = (
    b'{"instances": [1.0, 2.0, 5.0]}',
    b'{"signature_name": "two_outputs", "inputs": {"x": [[1.0], [2.0]]}}',
    b'{"signature_name": "regress", "examples": [{"x": 2.0}, {"x": [1, 2]}]}',
    b'{"instances": [{"text": {"b64": "aGk="}, "number": 3}]}',
    b'{"signature_name": "classify", "context": {}, "examples": [{"image": "abc"}]}',
)
INSERTS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\x00", b"\xff", b"-", b"1e999",
    b"NaN", b"null", b"true", b'{"b64": "!"}', b"[" * 2000, b'{"a":' * 2000, b"9" * 400,
    b'"\\ud800"', b"[[], [[]]]",
)  # fmt: skip
METHODS = ("predict", "classify", "regress")
NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
MODELS = ("half_plus_two", "echo", "colours", "none")


def mutated(noise: random.Random) -> bytes:
    """Returns a body with a few bytes cut, repeated or inserted."""
    body = noise.choice(SEEDS)
    for _ in range(noise.randint(1, 4)):
        at = noise.randrange(len(body) + 1)
        kind = noise.randrange(4)
        if kind == 0:
            body = body[:at]
        elif kind == 1:
            body = body[:at] + noise.choice(INSERTS) + body[at:]
        elif kind == 2:
            body = body[:at] + body[at + noise.randint(1, 5) :]
        else:
            body = body[:at] + bytes([noise.randrange(256)]) + body[at + 1 :]
    return body


def send_by_rest(rest_url: str, count: int) -> None:
    """Sends generated bodies; each must get an answer that says what is wrong."""
    noise = random.Random(count)
    with requests.Session() as session:
        for _ in range(count):
            path = PREDICT.format(noise.choice(MODELS), noise.choice(METHODS))
            reply = session.post(rest_url + path, data=mutated(noise), timeout=10)
            is_error = reply.status_code in (400, 404, 501) and "error" in reply.json()
            if reply.status_code != 200 and not is_error:
                raise RuntimeError(f"{path}: {reply.status_code} {reply.text}")


def send_by_grpc(grpc_target: str, count: int) -> None:
    """Sends bytes that are almost a request, past any stub; each must get an answer."""
    noise = random.Random(count)
    method = "/tensorflow.serving.PredictionService/{}"
    request = bytes.fromhex("0a0f0a0d68616c665f706c75735f74776f") + (
        b"\x12\x17\x0a\x01x\x12\x12\x08\x01\x12\x04\x12\x02\x08\x01\x22\x04\x00\x00\x80?"
    )
    with grpc.insecure_channel(grpc_target) as channel:
        for _ in range(count):
            body = bytearray(request)
            for _ in range(noise.randint(0, 4)):
                body[noise.randrange(len(body))] = noise.randrange(256)
            name = noise.choice(("Predict", "Classify", "Regress", "MultiInference"))
            call = channel.unary_unary(method.format(name))
            try:
                call(bytes(body[: noise.randint(1, len(body))]), timeout=10)
            except grpc.RpcError as error:
                if error.code() in NO_ANSWER:
                    raise RuntimeError(f"{name}: {error.details()}") from error
