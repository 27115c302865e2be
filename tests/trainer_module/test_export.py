from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from contract import example_files
from data_sources.cifar_format import CIFAR10
from tests.trainer_module import reference_network
from trainer_module import export


@pytest.fixture(scope="module")
def model_dir(trained_dir: Path) -> Path:
    return trained_dir / "model" / "Format-Serving"


@pytest.fixture(scope="module")
def signatures(model_dir: Path) -> dict[str, tf.types.experimental.GenericFunction]:
    # The functions live as long as what was loaded, so we keep that too.
    loaded = tf.saved_model.load(str(model_dir), tags=["serve"])
    return {"loaded": loaded, **loaded.signatures}


@pytest.fixture(scope="module")
def examples(examples_dir: Path) -> list[bytes]:
    return example_files.read_first(example_files.find([str(examples_dir / "eval" / "*")]), 20)


@pytest.fixture(scope="module")
def images(examples: list[bytes]) -> np.ndarray:
    values = [
        tf.train.Example.FromString(e).features.feature["image"].bytes_list.value[0]
        for e in examples
    ]
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, 32, 32, 3)


def test_server_sees_four_signatures(signatures):
    inputs_of = {
        name: list(signature.structured_input_signature[1])
        for name, signature in signatures.items()
        if name != "loaded"
    }
    assert inputs_of == {
        "serving_default": ["images"],
        "predict_image_bytes": ["image_bytes"],
        "predict_examples": ["examples"],
        "classify": ["inputs"],
    }


def test_served_weights_are_the_averages_not_the_raw_ones(
    trained_dir, signatures, images, examples
):
    reader = tf.train.load_checkpoint(str(trained_dir / "checkpoints"))
    names = [n for n in reader.get_variable_to_shape_map() if n.endswith(("weights", "biases"))]
    crops = images[:, 4:28, 4:28].astype(float)
    standardized = (crops - crops.mean((1, 2, 3), keepdims=True)) / crops.std(
        (1, 2, 3), keepdims=True
    )

    def probabilities(suffix: str) -> np.ndarray:
        weights = {name: reader.get_tensor(name + suffix).astype(float) for name in names}
        logits = reference_network.activations(standardized, weights)["softmax_linear"]
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    served = signatures["predict_examples"](examples=tf.constant(examples))["probabilities"]
    np.testing.assert_allclose(served, probabilities("/ExponentialMovingAverage"), atol=1e-5)
    assert np.abs(served - probabilities("")).max() > 1e-3


def test_every_signature_gives_what_the_trainer_predicted(
    trained_dir, signatures, images, examples
):
    kept = np.load(trained_dir / "model_run" / "eval_predictions.npz")
    assert kept["keys"].tolist() == [f"test_batch.bin:{i}".encode() for i in range(20)]
    encoded = [tf.io.encode_png(image).numpy() for image in images]
    for name, request in (
        ("serving_default", {"images": images}),
        ("predict_image_bytes", {"image_bytes": encoded}),
        ("predict_examples", {"examples": examples}),
    ):
        answer = signatures[name](**{key: tf.constant(value) for key, value in request.items()})
        np.testing.assert_allclose(answer["probabilities"], kept["probabilities"], atol=1e-6)
        class_ids = kept["probabilities"].argmax(axis=1)
        np.testing.assert_array_equal(answer["class_ids"], class_ids)
        names = [CIFAR10.class_names[i].encode() for i in class_ids]
        assert answer["classes"].numpy().tolist() == names
    scored = signatures["classify"](inputs=tf.constant(examples))
    np.testing.assert_allclose(scored["scores"], kept["probabilities"], atol=1e-6)
    names = [name.encode() for name in CIFAR10.class_names]
    assert scored["classes"].numpy().tolist() == [names] * 20


def test_images_of_any_size_and_kind_are_resized():
    image = np.full((400, 640, 3), (200, 30, 90), np.uint8)
    contents = [tf.io.encode_jpeg(image, quality=100), tf.io.encode_png(image[:7, :9])]
    gray = tf.io.encode_png(np.full((50, 50, 1), 120, np.uint8))
    decoded = export.decode_images(tf.stack([*contents, gray]), (32, 32, 3)).numpy()
    assert decoded.shape == (3, 32, 32, 3)
    for one, colour in zip(
        decoded, [(200, 30, 90), (200, 30, 90), (120, 120, 120)], strict=True
    ):
        assert np.abs(one.astype(int) - colour).max() <= 2


def test_an_image_of_32_pixels_keeps_every_value(images):
    encoded = tf.stack([tf.io.encode_png(image) for image in images])
    np.testing.assert_array_equal(export.decode_images(encoded, (32, 32, 3)), images)


def test_every_warmup_record_is_a_valid_request(model_dir, signatures):
    path = model_dir / "assets.extra" / "tf_serving_warmup_requests"
    seen = set()
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.WhichOneof("log_type") == "classify_log":
            request = log.classify_log.request
            serialized = [e.SerializeToString() for e in request.input.example_list.examples]
            feeds = {"inputs": tf.constant(serialized)}
        else:
            request = log.predict_log.request
            feeds = {
                name: tf.constant(tf.make_ndarray(t)) for name, t in request.inputs.items()
            }
        name = request.model_spec.signature_name
        (size,) = {len(value) for value in feeds.values()}
        assert all(len(output) == size for output in signatures[name](**feeds).values())
        seen.add((name, size))
    names = ("serving_default", "predict_image_bytes", "predict_examples", "classify")
    assert seen == {(name, size) for name in names for size in (1, 8, 32)}
