"""The network: the layers from an image to the logits, and their initial weights.

This is CIFAR-10's classic convolutional network, from TensorFlow's tutorial:
https://github.com/tensorflow/models/blob/v1.13.0/tutorials/image/cifar10/cifar10.py
after A. Krizhevsky's cuda-convnet: https://code.google.com/archive/p/cuda-convnet

`layers.py` computes it; this module is independent of TensorFlow and of the machine.
"""

from __future__ import annotations  # the layers come first, their kinds below

import dataclasses
from collections.abc import Sequence


def layers(
    conv_stddev: float, num_classes: int, conv_identity: float = 0.0
) -> tuple[Layer, ...]:
    """Returns the layers from the image to the logits; sizes are those of 24×24 pixels."""
    return (
        Convolution("conv1", size=5, channels=64, stddev=conv_stddev, bias=0.0),  # 24×24×64
        MaxPool(size=3, stride=2),  # 12×12×64
        LocalResponseNormalization(radius=4, bias=1.0, alpha=0.001 / 9),
        Convolution("conv2", 5, 64, conv_stddev, bias=0.1, identity=conv_identity),
        LocalResponseNormalization(radius=4, bias=1.0, alpha=0.001 / 9),
        MaxPool(size=3, stride=2),  # 6×6×64, then flat: 2,304
        Dense("local3", units=384, stddev=0.04, bias=0.1, decays=True),
        Dense("local4", units=192, stddev=0.04, bias=0.1, decays=True),
        Dense("softmax_linear", num_classes, stddev=1 / 192, bias=0.0, has_relu=False),
    )


@dataclasses.dataclass(frozen=True)
class Convolution:
    """relu(x ∗ weights + biases), one pixel apart, with zeros beyond the border."""

    name: str
    size: int  # height and width of the window, in pixels
    channels: int  # of the output
    stddev: float  # weights start from a normal of mean 0, cut at two deviations
    bias: float  # biases start from
    identity: float = 0.0  # added at the start to the weight from each channel to itself


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """The maximum of each window and channel; windows at the border are cut."""

    size: int  # height and width of the window, in pixels
    stride: int  # pixels from one window to the next


@dataclasses.dataclass(frozen=True)
class LocalResponseNormalization:
    """x / (bias + alpha · Σ x²)^0.75, the sum over the channels at most `radius` away.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional
    Neural Networks", section 3.3 (2012).
    """

    radius: int
    bias: float
    alpha: float


@dataclasses.dataclass(frozen=True)
class Dense:
    """x · weights + biases, followed by relu except in the last layer."""

    name: str
    units: int
    stddev: float  # weights start from a normal of mean 0, cut at two deviations
    bias: float  # biases start from
    has_relu: bool = True
    decays: bool = False  # ½ Σ weights² adds to the loss


Layer = Convolution | MaxPool | LocalResponseNormalization | Dense


def with_weights(layers: Sequence[Layer]) -> list[Convolution | Dense]:
    """Returns the layers that learn."""
    return [layer for layer in layers if isinstance(layer, Convolution | Dense)]


def decaying(layers: Sequence[Layer]) -> list[Dense]:
    """Returns the layers whose weights add to the loss."""
    return [layer for layer in layers if isinstance(layer, Dense) and layer.decays]
