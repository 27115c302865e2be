"""The exported model: what its first layer looks for, and what a server can ask of it."""

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from report import pictures
from report.facts import ModelFacts, SignatureFacts

FILTERS_PER_ROW = 16
FIRST_KERNEL = "conv1/weights"


def model_facts(model_dir: str) -> ModelFacts:
    """Returns size, signatures and first-layer filters of a SavedModel."""
    variables = f"{model_dir}/variables/variables"
    shapes = dict(tf.train.list_variables(variables))
    # An averaged weight is saved as `conv1/weights/ExponentialMovingAverage`.
    first_kernel = next(name for name in shapes if name.startswith(FIRST_KERNEL))
    kernel = tf.train.load_variable(variables, first_kernel)
    return ModelFacts(
        parameters=sum(int(np.prod(shape)) for shape in shapes.values() if shape),
        bytes=folder_bytes(model_dir),
        signatures=read_signatures(model_dir),
        filters=pictures.data_uri(filter_sheet(kernel)),
        filter_count=kernel.shape[-1],
    )


def filter_sheet(kernel: np.ndarray) -> np.ndarray:
    """Returns the filters of a convolution as small images, grey where they are 0.

    Args:
        kernel: float, shape (height, width, 3, filters). Each is drawn on its own scale.

    Returns:
        uint8 with alpha, as `pictures.sheet` returns it.
    """
    scale = 127 / np.maximum(np.abs(kernel).max(axis=(0, 1, 2)), 1e-12)
    pixels = (128 + kernel * scale).round().astype(np.uint8)
    return pictures.sheet(list(np.moveaxis(pixels, -1, 0)), FILTERS_PER_ROW, gap=1)


def read_signatures(model_dir: str) -> list[SignatureFacts]:
    """Returns each signature of a SavedModel, its tensors in words."""
    with tf.io.gfile.GFile(f"{model_dir}/saved_model.pb", "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    signatures = saved_model.meta_graphs[0].signature_def
    return [
        SignatureFacts(
            name=name,
            method=signature.method_name.rsplit("/", 1)[-1],
            inputs=[_tensor_in_words(*item) for item in sorted(signature.inputs.items())],
            outputs=[_tensor_in_words(*item) for item in sorted(signature.outputs.items())],
        )
        for name, signature in sorted(signatures.items())
        if not name.startswith("__saved_model")
    ]


def _tensor_in_words(name: str, info: meta_graph_pb2.TensorInfo) -> str:
    """Returns `images uint8 [n, 32, 32, 3]`."""
    sizes = ["n" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim]
    return f"{name} {tf.as_dtype(info.dtype).name} [{', '.join(sizes)}]"


def folder_bytes(folder: str) -> int:
    """Returns the size of all files below a folder."""
    return sum(
        tf.io.gfile.stat(f"{parent}/{name}").length
        for parent, _, names in tf.io.gfile.walk(folder)
        for name in names
    )
