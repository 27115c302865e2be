"""Predict and GetModelMetadata on one servable."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
)

from serving.model_server import tensors
from serving.model_server.pixels import check_images
from serving.model_server.servable import DEFAULT_SIGNATURE, Servable
from serving.model_server.status import Code, ServingError, invalid

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
PREDICT_METHOD = "tensorflow/serving/predict"
SIGNATURE_DEF = "signature_def"


@dataclasses.dataclass(frozen=True)
class Call:
    """A checked request: what to run, and how the outputs become a response."""

    servable: Servable
    feeds: Mapping[str, np.ndarray]  # by tensor name
    fetches: tuple[str, ...]  # tensor names
    respond: Callable[[Mapping[str, np.ndarray]], Any]

    def run(self, timeout_seconds: float | None = None) -> Any:
        """Returns the response."""
        return self.respond(self.servable.run(self.feeds, self.fetches, timeout_seconds))

    async def run_async(self, timeout_seconds: float | None = None) -> Any:
        """Returns the response, without blocking the event loop."""
        values = await self.servable.run_async(self.feeds, self.fetches, timeout_seconds)
        return self.respond(values)


def predict(
    servable: Servable, request: predict_pb2.PredictRequest, packs_tensors: bool = False
) -> Call:
    """Returns the call for a PredictResponse: a signature's outputs, by their names."""
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if key not in servable.signatures:
        raise ServingError(
            Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.'
        )
    signature = servable.signatures[key]
    check_method_name(servable, signature)
    feeds = _feeds(signature, request.inputs)
    outputs = _wanted_outputs(signature, request.output_filter)
    check_images(feeds.values())

    def respond(values: Mapping[str, np.ndarray]) -> predict_pb2.PredictResponse:
        response = predict_pb2.PredictResponse(model_spec=model_spec(servable, key))
        for alias, name in outputs.items():
            response.outputs[alias].CopyFrom(tensors.to_proto(values[name], packs_tensors))
        return response

    return Call(servable, feeds, _fetches(outputs), respond)


def _feeds(
    signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tensor_pb2.TensorProto]
) -> dict[str, np.ndarray]:
    """Returns the arrays of a request by tensor name; omitted inputs get their default."""
    check_input_names(signature, inputs)
    feeds = {}
    for alias, info in signature.inputs.items():
        proto = inputs[alias] if alias in inputs else signature.defaults[alias]
        try:
            feeds[info.name] = tensors.to_array(proto)
        except ValueError as error:
            raise invalid(f"tensor parsing error: {alias}") from error
    return feeds


def check_method_name(servable: Servable, signature: meta_graph_pb2.SignatureDef) -> None:
    """Raises if method names are checked and Predict may not use the signature's method."""
    known = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if servable.checks_method_names and signature.method_name not in known:
        raise invalid(
            "Expected prediction signature method_name to be one of "
            f"{{{', '.join(known)}}}. Was: {signature.method_name}"
        )


def run_signature(
    servable: Servable,
    signature: meta_graph_pb2.SignatureDef,
    feeds: Mapping[str, np.ndarray],
    timeout_seconds: float | None = None,
) -> dict[str, np.ndarray]:
    """Returns all outputs by alias.

    Args:
        servable: Runs the session.
        signature: Maps the aliases of outputs to tensors.
        feeds: Arrays by tensor name.
        timeout_seconds: How long the step may take.
    """
    outputs = _wanted_outputs(signature, ())
    check_images(feeds.values())
    values = servable.run(feeds, _fetches(outputs), timeout_seconds)
    return {alias: values[name] for alias, name in outputs.items()}


def _fetches(outputs: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(set(outputs.values())))


def _wanted_outputs(
    signature: meta_graph_pb2.SignatureDef, output_filter: Iterable[str]
) -> dict[str, str]:
    """Returns the tensor names of the wanted outputs (all, without a filter) by alias."""
    wanted = list(output_filter)
    for position, alias in enumerate(wanted):
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected "
                f"to be in the set {_braced(signature.outputs)}."
            )
        if alias in wanted[:position]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return {
        alias: signature.outputs[alias].name for alias in sorted(wanted or signature.outputs)
    }


def check_input_names(signature: meta_graph_pb2.SignatureDef, sent: Iterable[str]) -> None:
    """Raises INVALID_ARGUMENT unless every input was sent or has a default."""
    names, expected = set(sent), set(signature.inputs)
    missing = expected - names - set(signature.defaults)
    if len(names) > len(expected) or (missing and len(names) != len(expected)):
        raise invalid(
            f"input size does not match signature: {len(names)}!={len(expected)} "
            f"len({_braced(names)}) != len({_braced(expected)}). Sent extra: "
            f"{_braced(names - expected)}. Missing but required: {_braced(missing)}."
        )
    for alias in sorted(names - expected):
        raise invalid(
            f"input tensor alias not found in signature: {alias}. Inputs expected to be "
            f"in the set {_braced(expected)}."
        )


def check_metadata_request(
    request: get_model_metadata_pb2.GetModelMetadataRequest,
) -> None:
    """Raises INVALID_ARGUMENT unless the request asks for the signatures."""
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise invalid(f"Metadata field {field} is not supported")


def get_model_metadata(
    servable: Servable,
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Returns the signatures, packed as the protocol packs them."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, signature in servable.signatures.items():
        signatures.signature_def[key].CopyFrom(signature)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.CopyFrom(model_spec(servable, ""))
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def model_spec(servable: Servable, signature_name: str) -> model_pb2.ModelSpec:
    """Returns the name, version and signature that answered."""
    spec = model_pb2.ModelSpec(name=servable.name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
