"""How each API treats signatures, with the errors of TensorFlow Serving."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.model_server import example_apis, inference
from serving.model_server.servable import Servable
from serving.model_server.status import Code, ServingError
from tests.serving import saved_models


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    path = tmp_path_factory.mktemp("odd") / "1"
    saved_models.write_odd(path)
    servable = Servable(path, "odd", 1)
    yield servable
    servable.close()


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """The same model, served with --enable_signature_method_name_check."""
    path = tmp_path_factory.mktemp("strict") / "1"
    saved_models.write_odd(path)
    servable = Servable(path, "odd", 1, checks_method_names=True)
    yield servable
    servable.close()


def spec(signature: str = "") -> model_pb2.ModelSpec:
    return model_pb2.ModelSpec(name="odd", signature_name=signature)


def predict_request(signature: str = "", **inputs) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(model_spec=spec(signature))
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def add_example(examples, **features: float) -> None:
    example = examples.example_list.examples.add()
    for name, value in features.items():
        example.features.feature[name].float_list.value.append(value)


@pytest.mark.parametrize(
    ("content", "tags", "code", "message"),
    [
        (None, "serve", Code.NOT_FOUND, "Could not find SavedModel .pb or .pbtxt at supplied"),
        (b"\xff", "serve", Code.DATA_LOSS, "Cannot parse file"),
        (b"", "serve", Code.NOT_FOUND, "matching supplied tags: { serve }. To inspect"),
        (b"", "serve,gpu", Code.NOT_FOUND, "matching supplied tags: { serve gpu }."),
    ],
    ids=range(4),
)
def test_what_cannot_be_loaded_has_the_code_of_the_c_loader(
    tmp_path, content, tags, code, message
):
    """Source: reader.cc of TensorFlow's C++ SavedModel loader."""
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ServingError) as error:
        Servable(tmp_path, "m", 1, tags=tuple(tags.split(",")))
    assert error.value.code == code
    assert message in error.value.message


def test_an_input_left_out_has_its_default(odd):
    """Source: predict_util.cc of 2.15, which fills in SignatureDef.defaults."""
    response = inference.predict(odd, predict_request(x=[1.0])).run()
    assert list(response.outputs["total"].float_val) == [11.0]
    response = inference.predict(odd, predict_request(x=[1.0], y=[2.0])).run()
    assert list(response.outputs["total"].float_val) == [3.0]
    with pytest.raises(ServingError) as error:
        inference.predict(odd, predict_request(y=[1.0])).run()
    assert error.value.message == (
        "input size does not match signature: 1!=2 len({y}) != len({x,y}). "
        "Sent extra: {}. Missing but required: {x}."
    )


def test_each_task_may_have_an_input_of_its_own(odd):
    """Source: multi_inference.cc of 2.15, which feeds every task's input."""
    request = inference_pb2.MultiInferenceRequest()
    for signature in ("regress_x", "regress_z"):
        request.tasks.add(model_spec=spec(signature), method_name=inference.REGRESS_METHOD)
    add_example(request.input, x=3.0, z=4.0)
    response = example_apis.multi_inference(odd, request).run()
    values = [result.regression_result.regressions[0].value for result in response.results]
    assert values == [3.0, 4.0]


def test_a_dtype_that_is_wrong_is_named_as_the_session_names_it(odd):
    """Source: direct_session.cc in TensorFlow, CheckFetch and SendInputs."""
    with pytest.raises(ServingError) as error:
        inference.predict(odd, predict_request(x=[True], y=[1.0])).run()
    assert error.value.code == Code.INVALID_ARGUMENT
    assert error.value.message == "Expects arg[0] to be float but bool is provided"


def test_a_signature_of_another_kind_is_an_invalid_argument(odd):
    """Source: classifier.cc, PreProcessClassification; regressor.cc, PreProcessRegression."""
    classify = classification_pb2.ClassificationRequest(model_spec=spec("regress_x"))
    add_example(classify.input, x=1.0)
    with pytest.raises(ServingError, match="Expected classification signature out") as error:
        example_apis.classify(odd, classify).run()
    assert error.value.code == Code.INVALID_ARGUMENT


def test_method_names_are_checked_where_a_flag_says_so(odd, strict):
    """Source: signature.h, GetSignatureMethodNameCheckFeature."""
    regress = regression_pb2.RegressionRequest(model_spec=spec("native"))
    add_example(regress.input, z=5.0)
    assert example_apis.regress(odd, regress).run().result.regressions[0].value == 5.0
    with pytest.raises(ServingError) as error:
        example_apis.regress(strict, regress).run()
    assert error.value.message == (
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: "
    )
    with pytest.raises(ServingError, match="Expected prediction signature method_name to be"):
        inference.predict(strict, predict_request("native", inputs=[b""])).run()
    inference.predict(strict, predict_request(x=[1.0])).run()


def test_responses_are_packed_where_a_flag_says_so(odd):
    """Source: predict_util.cc, kAsProtoContent."""
    response = inference.predict(odd, predict_request(x=[1.0]), packs_tensors=True).run()
    packed = response.outputs["total"]
    assert (len(packed.tensor_content), len(packed.float_val)) == (4, 0)
    assert tf.make_ndarray(packed).tolist() == [11.0]
