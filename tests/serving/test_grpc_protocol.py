"""Every RPC, through the stubs of tensorflow-serving-api."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from tests.serving.saved_models import HALF_PLUS_TWO

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
NUMBERS = (
    "float32", "float64", "float16", "int8", "int16", "int32", "int64",
    "uint8", "uint32", "uint64", "bool",
)  # fmt: skip


def spec(signature: str = "", version: int | None = 1, name: str = HALF_PLUS_TWO):
    result = model_pb2.ModelSpec(name=name, signature_name=signature)
    if version is not None:
        result.version.value = version
    return result


def predict_request(inputs: dict, **spec_parts) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(model_spec=spec(**spec_parts))
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def example_input(*values: float) -> input_pb2.Input:
    result = input_pb2.Input()
    for value in values:
        example = result.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return result


@pytest.fixture
def refusal(prediction_service, model_service):
    """Sends a request that must fail; returns its code and message."""

    def send(method: str, request) -> tuple[grpc.StatusCode, str]:
        stub = getattr(prediction_service, method, None) or getattr(model_service, method)
        with pytest.raises(grpc.RpcError) as refused:
            stub(request, timeout=10)
        return refused.value.code(), refused.value.details()

    return send


def test_half_of_two_plus_two_is_three(prediction_service):
    response = prediction_service.Predict(predict_request({"x": np.float32([[2], [5]])}))
    assert list(response.outputs["y"].float_val) == [3.0, 4.5]
    assert response.model_spec.name == HALF_PLUS_TWO
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_outputs_are_value_fields_that_every_language_reads(prediction_service):
    response = prediction_service.Predict(predict_request({"x": np.float32([[2]])}))
    output = response.outputs["y"]
    assert not output.tensor_content
    assert output.dtype == types_pb2.DT_FLOAT
    assert [dim.size for dim in output.tensor_shape.dim] == [1, 1]


def test_label_and_version_choose_the_model(prediction_service):
    request = predict_request({"x": np.float32([2])}, version=None)
    assert prediction_service.Predict(request).outputs["y"].float_val[0] == 4.0
    request.model_spec.version_label = "stable"
    response = prediction_service.Predict(request)
    assert response.outputs["y"].float_val[0] == 3.0
    assert response.model_spec.version.value == 1


def test_signatures_without_inputs_are_run(prediction_service):
    """Source: predict_util_test.cc, PredictionWithCustomizedSignatures."""

    def output(signature: str, **inputs) -> float:
        request = predict_request(inputs, name="counter", signature=signature)
        return prediction_service.Predict(request, timeout=10).outputs["output"].float_val[0]

    assert output("reset") == 0.0
    assert output("increment") == 1.0
    assert output("add", delta=np.float32(3)) == 4.0
    assert output("") == 4.0


def test_filter_chooses_the_outputs(prediction_service):
    request = predict_request({"x": np.float32([2])}, signature="two_outputs")
    assert set(prediction_service.Predict(request).outputs) == {"y", "y2"}
    request.output_filter.append("y2")
    assert set(prediction_service.Predict(request).outputs) == {"y2"}


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("packed", [True, False], ids=["tensor_content", "values"])
def test_numbers_of_each_dtype_come_back(prediction_service, dtype, packed):
    value = np.array([[0, 1, 1], [1, 0, 7]]).astype(dtype)
    request = predict_request({}, name="echo", signature=dtype)
    proto = tf.make_tensor_proto(value)
    if not packed:
        proto = tf.compat.v1.make_tensor_proto(value.flatten().tolist(), dtype, value.shape)
    request.inputs["value"].CopyFrom(proto)
    response = prediction_service.Predict(request)
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["same"]), value)


def test_strings_come_back_with_all_their_bytes(prediction_service):
    value = np.array([b"", b"\x00\xff", "ä".encode()], object)
    request = predict_request({"value": value}, name="echo", signature="string")
    response = prediction_service.Predict(request)
    assert list(response.outputs["same"].string_val) == value.tolist()


def test_last_value_fills_the_tensor(prediction_service):
    request = predict_request({}, name="echo", signature="int32")
    request.inputs["value"].CopyFrom(
        tensor_pb2.TensorProto(dtype=types_pb2.DT_INT32, int_val=[4, 5])
    )
    request.inputs["value"].tensor_shape.dim.add(size=4)
    response = prediction_service.Predict(request)
    assert list(response.outputs["same"].int_val) == [4, 5, 5, 5]


def test_classify_returns_a_score_for_each_example(prediction_service):
    request = classification_pb2.ClassificationRequest(
        model_spec=spec("classify"), input=example_input(2, 4)
    )
    response = prediction_service.Classify(request)
    scores = [c.classes[0].score for c in response.result.classifications]
    assert scores == [3.0, 4.0]
    assert response.model_spec.signature_name == "classify"


def test_classes_come_with_their_scores(prediction_service):
    white = input_pb2.Input()
    pixels = white.example_list.examples.add().features.feature["image"]
    pixels.bytes_list.value.append(bytes([240, 20, 20]) * 1024)
    request = classification_pb2.ClassificationRequest(
        model_spec=spec("classify", version=7, name="colours"), input=white
    )
    (row,) = prediction_service.Classify(request).result.classifications
    assert len(row.classes) == 10
    assert max(row.classes, key=lambda c: c.score).label == "airplane"


def test_regress_returns_a_value_for_each_example(prediction_service):
    request = regression_pb2.RegressionRequest(
        model_spec=spec("regress"), input=example_input(2, 4)
    )
    response = prediction_service.Regress(request)
    assert [r.value for r in response.result.regressions] == [3.0, 4.0]


def test_multi_inference_answers_all_tasks_in_one_step(prediction_service):
    request = inference_pb2.MultiInferenceRequest(input=example_input(2, 4))
    request.tasks.add(model_spec=spec("regress_y2"), method_name=REGRESS)
    request.tasks.add(model_spec=spec("classify"), method_name=CLASSIFY)
    regression, classification = prediction_service.MultiInference(request).results
    assert [r.value for r in regression.regression_result.regressions] == [4.0, 5.0]
    rows = classification.classification_result.classifications
    assert [row.classes[0].score for row in rows] == [3.0, 4.0]
    assert classification.model_spec.signature_name == "classify"


def test_metadata_holds_the_signatures(prediction_service):
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=spec(), metadata_field=["signature_def"]
    )
    response = prediction_service.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["classify"].method_name == CLASSIFY
    assert response.model_spec.signature_name == ""


def test_status_lists_versions_newest_first(model_service):
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec(version=None))
    versions = model_service.GetModelStatus(request).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(v.version, v.state) for v in versions] == [(2, available), (1, available)]
    request.model_spec.version.value = 1
    assert len(model_service.GetModelStatus(request).model_version_status) == 1


def test_health_is_serving(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "ModelService", "PredictionService"):
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


INVALID = grpc.StatusCode.INVALID_ARGUMENT


def test_a_request_names_its_model(refusal):
    missing = (INVALID, "Missing ModelSpec")
    empty = (INVALID, "ModelSpec has no name specified.")
    for method, request in (
        ("Predict", predict_pb2.PredictRequest),
        ("Classify", classification_pb2.ClassificationRequest),
        ("Regress", regression_pb2.RegressionRequest),
        ("GetModelStatus", get_model_status_pb2.GetModelStatusRequest),
    ):
        assert refusal(method, request()) == missing
    unnamed = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec())
    assert refusal("Predict", unnamed) == empty
    assert refusal("MultiInference", inference_pb2.MultiInferenceRequest()) == empty


def test_what_is_not_there_is_named(refusal):
    not_found = grpc.StatusCode.NOT_FOUND
    x = {"x": np.float32([1])}
    assert refusal("Predict", predict_request(x, name="none", version=None)) == (
        not_found,
        "Servable not found for request: Latest(none)",
    )
    assert refusal("Predict", predict_request(x, version=9)) == (
        not_found,
        "Servable not found for request: Specific(half_plus_two, 9)",
    )
    labelled = predict_request(x, version=None)
    labelled.model_spec.version_label = "x"
    assert refusal("Predict", labelled) == (
        INVALID,
        "Unrecognized servable version label: x",
    )
    status = get_model_status_pb2.GetModelStatusRequest(model_spec=spec(version=9))
    assert refusal("GetModelStatus", status) == (
        not_found,
        "Could not find version 9 of model half_plus_two",
    )


def test_signature_must_exist(refusal):
    request = predict_request({"x": np.float32([1])}, signature="none")
    assert refusal("Predict", request) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "none" not found.',
    )
    classify = classification_pb2.ClassificationRequest(model_spec=spec("none"))
    assert refusal("Classify", classify) == (
        INVALID,
        "No signature was found with the name: none",
    )


def test_inputs_must_be_those_of_the_signature(refusal):
    assert refusal("Predict", predict_request({})) == (
        INVALID,
        "input size does not match signature: 0!=1 len({}) != len({x}). "
        "Sent extra: {}. Missing but required: {x}.",
    )
    extra = predict_request({"x": np.float32([1]), "b": 1, "a": 1})
    assert refusal("Predict", extra)[1] == (
        "input size does not match signature: 3!=1 len({a,b,x}) != len({x}). "
        "Sent extra: {a,b}. Missing but required: {}."
    )
    other = predict_request({"z": np.float32([1])})
    assert refusal("Predict", other)[1] == (
        "input tensor alias not found in signature: z. Inputs expected to be in the set {x}."
    )


def test_filter_must_name_outputs_once(refusal):
    request = predict_request({"x": np.float32([1])}, signature="two_outputs")
    request.output_filter.append("z")
    assert refusal("Predict", request) == (
        INVALID,
        "output tensor alias not found in signature: z Outputs expected to be in the set "
        "{y,y2}.",
    )
    request.output_filter[:] = ["y", "y"]
    assert refusal("Predict", request) == (INVALID, "duplicate output tensor alias: y")


def test_dtype_must_be_the_placeholder_s(refusal):
    code, message = refusal("Predict", predict_request({"x": np.int64([1])}))
    assert code == INVALID
    assert "int64" in message
    assert "float" in message


@pytest.mark.parametrize(
    "proto",
    [
        tensor_pb2.TensorProto(),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123"),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_RESOURCE),
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1, 2]),
        tensor_pb2.TensorProto(dtype=99),
    ],
)
def test_tensor_must_be_one(refusal, proto):
    request = predict_request({})
    request.inputs["x"].CopyFrom(proto)
    assert refusal("Predict", request) == (INVALID, "tensor parsing error: x")


def test_a_few_bytes_cannot_ask_for_gigabytes(refusal, only_ours):
    request = predict_request({})
    request.inputs["x"].CopyFrom(
        tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1])
    )
    request.inputs["x"].tensor_shape.dim.add(size=2**40)
    assert refusal("Predict", request) == (INVALID, "tensor parsing error: x")


def test_examples_must_be_there(refusal):
    request = classification_pb2.ClassificationRequest(model_spec=spec("classify"))
    assert refusal("Classify", request) == (INVALID, "Input is empty.")


def test_signature_must_fit_the_method(refusal):
    request = classification_pb2.ClassificationRequest(
        model_spec=spec("serving_default"), input=example_input(1)
    )
    code, message = refusal("Classify", request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("No classification inputs found in SignatureDef: ")
    regress = regression_pb2.RegressionRequest(
        model_spec=spec("two_outputs"), input=example_input(1)
    )
    assert refusal("Regress", regress) == (INVALID, "Expected one output Tensor.")


def test_tasks_must_fit_together(refusal):
    request = inference_pb2.MultiInferenceRequest(input=example_input(2))
    first = request.tasks.add(model_spec=spec("regress"), method_name=REGRESS)
    request.tasks.add(model_spec=spec("regress"), method_name=REGRESS)
    message = "Duplicate evaluation of signature: regress"
    assert refusal("MultiInference", request) == (INVALID, message)
    del request.tasks[1]
    first.method_name = "tensorflow/serving/predict"
    assert refusal("MultiInference", request) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "Unsupported signature method_name: tensorflow/serving/predict",
    )
    first.method_name = REGRESS
    request.tasks.add(model_spec=spec("classify", name="colours"), method_name=CLASSIFY)
    assert refusal("MultiInference", request) == (
        INVALID,
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    )


def test_metadata_fields_must_be_known(refusal):
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec())
    assert refusal("GetModelMetadata", request)[1] == (
        "GetModelMetadataRequest must specify at least one metadata_field"
    )
    request.metadata_field.append("other")
    assert refusal("GetModelMetadata", request)[1] == ("Metadata field other is not supported")


def test_reload_takes_a_list_of_models(refusal):
    request = model_management_pb2.ReloadConfigRequest()
    assert refusal("HandleReloadConfigRequest", request) == (
        INVALID,
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
        "ModelConfigList is currently supported",
    )


def test_long_messages_are_cut(refusal):
    request = predict_request({"x": np.float32([1])}, signature="n" * 5000)
    _, message = refusal("Predict", request)
    assert message.endswith("...TRUNCATED")
    assert len(message) == 1024 + len("...TRUNCATED")


def test_deadline_that_has_passed_is_honoured(prediction_service):
    with pytest.raises(grpc.RpcError) as refused:
        prediction_service.Predict(predict_request({"x": np.float32([1])}), timeout=-1)
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
