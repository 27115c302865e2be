"""What the model sees of an image, in pure TensorFlow; the only code that prepares pixels.

Transform traces `preprocessing_fn` to the graph that evaluation and serving use; training calls
the same `standardize` after its random crops and flips.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from contract import features

STANDARDIZED_IMAGE = "standardized_image"  # float32, 24×24×3 of 32×32: what the model sees


def preprocessing_fn(
    inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor]:
    """Returns what the model sees of raw examples; Transform traces it, without analyzers.

    Args:
        inputs: `image`, string, shape (n,) or (n, 1), as for `decode`, and `label`, int64.
        custom_config: `image_size`, height and width of an image.

    Returns:
        `standardized_image`, float32, shape (n, crop, crop, 3), and `label`, int64, shape (n,).
    """
    return transform(inputs, custom_config, prepare)


def prepare(images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns what the model sees of undistorted images, uint8, (n, height, width, 3)."""
    return {STANDARDIZED_IMAGE: standardize(central_crop(images))}


def transform(
    inputs: dict[str, tf.Tensor],
    custom_config: dict[str, Any],
    prepare: Callable[[tf.Tensor], dict[str, tf.Tensor]],
) -> dict[str, tf.Tensor]:
    """Returns the features that `prepare` makes of decoded images, and the label."""
    label = tf.reshape(inputs[features.LABEL], [-1])
    images = decode(inputs[features.IMAGE], custom_config["image_size"])
    return {**prepare(images), features.LABEL: label}


def crop_size(image_size: int) -> int:
    """Returns the height and width that the model sees of an image: 24 of 32."""
    return image_size * 3 // 4


def decode(image_bytes: tf.Tensor, image_size: int) -> tf.Tensor:
    """Returns the images stored in raw bytes.

    Args:
        image_bytes: string, shape (n,) or (n, 1): height, width, RGB, a byte for each value.
        image_size: Height and width of each.

    Returns:
        uint8, shape (n, image_size, image_size, 3).

    Raises:
        tf.errors.InvalidArgumentError: At run time, if the bytes have another length.
    """
    shape = (image_size, image_size, features.CHANNELS)
    num_bytes = math.prod(shape)
    image_bytes = tf.reshape(image_bytes, [-1])
    has_right_length = tf.debugging.assert_equal(
        tf.strings.length(image_bytes),
        num_bytes,
        f"An image has {num_bytes:,} raw bytes: {image_size} lines of {image_size} RGB pixels.",
    )
    with tf.control_dependencies([has_right_length]):
        # A fixed length accepts an empty batch; the check above prevents padding.
        pixels = tf.io.decode_raw(image_bytes, tf.uint8, fixed_length=num_bytes)
    return tf.reshape(pixels, (-1, *shape))


def encode(images: tf.Tensor) -> tf.Tensor:
    """Returns the raw bytes of images: the inverse of `decode`.

    TensorFlow has no operation for this, but a serialized tensor ends with its content.

    Args:
        images: uint8, shape (n, height, width, 3), of which only n may be unknown.

    Returns:
        string, shape (n,), a byte for each value.
    """
    num_bytes = math.prod(images.shape[1:])
    serialized = tf.io.serialize_tensor(images)
    count = tf.shape(images)[0]
    header_bytes = tf.strings.length(serialized) - count * num_bytes
    starts = header_bytes + tf.range(count) * num_bytes
    return tf.strings.substr(serialized, starts, tf.fill([count], num_bytes))


def central_crop(images: tf.Tensor) -> tf.Tensor:
    """Returns the centre of images of shape (n, height, width, 3): 24×24 pixels of 32×32."""
    image_size = int(images.shape[1])
    size = crop_size(image_size)
    margin = (image_size - size) // 2
    return images[:, margin : margin + size, margin : margin + size, :]


def standardize(images: tf.Tensor) -> tf.Tensor:
    """Returns each image with mean 0 and standard deviation 1 over all its values.

    The deviation is at least 1/√(number of values), so that an image of one colour becomes 0.

    Args:
        images: uint8 or float32 of 0 to 255, shape (n, height, width, 3).

    Returns:
        float32 of the same shape.
    """
    return tf.image.per_image_standardization(tf.cast(images, tf.float32))
