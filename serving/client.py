"""Classifies images with a model server, over REST or gRPC.

```
client = RestClient("http://127.0.0.1:8501", "cifar10")
client.classify([Path("cat.png").read_bytes()])[0].class_name
```

Encoded images go to the signature `predict_image_bytes` and pixels to `serving_default`. Both
are sent unchanged; the model does all preprocessing.
"""

import base64
import dataclasses
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import requests

from contract import signatures

DEFAULT_MODEL = "cifar10"
DEFAULT_REST_ADDRESS = "http://127.0.0.1:8501"
DEFAULT_GRPC_ADDRESS = "127.0.0.1:8500"
TIMEOUT_SECONDS = 30.0

BYTES_INPUT = "image_bytes"
PIXELS_INPUT = "images"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The model's prediction for one image."""

    class_id: int
    class_name: str
    probabilities: tuple[float, ...]  # of each class, in label order

    @property
    def probability(self) -> float:
        """Returns the probability of the predicted class."""
        return self.probabilities[self.class_id]


class PredictionError(Exception):
    """The server did not answer or rejected the request; the message is for users."""


class UnreachableError(PredictionError):
    """No server answers at the address."""


class Client(Protocol):
    """The interface of both clients."""

    def classify(self, images: Sequence[bytes]) -> list[Prediction]:
        """Returns a prediction for each encoded image."""

    def classify_pixels(self, images: np.ndarray) -> list[Prediction]:
        """Returns a prediction for each image of an array."""


class RestClient:
    """A REST client with one persistent connection."""

    def __init__(
        self,
        address: str = DEFAULT_REST_ADDRESS,
        model: str = DEFAULT_MODEL,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """Takes the server's address; nothing is sent yet."""
        if "://" not in address:
            address = f"http://{address}"
        self._address = address.rstrip("/")
        self._url = f"{self._address}/v1/models/{model}:predict"
        self._timeout_seconds = timeout_seconds
        self._session = requests.Session()

    def classify(self, images: Sequence[bytes]) -> list[Prediction]:
        """Returns a prediction for each image.

        Args:
            images: PNG, JPEG, BMP or GIF files of any size.

        Raises:
            PredictionError: The server cannot be reached, or rejects the request.
        """
        rows = [{"b64": base64.b64encode(image).decode()} for image in images]
        return self._predict(signatures.IMAGE_FILES, rows)

    def classify_pixels(self, images: np.ndarray) -> list[Prediction]:
        """Returns a prediction for each image.

        Args:
            images: uint8, shape (n, 32, 32, 3): image, height, width, RGB.

        Raises:
            PredictionError: The server cannot be reached, or rejects the request.
        """
        return self._predict(signatures.PIXELS, images.tolist())

    def _predict(self, signature: str, rows: list) -> list[Prediction]:
        if not rows:
            return []
        body = {"signature_name": signature, "instances": rows}
        try:
            reply = self._session.post(self._url, json=body, timeout=self._timeout_seconds)
            answer = reply.json()
        except requests.JSONDecodeError as error:
            raise PredictionError(
                f"{self._url} did not answer with JSON (status {reply.status_code}). "
                "Is it a model server?"
            ) from error
        except requests.RequestException as error:
            raise UnreachableError(_no_answer(self._address, _reason(error))) from error
        if "predictions" not in answer:
            raise PredictionError(f"{self._url}: {answer.get('error', answer)}")
        return [
            Prediction(row["class_ids"], row["classes"], tuple(row["probabilities"]))
            for row in answer["predictions"]
        ]


class GrpcClient:
    """A gRPC client with one persistent channel."""

    def __init__(
        self,
        address: str = DEFAULT_GRPC_ADDRESS,
        model: str = DEFAULT_MODEL,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """Takes the server's host and port; nothing is sent yet."""
        import grpc  # here, because the stubs import TensorFlow, which takes seconds
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._address = address
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_receive_message_length", -1)]
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def classify(self, images: Sequence[bytes]) -> list[Prediction]:
        """Returns a prediction for each image; see `RestClient.classify`."""
        return self._predict(
            signatures.IMAGE_FILES, BYTES_INPUT, np.array([*images, None], object)[:-1]
        )

    def classify_pixels(self, images: np.ndarray) -> list[Prediction]:
        """Returns a prediction for each image; see `RestClient.classify_pixels`."""
        return self._predict(signatures.PIXELS, PIXELS_INPUT, images)

    def _predict(self, signature: str, name: str, values: np.ndarray) -> list[Prediction]:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        if not len(values):
            return []
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        try:
            response = self._stub.Predict(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            if error.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            ):
                # The operating system's message, for the last of several addresses.
                reason = re.sub(r" \(\d+\)$", "", error.details().rpartition(": ")[2])
                raise UnreachableError(_no_answer(self._address, reason)) from error
            raise PredictionError(f"{self._address}: {error.details()}") from error
        outputs = {key: tf.make_ndarray(proto) for key, proto in response.outputs.items()}
        return [
            Prediction(int(class_id), class_name.decode(), tuple(probabilities.tolist()))
            for class_id, class_name, probabilities in zip(
                outputs["class_ids"],
                outputs["classes"],
                outputs["probabilities"],
                strict=True,
            )
        ]


def _no_answer(address: str, reason: str) -> str:
    return f"No model server answers at {address} ({reason}). `cifar serve` starts one."


def _reason(error: requests.RequestException) -> str:
    """Returns the operating system's message from a chain of exceptions."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return "timeout" if isinstance(error, requests.Timeout) else type(error).__name__
