"""The settings of a training, in flow order, and the presets. Does not import TensorFlow."""

import dataclasses
from typing import Literal

from contract import settings
from contract.settings import (
    WATCHING,
    Fraction,
    NotNegative,
    PositiveFloat,
    PositiveInt,
    Share,
)
from trainer_module import network


@dataclasses.dataclass(frozen=True)
class HyperParameters:
    """One way to train; the defaults are the classic recipe.

    Raises:
        ValueError: A value is outside its range; the message names the field.
    """

    # How long to train, and with how many images at a time.
    train_steps: PositiveInt = (
        100_000  # steps, one batch each; about 256 passes over 50,000 images
    )
    batch_size: PositiveInt = 128  # images whose mean gradient makes one update
    data_memory_gib: PositiveFloat = 1.0  # of images in memory; more of them are streamed

    # How a gradient moves the weights.

    # sgd; momentum, which follows the mean of recent gradients; or muon, which also does so
    # and moves the kernels of `muon_layers` equally in all their directions (muon.py)
    optimizer: Literal["sgd", "momentum", "muon"] = "sgd"
    momentum: Fraction = 0.0  # fraction of the last update to add to the next; not for sgd
    muon_layers: str = "conv1+conv2+local3+local4"  # names from network.py
    muon_momentum: Fraction = 0.6  # the same for the kernels of muon_layers
    muon_update_rms: PositiveFloat = (
        0.035  # size of an update of a convolution's weights, in learning rates
    )
    muon_dense_update_rms: PositiveFloat = 0.008  # the same for a dense layer's weights
    muon_weight_decay: NotNegative = (
        0.025  # part of a kernel that an update also subtracts, in learning rates
    )
    muon_steps: PositiveInt = 3  # Newton–Schulz steps; with more, the directions are more equal
    learning_rate: PositiveFloat = 0.1  # at step 0; weights change by it times the gradient
    learning_rate_decay_factor: float = 0.1  # what each decay multiplies the rate by
    epochs_per_decay: PositiveFloat = 350.0  # passes over the data from one decay to the next
    decay_staircase: bool = True  # decay at once after these passes; else a little per step

    # Regularization: keeps the network from memorizing the images.
    label_smoothing: Fraction = 0.0  # probability to spread over all classes, with the true one
    # L2 loss of the first two dense kernels, times ½ Σ w². See also muon_weight_decay.
    weight_decay: NotNegative = 0.004
    max_brightness_delta: NotNegative = 63.0  # largest change, in pixel values 0 to 255
    min_contrast: NotNegative = 0.2  # factor about the mean of a channel; 1 changes nothing
    max_contrast: NotNegative = 1.8  # the same; each image gets a random factor between the two
    random_flip: bool = True  # mirrors half of the images left to right
    # How far from the centre the 24×24 pixels of a random crop may be: 1 reaches the border.
    crop_shift: Share = 1.0
    ema_decay: Fraction = 0.9999  # fraction of the averaged (and served) weights kept each step

    # Initial values, and the computation.
    conv_stddev: PositiveFloat = (
        1e-4  # standard deviation of the initial kernels of both convolutions
    )
    conv_identity: NotNegative = (
        0.0  # added to conv2's initial weight from each channel to itself, same pixel
    )
    seed: int = 0  # for everything random: weights, order of images, distortions
    # Of activations and gradients; weights stay float32. auto: bfloat16 where the hardware
    # computes in it, else float32.
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    distribution: Literal["none", "mirrored"] = (
        "none"  # mirrored: all devices of this machine share each batch
    )

    # How the training is watched.

    # steps between two lines of progress
    log_every_steps: PositiveInt = dataclasses.field(default=100, metadata=WATCHING)
    # steps between points in TensorBoard
    summary_every_steps: PositiveInt = dataclasses.field(default=500, metadata=WATCHING)
    # steps between checkpoints; a killed run loses at most these
    checkpoint_every_steps: PositiveInt = dataclasses.field(default=1_000, metadata=WATCHING)
    # steps between evaluations, which select nothing; each writes a checkpoint
    eval_every_steps: PositiveInt = dataclasses.field(default=5_000, metadata=WATCHING)
    # whether to log which device computes each operation
    log_device_placement: bool = dataclasses.field(default=False, metadata=WATCHING)

    def __post_init__(self) -> None:
        """Checks every value before anything expensive begins."""
        settings.check(self)
        layers = network.layers(self.conv_stddev, num_classes=2)  # the names stay the same
        names = [layer.name for layer in network.with_weights(layers)]
        if set(self.muon_layers.split("+")) - {*names}:
            raise ValueError(
                f"muon_layers must be names of {'+'.join(names)}, joined by +, got "
                f"{self.muon_layers!r}."
            )
        if self.min_contrast > self.max_contrast:
            raise ValueError(
                "min_contrast must be at most max_contrast, got "
                f"{self.min_contrast} and {self.max_contrast}."
            )


REFERENCE = HyperParameters()
QUICK = dataclasses.replace(
    REFERENCE,
    train_steps=2_600,
    batch_size=256,
    optimizer="muon",
    momentum=0.9,
    learning_rate=0.1,
    epochs_per_decay=4.1,
    learning_rate_decay_factor=0.5,
    decay_staircase=False,
    label_smoothing=0.2,
    weight_decay=0.0,
    min_contrast=0.75,
    max_contrast=1.25,
    crop_shift=0.75,
    ema_decay=0.998,
    conv_stddev=5e-2,
    conv_identity=0.5,
    compute_dtype="auto",
    log_every_steps=50,
    summary_every_steps=250,
    checkpoint_every_steps=500,
    eval_every_steps=1_000,
)
# The learning rate stays high for longer than in quick, the averages reach further back, and
# contrast and crops vary more (see docs/measurements.md).
BEST = dataclasses.replace(
    QUICK,
    train_steps=13_000,
    epochs_per_decay=11.4,
    ema_decay=0.9994,
    min_contrast=0.5,
    max_contrast=1.5,
    crop_shift=1.0,
)
SMOKE = dataclasses.replace(
    QUICK,
    train_steps=60,
    batch_size=32,
    learning_rate=0.01,
    ema_decay=0.9,
    log_every_steps=20,
    summary_every_steps=20,
    checkpoint_every_steps=20,
    eval_every_steps=60,
    compute_dtype="float32",
)
PRESETS = {"smoke": SMOKE, "quick": QUICK, "best": BEST, "reference": REFERENCE}
# The accuracy that each preset must reach; reference uses the pipeline's own 80%.
GATES = {
    "smoke": {"min_accuracy": 0.0, "max_accuracy_drop": 0.5, "max_class_accuracy_drop": 1.0},
    "quick": {"min_accuracy": 0.70},
    "best": {"min_accuracy": 0.82},
}
# For the help; measured on two cores, see docs/measurements.md.
ABOUT = {
    "smoke": "60 steps: tests the pipeline in a minute",
    "quick": "2,600 steps: 84.8% accuracy in 5 min with AVX512-BF16",
    "best": "13,000 steps: 87.4% accuracy in 22 min with AVX512-BF16",
    "reference": "100,000 steps: the classic recipe",
}
