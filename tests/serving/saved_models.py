"""Small SavedModels whose answers can be worked out by hand.

`python -m tests.serving.saved_models FOLDER` writes them where another server can find
them, such as the one TENSORFLOW_MODEL_SERVER names.
"""

import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from data_sources.cifar_format import CIFAR10
from tests.conftest import CLASS_COLOURS

CLASS_NAMES = CIFAR10.class_names

v1 = tf.compat.v1

HALF_PLUS_TWO = "half_plus_two"
COLOURS = "colours"


def write_half_plus(path: Path, offset: float, warmup: bytes = b"") -> None:
    """Writes a model of y = x / 2 + offset and y2 = x / 2 + offset + 1.

    Its signatures are those of the `half_plus_two` model in TensorFlow Serving's tests:
    predict on `x`, regress and classify on a tf.Example with feature `x`.
    """
    with tf.Graph().as_default(), v1.Session() as session:
        half = v1.get_variable("half", initializer=0.5)
        plus = v1.get_variable("plus", initializer=offset)
        examples = v1.placeholder(tf.string, [None], "tf_example")
        spec = {"x": tf.io.FixedLenFeature([1], tf.float32)}
        x = tf.identity(tf.io.parse_example(examples, spec)["x"], "x")
        y = tf.add(x * half, plus, "y")
        y2 = tf.add(y, 1.0, "y2")
        session.run(v1.global_variables_initializer())
        _save(
            session,
            path,
            {
                "serving_default": _signature("predict", {"x": x}, {"y": y}),
                "two_outputs": _signature("predict", {"x": x}, {"y": y, "y2": y2}),
                "regress": _signature("regress", {"inputs": examples}, {"outputs": y}),
                "regress_y2": _signature("regress", {"inputs": examples}, {"outputs": y2}),
                "classify": _signature("classify", {"inputs": examples}, {"scores": y}),
            },
            warmup,
        )


def write_echo(path: Path) -> None:
    """Writes a model that returns what it gets, with a signature for each dtype."""
    kinds = (
        tf.float32, tf.float64, tf.int8, tf.int16, tf.int32, tf.int64,
        tf.uint8, tf.uint32, tf.uint64, tf.bool, tf.string, tf.float16,
    )  # fmt: skip
    with tf.Graph().as_default(), v1.Session() as session:
        signatures = {}
        for dtype in kinds:
            fed = v1.placeholder(dtype, name=f"in_{dtype.name}")
            same = tf.identity(fed, name=f"out_{dtype.name}")
            signatures[dtype.name] = _signature("predict", {"value": fed}, {"same": same})
        text = v1.placeholder(tf.string, [None], name="text")
        number = v1.placeholder(tf.int32, [None], name="number")
        signatures["serving_default"] = _signature(
            "predict",
            {"text": text, "number": number},
            {"text": tf.identity(text), "text_bytes": tf.identity(text), "number": -number},
        )
        signatures["bytes"] = _signature(
            "predict", {"value": text}, {"same_bytes": tf.identity(text)}
        )
        signatures["scalar"] = _signature(
            "predict", {"value": number}, {"total": tf.reduce_sum(number)}
        )
        _save(session, path, signatures)


def write_colours(path: Path, warmup: bytes = b"") -> None:
    """Writes an image model with the four signatures of the serving contract.

    Its class is the nearest in `tests.conftest.CLASS_COLOURS` to the image's mean colour.
    """
    with tf.Graph().as_default(), v1.Session() as session:
        empty = tf.constant([], tf.string)
        examples = v1.placeholder_with_default(empty, [None], "examples")
        image_bytes = v1.placeholder_with_default(empty, [None], "image_bytes")
        images = v1.placeholder_with_default(
            tf.concat([_of_examples(examples), _of_bytes(image_bytes)], 0),
            [None, 32, 32, 3],
            "images",
        )
        colours = v1.get_variable("colours", initializer=tf.constant(CLASS_COLOURS, tf.float32))
        means = tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])
        distances = tf.norm(means[:, tf.newaxis] - colours, axis=-1)
        probabilities = tf.nn.softmax(-distances / 10)
        class_ids = tf.argmax(probabilities, -1)
        names = tf.constant(CLASS_NAMES)
        all_names = tf.tile(names[tf.newaxis], [tf.shape(probabilities)[0], 1])
        outputs = {
            "probabilities": probabilities,
            "class_ids": class_ids,
            "classes": tf.gather(names, class_ids),
        }
        session.run(v1.global_variables_initializer())
        scores = {"classes": all_names, "scores": probabilities}
        _save(
            session,
            path,
            {
                "serving_default": _signature("predict", {"images": images}, outputs),
                "predict_image_bytes": _signature(
                    "predict", {"image_bytes": image_bytes}, outputs
                ),
                "predict_examples": _signature("predict", {"examples": examples}, outputs),
                "classify": _signature("classify", {"inputs": examples}, scores),
            },
            warmup,
        )


def write_odd(path: Path) -> None:
    """Writes a model with unusual signatures.

    `add` returns x + y, where y is 10 by default; `regress_x` and `regress_z` each have their
    own input for examples; `native` names no method, which TensorFlow 2 allows.
    """
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        y = v1.placeholder(tf.float32, [None], "y")
        total = tf.identity(x + y, "total")
        add = _signature("predict", {"x": x, "y": y}, {"total": total})
        add.defaults["y"].CopyFrom(tf.make_tensor_proto([10.0]))
        signatures = {"serving_default": add}
        for name in ("x", "z"):
            examples = v1.placeholder(tf.string, [None], f"examples_of_{name}")
            spec = {name: tf.io.FixedLenFeature([], tf.float32)}
            value = tf.identity(tf.io.parse_example(examples, spec)[name], f"value_of_{name}")
            inputs, outputs = {"inputs": examples}, {"outputs": value}
            signatures[f"regress_{name}"] = _signature("regress", inputs, outputs)
        signatures["native"] = _signature("predict", {"inputs": examples}, {"outputs": value})
        signatures["native"].method_name = ""
        _save(session, path, signatures)


def write_counter(path: Path) -> None:
    """Writes a model that counts, like the `counter` model in TensorFlow Serving's tests.

    All of its signatures but `add` have no inputs.
    """
    with tf.Graph().as_default(), v1.Session() as session:
        counter = v1.get_variable("counter", initializer=0.0)
        delta = v1.placeholder(tf.float32, name="delta")
        outputs = {
            "serving_default": tf.identity(counter, "value"),
            "increment": tf.identity(counter.assign_add(1.0)),
            "reset": tf.identity(counter.assign(0.0)),
        }
        signatures = {
            name: _signature("predict", {}, {"output": output})
            for name, output in outputs.items()
        }
        added = tf.identity(counter.assign_add(delta))
        signatures["add"] = _signature("predict", {"delta": delta}, {"output": added})
        session.run(v1.global_variables_initializer())
        _save(session, path, signatures)


def write_all(folder: Path) -> None:
    """Writes every model the shared server serves, and their config, into a folder."""
    write_half_plus(folder / HALF_PLUS_TWO / "1", 2.0)
    write_half_plus(folder / HALF_PLUS_TWO / "2", 3.0)
    write_echo(folder / "echo" / "1")
    write_colours(folder / COLOURS / "7")
    write_counter(folder / "counter" / "1")
    (folder / "models.config").write_text(
        f"""
        model_config_list {{
          config {{
            name: "{HALF_PLUS_TWO}" base_path: "{folder / HALF_PLUS_TWO}"
            model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 1 }}
            version_labels {{ key: "canary" value: 2 }}
          }}
          config {{
            name: "echo" base_path: "{folder / "echo"}" model_platform: "tensorflow"
          }}
          config {{
            name: "counter" base_path: "{folder / "counter"}" model_platform: "tensorflow"
          }}
          config {{
            name: "{COLOURS}" base_path: "{folder / COLOURS}" model_platform: "tensorflow"
          }}
        }}
        """
    )
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")


def _of_examples(examples: tf.Tensor) -> tf.Tensor:
    spec = {"image": tf.io.FixedLenFeature([], tf.string)}
    raw = tf.io.parse_example(examples, spec)["image"]
    pixels = tf.io.decode_raw(raw, tf.uint8, fixed_length=3072)
    return tf.reshape(pixels, [-1, 32, 32, 3])


def _of_bytes(image_bytes: tf.Tensor) -> tf.Tensor:
    def decode(content: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(content, 3, expand_animations=False)
        return tf.cast(tf.image.resize(image, [32, 32], antialias=True), tf.uint8)

    shape = tf.TensorSpec([32, 32, 3], tf.uint8)
    return tf.map_fn(decode, image_bytes, fn_output_signature=shape)


def _signature(
    method: str, inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]
) -> meta_graph_pb2.SignatureDef:
    build = v1.saved_model.build_tensor_info
    return v1.saved_model.build_signature_def(
        {name: build(tensor) for name, tensor in inputs.items()},
        {name: build(tensor) for name, tensor in outputs.items()},
        f"tensorflow/serving/{method}",
    )


def _save(
    session: tf.compat.v1.Session,
    path: Path,
    signatures: dict[str, meta_graph_pb2.SignatureDef],
    warmup: bytes = b"",
) -> None:
    """Writes next to the target, then renames, because a server may be watching."""
    staging = path.parent / f".staging-{path.name}"
    builder = v1.saved_model.Builder(str(staging))
    builder.add_meta_graph_and_variables(session, ["serve"], signatures)
    builder.save()
    if warmup:
        extra = staging / "assets.extra"
        extra.mkdir()
        (extra / "tf_serving_warmup_requests").write_bytes(warmup)
    staging.rename(path)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]).resolve())
