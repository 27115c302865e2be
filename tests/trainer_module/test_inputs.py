import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from contract import example_files
from trainer_module import inputs, preprocessing
from trainer_module.hyper_parameters import REFERENCE
from trainer_module.loop import Loop

PLAIN = dataclasses.replace(
    REFERENCE,
    crop_shift=0.0,
    random_flip=False,
    max_brightness_delta=0.0,
    min_contrast=1.0,
    max_contrast=1.0,
)
SEED = tf.constant([1, 2], tf.int64)


def photo_like_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


def distort(images: np.ndarray, **settings: object) -> np.ndarray:
    config = dataclasses.replace(PLAIN, **settings)
    return inputs.distort(tf.constant(images), SEED, config).numpy()


def rows_of_batches(count: int, **settings: int) -> list[list[int]]:
    defaults = {"num_examples": 10, "batch_size": 4, "seed": 0, "start_step": 0}
    batches = inputs.batches_of_rows(**{**defaults, **settings})
    return [rows.numpy().tolist() for _, rows in itertools.islice(batches, count)]


def test_every_epoch_sees_every_example_once():
    rows = [row for batch in rows_of_batches(5) for row in batch]  # two epochs of ten
    assert sorted(rows[:10]) == list(range(10))
    assert sorted(rows[10:]) == list(range(10))
    assert rows[:10] != rows[10:]


def test_shuffling_mixes_all_the_data():
    (rows,) = rows_of_batches(1, num_examples=10_000, batch_size=10_000)
    # A buffer that slides over the file could not bring its end to the front.
    assert abs(np.mean(rows[:500]) - 5_000) < 500
    assert np.corrcoef(rows, np.arange(10_000))[0, 1] < 0.05


def test_same_seed_shuffles_the_same_way():
    assert rows_of_batches(3, seed=7) == rows_of_batches(3, seed=7)
    assert rows_of_batches(3, seed=7) != rows_of_batches(3, seed=8)


def test_resumed_run_goes_on_with_the_batches_it_would_have_seen():
    assert rows_of_batches(3, start_step=4) == rows_of_batches(7)[4:]


def train_batches(files, config, start_step):
    def make_features(images, seed):
        return inputs.augment(images, seed, config)

    return inputs.train_dataset(files, 100, 32, Loop.of(config), start_step, make_features)


STREAMED = {"data_memory_gib": 100 * 32 * 32 * 3 / 2**30 * 0.9}  # a little too small for all


def labels_and_values(batches) -> list[tuple[int, bytes]]:
    """Returns what tells an example from another: its label and what the network sees."""
    return [
        (int(label), image.tobytes())
        for batch, labels in batches
        for label, image in zip(
            labels, batch[preprocessing.STANDARDIZED_IMAGE].numpy(), strict=True
        )
    ]


def test_a_streamed_epoch_sees_every_example_once_in_another_order(examples_dir):
    files = example_files.find([str(examples_dir / "train" / "*")])
    plain = dataclasses.replace(PLAIN, batch_size=25)
    streamed = dataclasses.replace(plain, **STREAMED)
    in_memory = labels_and_values(train_batches(files, plain, 0).take(4))
    epochs = labels_and_values(train_batches(files, streamed, 0).take(8))
    assert len(epochs) == 200
    assert sorted(epochs[:100]) == sorted(epochs[100:]) == sorted(in_memory)
    assert epochs[:100] != epochs[100:]
    assert epochs[:100] != in_memory


def test_streamed_batches_are_the_same_after_a_resume(examples_dir):
    files = example_files.find([str(examples_dir / "train" / "*")])
    config = dataclasses.replace(REFERENCE, batch_size=30, **STREAMED)
    uninterrupted = labels_and_values(train_batches(files, config, 0).take(9))
    resumed = labels_and_values(train_batches(files, config, 7).take(2))
    assert resumed == uninterrupted[7 * 30 :]


def test_train_batches_are_the_same_after_a_resume(examples_dir):
    files = example_files.find([str(examples_dir / "train" / "*")])
    config = dataclasses.replace(REFERENCE, batch_size=30)
    uninterrupted = list(train_batches(files, config, 0).take(5))
    resumed = list(train_batches(files, config, 4).take(1))
    for expected, found in zip(uninterrupted[4:], resumed, strict=True):
        np.testing.assert_array_equal(
            expected[0][preprocessing.STANDARDIZED_IMAGE],
            found[0][preprocessing.STANDARDIZED_IMAGE],
        )
        np.testing.assert_array_equal(expected[1], found[1])


def test_images_keep_their_labels(examples_dir):
    files = example_files.find([str(examples_dir / "train" / "*")])
    config = dataclasses.replace(PLAIN, batch_size=100)
    ((batch, labels),) = train_batches(files, config, 0).take(1)
    # Each class has a colour of its own, so its strongest channel tells the class.
    images = batch[preprocessing.STANDARDIZED_IMAGE].numpy()
    reds = images[labels.numpy() == 0].mean(axis=(0, 1, 2))
    blues = images[labels.numpy() == 2].mean(axis=(0, 1, 2))
    assert reds.argmax() == 0
    assert blues.argmax() == 2


def test_training_without_distortion_is_the_evaluation_path():
    images = photo_like_images(4)
    np.testing.assert_array_equal(
        distort(images), preprocessing.central_crop(tf.constant(images, tf.float32))
    )


def test_crop_takes_the_window_it_was_told():
    images = photo_like_images(2)
    cropped = inputs.crop_and_flip(
        tf.constant(images),
        24,
        tf.constant([0, 8]),
        tf.constant([3, 8]),
        tf.constant([False, True]),
    ).numpy()
    np.testing.assert_array_equal(cropped[0], images[0, 0:24, 3:27])
    np.testing.assert_array_equal(cropped[1], images[1, 8:32, 8:32][:, ::-1])


def test_crops_and_flips_are_uniform_and_differ_within_a_batch():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = np.arange(32)[:, None]  # the line
    image[..., 1] = np.arange(32)  # the column
    crops = distort(np.repeat(image[None], 9_000, axis=0), crop_shift=1.0, random_flip=True)
    tops = crops[:, 0, 0, 0]
    lefts = crops[:, 0, :, 1].min(axis=1)
    flips = crops[:, 0, 0, 1] > crops[:, 0, 23, 1]
    for corners in (tops, lefts):
        counts = np.bincount(corners.astype(int), minlength=9)
        assert len(counts) == 9
        assert np.all(np.abs(counts - 1_000) < 5 * np.sqrt(1_000))
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / np.sqrt(9_000)
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.05


def test_crops_stay_near_the_centre_when_told():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = np.arange(32)[:, None]
    crops = distort(np.repeat(image[None], 1_000, axis=0), crop_shift=0.75)
    assert set(crops[:, 0, 0, 0]) == {1, 2, 3, 4, 5, 6, 7}  # the centre's is 4
    assert inputs.corner_range(32, 24, 1.0) == (0, 9)
    assert inputs.corner_range(33, 24, 0.0) == (4, 5)
    assert inputs.corner_range(33, 24, 1.0) == (0, 10)


def test_contrast_stretches_each_channel_about_its_mean():
    images = photo_like_images(2_000)
    crops = images[:, 4:28, 4:28].astype(np.float64)
    stretched = distort(images, min_contrast=0.2, max_contrast=1.8)
    means = crops.mean((1, 2), keepdims=True)
    factors = np.abs(stretched - means).max((1, 2, 3)) / np.abs(crops - means).max((1, 2, 3))
    by_hand = means + factors[:, None, None, None] * (crops - means)
    np.testing.assert_allclose(stretched, by_hand, atol=1e-3)
    assert 0.2 <= factors.min() < 0.21
    assert 1.79 < factors.max() < 1.8001
    assert abs(factors.mean() - 1.0) < 5 * 1.6 / np.sqrt(12 * 2_000)


def test_brightness_adds_one_value_to_each_image():
    images = photo_like_images(2_000)
    crops = images[:, 4:28, 4:28].astype(np.float64)
    added = (distort(images, max_brightness_delta=63.0) - crops).reshape(2_000, -1)
    np.testing.assert_allclose(added.std(axis=1), 0, atol=1e-4)
    assert -63 <= added.min() < -62
    assert 62 < added.max() < 63
    assert abs(added.mean()) < 5 * 126 / np.sqrt(12 * 2_000)


def test_distortions_are_those_of_tensorflow_in_the_classic_order():
    image = photo_like_images(1)[:, :24, :24].astype(np.float32)
    expected = tf.image.adjust_contrast(tf.image.adjust_brightness(image, 30.0), 1.7)
    found = inputs.adjust_brightness_and_contrast(
        tf.constant(image), tf.constant([[[[30.0]]]]), tf.constant([[[[1.7]]]])
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_standardization_cancels_brightness_but_not_contrast():
    images = photo_like_images(64)

    def standardized(**settings: object) -> np.ndarray:
        return preprocessing.standardize(distort(images, **settings)).numpy()

    plain = standardized()
    np.testing.assert_allclose(standardized(max_brightness_delta=63.0), plain, atol=2e-5)

    images = np.clip(images + np.array([60, 0, 0]), 0, 255).astype(np.uint8)  # reddish
    difference = standardized(min_contrast=0.2, max_contrast=1.8) - standardized()
    assert np.abs(difference).max() > 0.1
