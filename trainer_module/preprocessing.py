"""Transform: what the model sees. Pure TensorFlow, and the one home of the pixels' path.

Transform puts `preprocessing_fn` in the graph that evaluation and serving pass through;
training calls the same `standardize` after its random crops and flips.
"""

from collections.abc import Callable

import tensorflow as tf

from contract import features

STANDARDIZED_IMAGE = "standardized_image"  # float32, 24×24×3: what the model sees
CROP_SIZE = 24  # lines and columns of it

_MARGIN = (features.IMAGE_SIZE - CROP_SIZE) // 2
IMAGE_SHAPE = (features.IMAGE_SIZE, features.IMAGE_SIZE, features.CHANNELS)


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns what the model sees of raw examples: for Transform, without any analyzer.

    Args:
        inputs: `image`, string, shape (n,) or (n, 1), 3,072 bytes each, and `label`, int64.

    Returns:
        `standardized_image`, float32, shape (n, 24, 24, 3), and `label`, int64, shape (n,).
    """
    return transform(inputs, prepare)


def prepare(images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns what the model sees of images of shape (n, 32, 32, 3), without distortion."""
    return {STANDARDIZED_IMAGE: standardize(central_crop(images))}


def transform(
    inputs: dict[str, tf.Tensor], prepare: Callable[[tf.Tensor], dict[str, tf.Tensor]]
) -> dict[str, tf.Tensor]:
    """Returns the features that `prepare` makes of decoded images, and the label."""
    label = tf.reshape(inputs[features.LABEL], [-1])
    return {**prepare(decode(inputs[features.IMAGE])), features.LABEL: label}


def decode(image_bytes: tf.Tensor) -> tf.Tensor:
    """Returns the images stored in raw bytes.

    Args:
        image_bytes: string, shape (n,) or (n, 1), 3,072 bytes each: height, width, RGB.

    Returns:
        uint8, shape (n, 32, 32, 3).

    Raises:
        tf.errors.InvalidArgumentError: When run on bytes of another length.
    """
    image_bytes = tf.reshape(image_bytes, [-1])
    has_right_length = tf.debugging.assert_equal(
        tf.strings.length(image_bytes),
        features.IMAGE_BYTES,
        f"An image has {features.IMAGE_BYTES:,} raw bytes: 32 lines of 32 pixels, RGB.",
    )
    with tf.control_dependencies([has_right_length]):
        # A fixed length lets an empty batch through; the check above keeps it from padding.
        pixels = tf.io.decode_raw(image_bytes, tf.uint8, fixed_length=features.IMAGE_BYTES)
    return tf.reshape(pixels, (-1, *IMAGE_SHAPE))


def encode(images: tf.Tensor) -> tf.Tensor:
    """Returns the raw bytes of images: the inverse of `decode`.

    TensorFlow has no operation for this, but a serialized tensor ends with its content.

    Args:
        images: uint8, shape (n, 32, 32, 3).

    Returns:
        string, shape (n,), 3,072 bytes each.
    """
    images = tf.ensure_shape(images, (None, *IMAGE_SHAPE))
    serialized = tf.io.serialize_tensor(images)
    count = tf.shape(images)[0]
    header_bytes = tf.strings.length(serialized) - count * features.IMAGE_BYTES
    starts = header_bytes + tf.range(count) * features.IMAGE_BYTES
    return tf.strings.substr(serialized, starts, tf.fill([count], features.IMAGE_BYTES))


def central_crop(images: tf.Tensor) -> tf.Tensor:
    """Returns the middle 24×24 pixels of images of shape (n, 32, 32, 3)."""
    end = _MARGIN + CROP_SIZE
    return images[:, _MARGIN:end, _MARGIN:end, :]


def standardize(images: tf.Tensor) -> tf.Tensor:
    """Returns each image with mean 0 and standard deviation 1 over all its values.

    The deviation counts as at least 1/√(number of values), so that a plain image stays 0.

    Args:
        images: uint8 or float32 of 0 to 255, shape (n, height, width, 3).

    Returns:
        float32 of the same shape.
    """
    return tf.image.per_image_standardization(tf.cast(images, tf.float32))
