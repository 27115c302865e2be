"""Exports the model with its signatures and the requests that warm it up."""

import posixpath
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.compat import v1
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2

from contract import features, signatures
from trainer_module import preprocessing

WARMUP_FILE = "tf_serving_warmup_requests"
WARMUP_BATCH_SIZES = (1, 8, 32)
# Estimator's name of each signature, and its name on a server.
_SIGNATURE_NAMES = {
    "images:serving_default": signatures.PIXELS,
    "image_bytes:serving_default": signatures.IMAGE_FILES,
    "serving_default": signatures.EXAMPLES,
    "classify": signatures.CLASSIFY,
}


def export_for_serving(
    estimator: tf.estimator.Estimator,
    serving_model_dir: str,
    transform_output: tft.TFTransformOutput,
    image_shape: tuple[int, int, int],
    examples: Sequence[bytes],
) -> None:
    """Writes the SavedModel: weights, four signatures, warm-up records.

    Args:
        estimator: A trained Estimator.
        serving_model_dir: The folder for `saved_model.pb`; its content is replaced.
        transform_output: The transform graph, which becomes part of the model.
        image_shape: Height, width and channels of an image.
        examples: Serialized tf.Examples to warm up with; at least one.
    """
    staging_dir = serving_model_dir.rstrip("/") + ".staging"
    if tf.io.gfile.exists(staging_dir):  # of a run that was killed
        tf.io.gfile.rmtree(staging_dir)
    tf.io.gfile.makedirs(staging_dir)
    warmup_path = posixpath.join(staging_dir, WARMUP_FILE)
    write_warmup_records(warmup_path, image_shape, examples)
    exported_dir = estimator.export_saved_model(
        staging_dir,
        serving_input_receiver_fn(transform_output, image_shape),
        assets_extra={WARMUP_FILE: warmup_path},
    ).decode()
    name_signatures(posixpath.join(exported_dir, "saved_model.pb"))
    if tf.io.gfile.exists(serving_model_dir):
        tf.io.gfile.rmtree(serving_model_dir)
    tf.io.gfile.rename(exported_dir, serving_model_dir)
    tf.io.gfile.rmtree(staging_dir)


def serving_input_receiver_fn(
    transform_output: tft.TFTransformOutput, image_shape: tuple[int, int, int]
) -> Callable[[], tf.estimator.export.ServingInputReceiver]:
    """Returns the function that builds the path from each kind of request to the model.

    Arrays and encoded images are converted to raw bytes and joined with those of the examples,
    so that every signature passes through the same transform graph. The paths that a request
    does not use carry an empty batch.
    """
    spec = {features.IMAGE: transform_output.raw_feature_spec()[features.IMAGE]}

    def receive() -> tf.estimator.export.ServingInputReceiver:
        empty = tf.constant([], tf.string)
        examples = v1.placeholder_with_default(empty, [None], "examples")
        image_bytes = v1.placeholder_with_default(empty, [None], "image_bytes")
        images = v1.placeholder_with_default(
            decode_images(image_bytes, image_shape), [None, *image_shape], "images"
        )
        from_examples = tf.io.parse_example(examples, spec)[features.IMAGE]
        from_images = tf.reshape(preprocessing.encode(images), [-1, *from_examples.shape[1:]])
        raw = {features.IMAGE: tf.concat([from_examples, from_images], axis=0)}
        transformed = transform_output.transform_raw_features(raw)
        transformed.pop(features.LABEL, None)
        return tf.estimator.export.ServingInputReceiver(
            transformed,
            receiver_tensors={"examples": examples},
            receiver_tensors_alternatives={
                "images": {"images": images},
                "image_bytes": {"image_bytes": image_bytes},
            },
        )

    return receive


def decode_images(image_bytes: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Returns decoded images in the model's size; images of that size keep every value.

    Args:
        image_bytes: string, shape (n,): PNG, JPEG, BMP or GIF (its first frame), any size.
        image_shape: Height, width and channels of the model's input.

    Returns:
        uint8, shape (n, *image_shape).
    """

    def decode(content: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(content, image_shape[2], expand_animations=False)
        resized = tf.image.resize(image, image_shape[:2], antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)

    signature = tf.TensorSpec(image_shape, tf.uint8)
    return tf.map_fn(decode, image_bytes, fn_output_signature=signature)


def name_signatures(saved_model_path: str) -> None:
    """Gives the signatures of a SavedModel the names of the serving contract.

    Estimator joins the names of an input and an output with a colon, and adds combinations
    that nobody should call.
    """
    with tf.io.gfile.GFile(saved_model_path, "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    for meta_graph in saved_model.meta_graphs:
        exported = dict(meta_graph.signature_def)
        meta_graph.ClearField("signature_def")
        for name, signature in exported.items():
            if name.startswith("__saved_model"):
                meta_graph.signature_def[name].CopyFrom(signature)
            elif name in _SIGNATURE_NAMES:
                meta_graph.signature_def[_SIGNATURE_NAMES[name]].CopyFrom(signature)
    with tf.io.gfile.GFile(saved_model_path, "wb") as file:
        file.write(saved_model.SerializeToString(deterministic=True))


def write_warmup_records(
    path: str, image_shape: tuple[int, int, int], examples: Sequence[bytes]
) -> None:
    """Writes a request for each signature and usual batch size, for servers to replay.

    A server rejects a model if one of them fails.
    Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
    """
    with tf.io.TFRecordWriter(path) as writer:
        for size in WARMUP_BATCH_SIZES:
            batch = [examples[i % len(examples)] for i in range(size)]
            for log in _warmup_requests(batch, image_shape):
                writer.write(log.SerializeToString())


def _warmup_requests(
    batch: Sequence[bytes], image_shape: tuple[int, int, int]
) -> list[prediction_log_pb2.PredictionLog]:
    """Returns one request for each signature."""
    examples = [tf.train.Example.FromString(serialized) for serialized in batch]
    raw = b"".join(e.features.feature[features.IMAGE].bytes_list.value[0] for e in examples)
    images = np.frombuffer(raw, np.uint8).reshape(-1, *image_shape)
    encoded = [tf.io.encode_png(image).numpy() for image in images]
    logs = [
        _predict_request(signatures.PIXELS, "images", images),
        _predict_request(signatures.IMAGE_FILES, "image_bytes", np.array(encoded, object)),
        _predict_request(signatures.EXAMPLES, "examples", np.array(batch, object)),
    ]
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.signature_name = signatures.CLASSIFY
    classify.input.example_list.examples.extend(examples)
    classify_log = prediction_log_pb2.ClassifyLog(request=classify)
    return [*logs, prediction_log_pb2.PredictionLog(classify_log=classify_log)]


def _predict_request(
    signature: str, name: str, values: np.ndarray
) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    predict_log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=predict_log)
