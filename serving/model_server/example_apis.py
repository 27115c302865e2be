"""Classify, Regress and MultiInference: signatures that take examples."""

from collections.abc import Mapping

import numpy as np
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    regression_pb2,
)

from serving.model_server import tensors
from serving.model_server.inference import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    Call,
    model_spec,
)
from serving.model_server.pixels import check_images
from serving.model_server.servable import DEFAULT_SIGNATURE, Servable
from serving.model_server.status import Code, ServingError, invalid

# The features of a context are merged into every example, and an empty example is sent as two
# bytes. This limits the bytes of all copies.
MAX_COPIED_BYTES = 2**24

INPUTS = "inputs"
CLASSES = "classes"
SCORES = "scores"
OUTPUTS = "outputs"


def classify(servable: Servable, request: classification_pb2.ClassificationRequest) -> Call:
    """Returns the call for a ClassificationResponse: classes and scores of each example."""
    key, signature = _example_signature(servable, request.model_spec)
    _check_method(servable, signature, CLASSIFY_METHOD, "classification")
    input_name, fetches = _classify_tensors(signature)
    examples = serialized_examples(request.input)

    def respond(values: Mapping[str, np.ndarray]) -> classification_pb2.ClassificationResponse:
        return classification_pb2.ClassificationResponse(
            model_spec=model_spec(servable, key),
            result=_classification_result(signature, values, len(examples)),
        )

    return Call(servable, {input_name: examples}, fetches, respond)


def regress(servable: Servable, request: regression_pb2.RegressionRequest) -> Call:
    """Returns the call for a RegressionResponse: one value for each example."""
    key, signature = _example_signature(servable, request.model_spec)
    _check_method(servable, signature, REGRESS_METHOD, "regression")
    input_name, fetches = _regress_tensors(signature)
    examples = serialized_examples(request.input)

    def respond(values: Mapping[str, np.ndarray]) -> regression_pb2.RegressionResponse:
        return regression_pb2.RegressionResponse(
            model_spec=model_spec(servable, key),
            result=_regression_result(signature, values, len(examples)),
        )

    return Call(servable, {input_name: examples}, fetches, respond)


def multi_inference(servable: Servable, request: inference_pb2.MultiInferenceRequest) -> Call:
    """Returns the call for a MultiInferenceResponse: several signatures in one step."""
    signatures, input_names, fetches = _check_tasks(servable, request)
    examples = serialized_examples(request.input)
    feeds = dict.fromkeys(input_names, examples)

    def respond(values: Mapping[str, np.ndarray]) -> inference_pb2.MultiInferenceResponse:
        response = inference_pb2.MultiInferenceResponse()
        for task, (key, signature) in zip(request.tasks, signatures.items(), strict=True):
            result = response.results.add(model_spec=model_spec(servable, key))
            if task.method_name == CLASSIFY_METHOD:
                result.classification_result.CopyFrom(
                    _classification_result(signature, values, len(examples))
                )
            else:
                result.regression_result.CopyFrom(
                    _regression_result(signature, values, len(examples))
                )
        return response

    return Call(servable, feeds, tuple(sorted(fetches)), respond)


def serialized_examples(examples: input_pb2.Input) -> np.ndarray:
    """Returns each example as bytes, merged with the features of the context."""
    kind = examples.WhichOneof("kind")
    holder = getattr(examples, kind) if kind else None
    if holder is None or not holder.examples:
        raise invalid("Input is empty.")
    context = b""
    if kind == "example_list_with_context":
        context = holder.context.SerializeToString()
        _check_copies(len(context), len(holder.examples))
    # Concatenating serialized protocol buffers merges them.
    serialized = [context + example.SerializeToString() for example in holder.examples]
    array = np.array(serialized, object)
    check_images([array])
    return array


def _check_copies(context_bytes: int, examples: int) -> None:
    if context_bytes * examples > MAX_COPIED_BYTES:
        raise invalid(
            f"A context of {context_bytes:,} bytes for {examples:,} examples makes "
            f"{context_bytes * examples:,} bytes; at most {MAX_COPIED_BYTES:,} are allowed. "
            "Send fewer examples at a time, or a smaller context."
        )


def count(examples: input_pb2.Input) -> int:
    """Returns the number of examples in an input."""
    kind = examples.WhichOneof("kind")
    return len(getattr(examples, kind).examples) if kind else 0


def _example_signature(
    servable: Servable, spec: model_pb2.ModelSpec
) -> tuple[str, meta_graph_pb2.SignatureDef]:
    key = spec.signature_name or DEFAULT_SIGNATURE
    if key not in servable.signatures:
        raise invalid(f"No signature was found with the name: {key}")
    return key, servable.signatures[key]


def _check_method(
    servable: Servable, signature: meta_graph_pb2.SignatureDef, method: str, kind: str
) -> None:
    if servable.checks_method_names and signature.method_name != method:
        raise invalid(
            f"Expected {kind} signature method_name to be {method}. "
            f"Was: {signature.method_name}"
        )


def _check_tasks(
    servable: Servable, request: inference_pb2.MultiInferenceRequest
) -> tuple[dict[str, meta_graph_pb2.SignatureDef], set[str], set[str]]:
    """Returns the signatures in the tasks' order, their inputs and all fetches."""
    signatures: dict[str, meta_graph_pb2.SignatureDef] = {}
    input_names: set[str] = set()
    fetches: set[str] = set()
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != servable.name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if key in signatures:
            raise invalid(f"Duplicate evaluation of signature: {key}")
        if key not in servable.signatures:
            raise invalid(f"Requested signature not found in model graph: {key}")
        signatures[key] = servable.signatures[key]
        task_input, task_fetches = _task_tensors(servable, task.method_name, signatures[key])
        input_names.add(task_input)
        fetches.update(task_fetches)
    return signatures, input_names, fetches


def _task_tensors(
    servable: Servable, method_name: str, signature: meta_graph_pb2.SignatureDef
) -> tuple[str, tuple[str, ...]]:
    if method_name == CLASSIFY_METHOD:
        _check_method(servable, signature, CLASSIFY_METHOD, "classification")
        return _classify_tensors(signature)
    if method_name == REGRESS_METHOD:
        _check_method(servable, signature, REGRESS_METHOD, "regression")
        return _regress_tensors(signature)
    raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method_name}")


def _classify_tensors(
    signature: meta_graph_pb2.SignatureDef,
) -> tuple[str, tuple[str, ...]]:
    """Returns the tensor names of the input and of the one or two outputs."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise _lacks("No classification inputs found in SignatureDef: ", signature)
    known = [alias for alias in (CLASSES, SCORES) if alias in signature.outputs]
    if not known:
        raise _lacks(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: ',
            signature,
        )
    fetches = tuple(sorted({signature.outputs[alias].name for alias in known}))
    return signature.inputs[INPUTS].name, fetches


def _regress_tensors(
    signature: meta_graph_pb2.SignatureDef,
) -> tuple[str, tuple[str, ...]]:
    """Returns the tensor names of the input and of the output."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise _lacks("No regression inputs found in SignatureDef: ", signature)
    if OUTPUTS not in signature.outputs:
        raise _lacks("No regression outputs found in SignatureDef: ", signature)
    return signature.inputs[INPUTS].name, (signature.outputs[OUTPUTS].name,)


def _classification_result(
    signature: meta_graph_pb2.SignatureDef, values: Mapping[str, np.ndarray], count: int
) -> classification_pb2.ClassificationResult:
    classes = _output(signature, CLASSES, types_pb2.DT_STRING, values, count)
    scores = _output(signature, SCORES, types_pb2.DT_FLOAT, values, count)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    for row in range(count):
        labels = None if classes is None else classes[row].tolist()
        numbers = None if scores is None else scores[row].tolist()
        of_example = result.classifications.add().classes
        for column in range(len(labels or numbers or ())):
            of_example.add(
                label=labels[column] if labels else "",
                score=numbers[column] if numbers else 0.0,
            )
    return result


def _output(
    signature: meta_graph_pb2.SignatureDef,
    alias: str,
    dtype: int,
    values: Mapping[str, np.ndarray],
    count: int,
) -> np.ndarray | None:
    """Returns an output of Classify, shape (count, classes); None if it does not exist."""
    if alias not in signature.outputs:
        return None
    array = values[signature.outputs[alias].name]
    if array.ndim != 2:
        raise invalid(
            "Expected Tensor shape: [batch_size num_classes] but got "
            f"{_shape_text(array.shape)}"
        )
    if array.dtype != tensors.numpy_dtype(dtype):
        raise invalid(
            f"Expected {alias} Tensor of {types_pb2.DataType.Name(dtype)}. "
            f"Got: {_dtype_name(array)}"
        )
    if len(array) != count:
        raise invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")
    return array


def _regression_result(
    signature: meta_graph_pb2.SignatureDef, values: Mapping[str, np.ndarray], count: int
) -> regression_pb2.RegressionResult:
    array = values[signature.outputs[OUTPUTS].name]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            f"but got {_shape_text(array.shape)}"
        )
    if len(array) != count:
        raise invalid(
            f"Input batch size did not match output batch size: {count} vs. {len(array)}"
        )
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype_name(array)}")
    result = regression_pb2.RegressionResult()
    for value in np.ravel(array).tolist():
        result.regressions.add(value=value)
    return result


def _lacks(message: str, signature: meta_graph_pb2.SignatureDef) -> ServingError:
    text = text_format.MessageToString(signature)
    return invalid(message + text)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _dtype_name(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(tensors.data_type(array))
