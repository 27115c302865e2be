"""Thousands of malformed requests, generated from valid ones."""

import random

import grpc
import requests
from tensorflow_serving.apis import predict_pb2

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
DEADLINES = (10, 15, 33.3, 100)  # seconds
NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
MODELS = ("half_plus_two", "echo", "colours", "none")
# Names that a client can choose.
NAMED = (b"two_outputs", b"regress", b"classify", b"text", b"image", b"x")


def fresh_name(noise: random.Random) -> str:
    """Returns a new name, sometimes with a thousand letters."""
    return f"{noise.getrandbits(64):x}" * noise.choice((1, 1, 1, 60))


def path_of(noise: random.Random) -> str:
    """Returns a URL's path, half of the time with a new model, version or label."""
    model, suffix = noise.choice(MODELS), ""
    kind = noise.randrange(6)
    if kind == 0:
        model = fresh_name(noise)
    elif kind == 1:
        suffix = f"/labels/{fresh_name(noise)}"
    elif kind == 2:
        suffix = f"/versions/{str(noise.getrandbits(60)) * noise.choice((1, 1, 500))}"
    method = "".join(noise.choice((c, c.upper())) for c in noise.choice(METHODS))
    return f"/v1/models/{model}{suffix}:{method if kind == 3 else method.lower()}"


def mutated(noise: random.Random) -> bytes:
    """Returns a body with a few bytes cut, repeated or inserted."""
    body = noise.choice(SEEDS)
    if noise.randrange(2):
        body = body.replace(noise.choice(NAMED), fresh_name(noise).encode())
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
    """Sends generated bodies; each must get a response or a described error."""
    noise = random.Random(count)
    with requests.Session() as session:
        for _ in range(count):
            path = path_of(noise)
            reply = session.post(rest_url + path, data=mutated(noise), timeout=10)
            is_error = reply.status_code in (400, 404, 501) and "error" in reply.json()
            if reply.status_code != 200 and not is_error:
                raise RuntimeError(f"{path}: {reply.status_code} {reply.text}")


def send_by_grpc(grpc_target: str, count: int) -> None:
    """Sends bytes that are almost a request, without a stub; each must get a response."""
    noise = random.Random(count)
    method = "/tensorflow.serving.PredictionService/{}"
    with grpc.insecure_channel(grpc_target) as channel:
        for _ in range(count):
            body = bytearray(request_of(noise))
            for _ in range(noise.randint(0, 4)):
                body[noise.randrange(len(body))] = noise.randrange(256)
            name = noise.choice(("Predict", "Classify", "Regress", "MultiInference"))
            call = channel.unary_unary(method.format(name))
            try:
                call(
                    bytes(body[: noise.randint(1, len(body))]), timeout=noise.choice(DEADLINES)
                )
            except grpc.RpcError as error:
                if error.code() in NO_ANSWER:
                    raise RuntimeError(f"{name}: {error.details()}") from error


def request_of(noise: random.Random) -> bytes:
    """Returns a Predict request with x = 1, half of the time with new names."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = noise.choice((MODELS[0], fresh_name(noise)))
    request.inputs["x"].dtype = 1  # DT_FLOAT
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].float_val.append(1.0)
    if noise.randrange(2):
        request.model_spec.signature_name = fresh_name(noise)
        request.output_filter.append(fresh_name(noise))
    return request.SerializeToString()
