"""The exported model: its network, and what a server can ask of it."""

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from report import network, pictures
from report.facts import FilterFacts, ModelFacts, SignatureFacts

FILTERS_PER_ROW = 16


def model_facts(model_dir: str) -> ModelFacts:
    """Returns the network, size and signatures of a SavedModel."""
    with tf.io.gfile.GFile(f"{model_dir}/saved_model.pb", "rb") as file:
        meta_graph = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs[0]
    variables = f"{model_dir}/variables/variables"
    found = network.Network(meta_graph, dict(tf.train.list_variables(variables)))
    kernel = None
    if found.first_kernel:
        kernel = tf.train.load_variable(variables, found.first_kernel)
    return ModelFacts(
        parameters=sum(layer.parameters for layer in found.layers),
        bytes=folder_bytes(model_dir),
        signatures=read_signatures(meta_graph),
        layers=found.layers,
        crop=found.crop,
        is_averaged=found.is_averaged,
        filters=None if kernel is None else filter_facts(kernel),
    )


def filter_facts(kernel: np.ndarray) -> FilterFacts:
    """Returns the filters of a convolution over the channels of an image."""
    height, width, _, count = kernel.shape
    return FilterFacts(pictures.data_uri(filter_sheet(kernel)), count, f"{height}×{width}")


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


def read_signatures(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[SignatureFacts]:
    """Returns each signature of a SavedModel, its tensors in words."""
    signatures = meta_graph.signature_def
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
