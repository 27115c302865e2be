"""The network of an exported model, as its graph tells it: layers, sizes, weights, the crop."""

import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from contract import signatures
from report.facts import OTHER, CropFacts, LayerFacts

_STEP = "global_step"
_AVERAGE = "/ExponentialMovingAverage"
_PASSES_ON = (
    "Cast",
    "Identity",
    "ReadVariableOp",
    "Reshape",
)  # a weight, on the way to its use
_VARIABLES = ("VarHandleOp", "VariableV2")


class Network:
    """What is read of a graph.

    Attributes:
        layers: From the image to the logits; those with weights, and the poolings between.
        crop: What of an image the network sees; None for all of it.
        first_kernel: The name, in the checkpoint, of the kernel that a first convolution slides
            over the three channels of an image; None without one.
        is_averaged: Whether the weights are the moving averages of those that were trained.
    """

    def __init__(
        self, meta_graph: meta_graph_pb2.MetaGraphDef, shapes: Mapping[str, list[int]]
    ) -> None:
        """Reads a graph.

        Args:
            meta_graph: Of the SavedModel.
            shapes: Of the variables in its checkpoint, by name.
        """
        self._keys = {_plain(name): name for name in shapes}
        self._sizes = {_plain(name): int(np.prod(shape)) for name, shape in shapes.items()}
        self._operations = _ancestors(meta_graph)
        self.is_averaged = any(name.endswith(_AVERAGE) for name in shapes)
        self.layers = tuple(self._layers())
        self.crop = next(filter(None, map(_crop, self._before_first_layer())), None)
        self.first_kernel = next(filter(None, map(self._image_kernel, self._operations)), None)

    def _layers(self) -> Iterator[LayerFacts]:
        """Yields the layers in the order of the graph, then weights no layer here uses."""
        left = {name: size for name, size in self._sizes.items() if name != _STEP}
        for operation in self._operations:
            if operation.type not in _KINDS:
                continue
            weights = [name for name in map(self._weight, operation.inputs) if name]
            if operation.type in _LEARNED and not weights:
                continue  # its kernel is a constant, as in a normalization
            scope = _scope(weights[0]) if weights else ""
            own = [name for name in left if weights and _scope(name) == scope]
            kind, window_of = _KINDS[operation.type]
            yield LayerFacts(
                name=scope,
                kind=kind,
                window=window_of(operation),
                output=_size(operation.outputs[0]),
                parameters=sum(left.pop(name) for name in own),
            )
        for scope, names in itertools.groupby(left, _scope):
            yield LayerFacts(scope, OTHER, "", "", sum(left[name] for name in names))

    def _before_first_layer(self) -> Iterator[tf.Operation]:
        return itertools.takewhile(
            lambda operation: not any(map(self._weight, operation.inputs)), self._operations
        )

    def _weight(self, tensor: tf.Tensor) -> str | None:
        """Returns the variable whose value a tensor contains, if any."""
        operation = tensor.op
        while operation.type in _PASSES_ON and operation.inputs:
            operation = operation.inputs[0].op
        is_known = operation.type in _VARIABLES and operation.name in self._keys
        return str(operation.name) if is_known else None

    def _image_kernel(self, operation: tf.Operation) -> str | None:
        if operation.type != "Conv2D" or operation.inputs[1].shape[2] != 3:
            return None
        weight = self._weight(operation.inputs[1])
        return self._keys[weight] if weight else None


def _ancestors(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[tf.Operation]:
    """Returns what the pixels' probabilities are computed by, in the order of the graph."""
    output = meta_graph.signature_def[signatures.PIXELS].outputs["probabilities"].name
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(meta_graph.graph_def, name="")
    found: set[tf.Operation] = set()
    waiting = [graph.get_tensor_by_name(output).op]
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    return [operation for operation in graph.get_operations() if operation in found]


def _plain(name: str) -> str:
    return name.removesuffix(_AVERAGE)


def _scope(name: str) -> str:
    return name.rpartition("/")[0]


def _size(tensor: tf.Tensor) -> str:
    """Returns `24×24×64`, without the batch; empty if the graph does not say."""
    shape = tensor.shape
    if shape.rank is None or shape.rank < 2 or None in shape.as_list()[1:]:
        return ""
    return "×".join(map(str, shape[1:]))


def _convolution(operation: tf.Operation) -> str:
    height, width = operation.inputs[1].shape[:2]
    return f"{height}×{width}{_stride(operation)}"


def _pool(operation: tf.Operation) -> str:
    _, height, width, _ = operation.get_attr("ksize")
    return f"{height}×{width}{_stride(operation)}"


def _stride(operation: tf.Operation) -> str:
    stride = max(operation.get_attr("strides"))
    return f", {stride} pixels apart" if stride > 1 else ""


def _everything(_: tf.Operation) -> str:
    return ""


_Kinds = Mapping[str, tuple[str, Callable[[tf.Operation], str]]]  # name, and window in words
_LEARNED: _Kinds = {
    "Conv2D": ("convolution", _convolution),
    "DepthwiseConv2dNative": ("depthwise convolution", _convolution),
    "MatMul": ("dense layer", _everything),
    "FusedBatchNorm": ("batch norm", _everything),
    "FusedBatchNormV2": ("batch norm", _everything),
    "FusedBatchNormV3": ("batch norm", _everything),
}
_KINDS: _Kinds = {
    **_LEARNED,
    "MaxPool": ("max pooling", _pool),
    "AvgPool": ("mean pooling", _pool),
}


def _crop(operation: tf.Operation) -> CropFacts | None:
    """Returns which pixels a slice of images keeps; None if it keeps all or is not a slice."""
    if operation.type not in ("Slice", "StridedSlice"):
        return None
    before, after = operation.inputs[0].shape, operation.outputs[0].shape
    if before.rank != 4 or after.rank != 4 or None in (*before[1:], *after[1:]):
        return None
    (_, height, width, _), (_, seen_height, seen_width, _) = before, after
    if (height, width) == (seen_height, seen_width):
        return None
    begin = tf.get_static_value(operation.inputs[1])
    middle = ((height - seen_height) // 2, (width - seen_width) // 2)
    return CropFacts(
        f"{seen_height}×{seen_width}",
        f"{height}×{width}",
        is_middle=begin is not None and tuple(begin[1:3]) == middle,
    )
