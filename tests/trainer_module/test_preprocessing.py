import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from tests.trainer_module.conftest import serialize
from trainer_module import inputs, preprocessing, training


def random_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


def test_bytes_become_lines_columns_and_channels():
    image = np.zeros((32, 32, 3), np.uint8)
    image[5, 7, 2] = 255
    decoded = preprocessing.decode(tf.constant([image.tobytes()]), 32).numpy()
    assert decoded.shape == (1, 32, 32, 3)
    assert decoded[0, 5, 7, 2] == 255
    assert decoded.sum() == 255


def test_bytes_of_another_length_are_refused():
    for length in (3071, 3073):
        with pytest.raises(tf.errors.InvalidArgumentError, match="3,072 raw bytes"):
            preprocessing.decode(tf.constant([b"\0" * 3072, b"\0" * length]), 32)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_encoding_is_the_inverse_of_decoding(count):
    images = random_images(count)
    encoded = preprocessing.encode(tf.constant(images)).numpy()
    assert encoded.tolist() == [image.tobytes() for image in images]
    decoded = preprocessing.decode(tf.constant(encoded, tf.string), 32)
    np.testing.assert_array_equal(decoded, images)


def test_central_crop_leaves_four_pixels_on_each_side():
    images = random_images(1)
    cropped = preprocessing.central_crop(tf.constant(images)).numpy()
    assert cropped.shape == (1, 24, 24, 3)
    np.testing.assert_array_equal(cropped[0, 0, 0], images[0, 4, 4])
    np.testing.assert_array_equal(cropped[0, 23, 23], images[0, 27, 27])


def test_each_image_is_standardized_by_itself():
    images = random_images(3)
    images[1] //= 4  # a dark one
    standardized = preprocessing.standardize(tf.constant(images)).numpy()
    for image, result in zip(images.astype(np.float64), standardized, strict=True):
        np.testing.assert_allclose(result, (image - image.mean()) / image.std(), atol=1e-5)


def test_a_plain_image_becomes_zero():
    plain = tf.fill([1, 24, 24, 3], tf.constant(77, tf.uint8))
    np.testing.assert_array_equal(preprocessing.standardize(plain), np.zeros((1, 24, 24, 3)))


def test_training_and_serving_see_the_same_pixels(transform_dir):
    images = random_images(8)
    examples = [serialize(image, 3, f"x:{i}") for i, image in enumerate(images)]
    transform_output = tft.TFTransformOutput(str(transform_dir))
    training.check_no_skew(transform_output, 32, examples, preprocessing.prepare)

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        batch, labels = inputs.predict_input_fn(examples, transform_output)()
        served, served_labels = session.run([batch[preprocessing.STANDARDIZED_IMAGE], labels])
    crops = images[:, 4:28, 4:28].astype(np.float64)
    means, deviations = crops.mean((1, 2, 3)), crops.std((1, 2, 3))
    by_hand = (crops - means[:, None, None, None]) / deviations[:, None, None, None]
    np.testing.assert_allclose(served, by_hand, atol=1e-5)
    assert served_labels.tolist() == [3] * 8
