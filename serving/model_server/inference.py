"""Predict, Classify, Regress, MultiInference and GetModelMetadata on one servable."""

from collections.abc import Iterable, Mapping

import numpy as np
from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.model_server import tensors
from serving.model_server.pixels import check_images
from serving.model_server.servable import DEFAULT_SIGNATURE, Servable
from serving.model_server.status import Code, ServingError, invalid

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
PREDICT_METHOD = "tensorflow/serving/predict"
INPUTS = "inputs"
CLASSES = "classes"
SCORES = "scores"
OUTPUTS = "outputs"
SIGNATURE_DEF = "signature_def"


def predict(
    servable: Servable,
    request: predict_pb2.PredictRequest,
    timeout_seconds: float | None = None,
    packs_tensors: bool = False,
) -> predict_pb2.PredictResponse:
    """Returns the outputs of a signature, by their names."""
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if key not in servable.signatures:
        raise ServingError(
            Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.'
        )
    signature = servable.signatures[key]
    check_method_name(servable, signature)
    feeds = _feeds(signature, request.inputs)
    outputs = run_signature(servable, signature, feeds, request.output_filter, timeout_seconds)
    response = predict_pb2.PredictResponse(model_spec=model_spec(servable, key))
    for alias, array in outputs.items():
        response.outputs[alias].CopyFrom(tensors.to_proto(array, packs_tensors))
    return response


def _feeds(
    signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tensor_pb2.TensorProto]
) -> dict[str, np.ndarray]:
    """Returns the arrays of a request by tensor name; what it omits has its default."""
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
    """Raises, where names are checked, for a signature of no method that Predict may use."""
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
    output_filter: Iterable[str] = (),
    timeout_seconds: float | None = None,
) -> dict[str, np.ndarray]:
    """Returns the wanted outputs (all, without a filter) by alias.

    Args:
        servable: What runs the session.
        signature: Says which tensor an output alias stands for.
        feeds: Arrays by tensor name.
        output_filter: Aliases of the wanted outputs.
        timeout_seconds: After this the step is cancelled.
    """
    wanted = list(output_filter)
    for position, alias in enumerate(wanted):
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected "
                f"to be in the set {_braced(signature.outputs)}."
            )
        if alias in wanted[:position]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    aliases = sorted(wanted or signature.outputs)
    fetches = tuple(sorted({signature.outputs[alias].name for alias in aliases}))
    check_images(feeds.values())
    values = servable.run(feeds, fetches, timeout_seconds)
    return {alias: values[signature.outputs[alias].name] for alias in aliases}


def check_input_names(signature: meta_graph_pb2.SignatureDef, sent: Iterable[str]) -> None:
    """Raises INVALID_ARGUMENT unless the signature's inputs were sent, or have defaults."""
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


def classify(
    servable: Servable,
    request: classification_pb2.ClassificationRequest,
    timeout_seconds: float | None = None,
) -> classification_pb2.ClassificationResponse:
    """Returns the classes and scores of each example."""
    key, signature = _example_signature(servable, request.model_spec)
    _check_method(servable, signature, CLASSIFY_METHOD, "classification")
    input_name, fetches = _classify_tensors(signature)
    examples = serialized_examples(request.input)
    values = servable.run({input_name: examples}, fetches, timeout_seconds)
    response = classification_pb2.ClassificationResponse(model_spec=model_spec(servable, key))
    response.result.CopyFrom(_classification_result(signature, values, len(examples)))
    return response


def regress(
    servable: Servable,
    request: regression_pb2.RegressionRequest,
    timeout_seconds: float | None = None,
) -> regression_pb2.RegressionResponse:
    """Returns one value for each example."""
    key, signature = _example_signature(servable, request.model_spec)
    _check_method(servable, signature, REGRESS_METHOD, "regression")
    input_name, fetches = _regress_tensors(signature)
    examples = serialized_examples(request.input)
    values = servable.run({input_name: examples}, fetches, timeout_seconds)
    response = regression_pb2.RegressionResponse(model_spec=model_spec(servable, key))
    response.result.CopyFrom(_regression_result(signature, values, len(examples)))
    return response


def multi_inference(
    servable: Servable,
    request: inference_pb2.MultiInferenceRequest,
    timeout_seconds: float | None = None,
) -> inference_pb2.MultiInferenceResponse:
    """Returns the results of several signatures over the same examples, from one step."""
    signatures, input_names, fetches = _check_tasks(servable, request)
    examples = serialized_examples(request.input)
    feeds = dict.fromkeys(input_names, examples)
    values = servable.run(feeds, tuple(sorted(fetches)), timeout_seconds)
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


def check_metadata_request(
    request: get_model_metadata_pb2.GetModelMetadataRequest,
) -> None:
    """Raises INVALID_ARGUMENT unless the signatures are what is asked for."""
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
    """Returns who answered: name, version and signature."""
    spec = model_pb2.ModelSpec(name=servable.name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec


def serialized_examples(examples: input_pb2.Input) -> np.ndarray:
    """Returns each example's bytes, the context's features merged into it."""
    kind = examples.WhichOneof("kind")
    holder = getattr(examples, kind) if kind else None
    if holder is None or not holder.examples:
        raise invalid("Input is empty.")
    context = b""
    if kind == "example_list_with_context":
        context = holder.context.SerializeToString()
    # Protocol buffers merge when their bytes are joined.
    serialized = [context + example.SerializeToString() for example in holder.examples]
    array = np.array(serialized, object)
    check_images([array])
    return array


def count(examples: input_pb2.Input) -> int:
    """Returns how many examples an input holds."""
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
    """Returns an output of Classify, shape (count, classes); None if there is no such."""
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


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _dtype_name(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(tensors.data_type(array))
