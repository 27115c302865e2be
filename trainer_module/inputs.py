"""Converts examples to batches: reading, shuffling and the distortions of training.

Every random draw depends only on the seed and the step. A killed run resumes with exactly the
batches it would have seen, and the same seed always trains the same way.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf
import tensorflow_transform as tft

from contract import example_files, features
from trainer_module import preprocessing
from trainer_module.hyper_parameters import HyperParameters
from trainer_module.loop import Loop

EVAL_BATCH_SIZE = 500
_READ_BATCH_SIZE = 1_000
_FILES_AT_A_TIME = 16  # that a buffer mixes
_BLOCK_LENGTH = 16  # examples of a file, one after another
_READ_SPEC = {
    features.IMAGE: tf.io.FixedLenFeature([], tf.string),
    features.LABEL: tf.io.FixedLenFeature([], tf.int64),
}

Batch = tuple[dict[str, tf.Tensor], tf.Tensor]
MakeFeatures = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]


def train_dataset(
    files: Sequence[str],
    num_examples: int,
    image_size: int,
    loop: Loop,
    start_step: int,
    make_features: MakeFeatures,
) -> tf.data.Dataset:
    """Returns endless batches, starting with that of `start_step`.

    If the images fit into `data_memory_gib`, they stay in memory and each epoch is a new
    permutation of all. Otherwise each epoch streams the files in a new order, through a shuffle
    buffer of that size.

    Args:
        files: TFRecord files of tf.Examples.
        num_examples: The number of examples in the files.
        image_size: Height and width of each image.
        loop: Batch size, seed and memory.
        start_step: The number of steps trained before.
        make_features: Returns what the network sees of images, uint8, (n, height, width, 3),
            given a seed, int64, (2,), which differs for each step.

    Returns:
        Batches: features by name, and labels, int64, (n,).
    """
    image_bytes = image_size * image_size * features.CHANNELS
    memory_bytes = int(loop.data_memory_gib * (1 << 30))
    if num_examples * image_bytes > memory_bytes:
        # One buffer is read while another is used, and a third is being filled.
        buffer_size = max(loop.batch_size, memory_bytes // 3 // image_bytes)
        return streamed_dataset(
            files, num_examples, image_size, loop, start_step, make_features, buffer_size
        )
    batches = batches_of_rows(num_examples, loop.batch_size, loop.seed, start_step)

    def make_batch(
        images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor, rows: tf.Tensor
    ) -> Batch:
        seed = tf.stack([tf.constant(loop.seed, tf.int64), step])
        return make_features(tf.gather(images, rows), seed), tf.gather(labels, rows)

    def batches_of(images: tf.Tensor, labels: tf.Tensor) -> tf.data.Dataset:
        return batches.map(
            lambda step, rows: make_batch(images, labels, step, rows),
            num_parallel_calls=2,
            deterministic=True,
        ).prefetch(4)

    examples = _read_all(files, num_examples, image_size)
    return example_files.without_autotune(examples.flat_map(batches_of))


def streamed_dataset(
    files: Sequence[str],
    num_examples: int,
    image_size: int,
    loop: Loop,
    start_step: int,
    make_features: MakeFeatures,
    buffer_size: int,
) -> tf.data.Dataset:
    """Returns what `train_dataset` does, with so many examples in memory at a time.

    The order of an epoch follows from the seed and its number: the files are permuted and read
    side by side, and each buffer is a permutation.
    """
    first_epoch, skipped = divmod(start_step * loop.batch_size, num_examples)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        seed = tf.stack([tf.constant(loop.seed, tf.int64), number])

        def shuffled(index: tf.Tensor, buffer: tf.Tensor) -> tf.Tensor:
            own_seed = tf.random.experimental.stateless_fold_in(seed, index)
            return tf.random.experimental.stateless_shuffle(buffer, own_seed)

        names = tf.random.experimental.stateless_shuffle(tf.constant(list(files)), seed)
        examples = tf.data.Dataset.from_tensor_slices(names).interleave(
            lambda name: example_files.read_one(name, files[0]),
            cycle_length=min(len(files), _FILES_AT_A_TIME),
            block_length=_BLOCK_LENGTH,
            num_parallel_calls=1,
            deterministic=True,
        )
        buffers = examples.batch(buffer_size).enumerate().map(shuffled).prefetch(1)
        return buffers.flat_map(tf.data.Dataset.from_tensor_slices)

    def make_batch(step: tf.Tensor, serialized: tf.Tensor) -> Batch:
        images, labels = _decode(serialized, image_size)
        seed = tf.stack([tf.constant(loop.seed, tf.int64), step])
        return make_features(images, seed), labels

    batches = (
        tf.data.Dataset.range(first_epoch, tf.int64.max)
        .flat_map(epoch)
        .skip(skipped)
        .batch(loop.batch_size, drop_remainder=True)
        .enumerate(start_step)
        .map(make_batch, num_parallel_calls=2, deterministic=True)
        .prefetch(4)
    )
    return example_files.without_autotune(batches)


def parts_of_process(
    batches: tf.data.Dataset, context: tf.distribute.InputContext | None
) -> tf.data.Dataset:
    """Returns the parts of each batch that this process's replicas train on.

    Every process makes the whole batches, which costs almost nothing, so that several processes
    train exactly like one.

    Raises:
        ValueError: The batch size is not a multiple of the number of replicas.
    """
    if context is None or context.num_replicas_in_sync == 1:
        return batches
    replicas = context.num_replicas_in_sync
    batch_size = int(batches.element_spec[1].shape[0])
    if batch_size % replicas:
        raise ValueError(
            f"batch_size must be a multiple of the {replicas} replicas, got {batch_size}."
        )
    own = replicas // context.num_input_pipelines
    first = own * context.input_pipeline_id

    def own_parts(*batch: tf.Tensor) -> tf.data.Dataset:
        def split(values: tf.Tensor) -> tf.Tensor:
            parts = tf.reshape(values, [replicas, batch_size // replicas, *values.shape[1:]])
            return parts[first : first + own]

        return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(split, batch))

    return batches.flat_map(own_parts)


def batches_of_rows(
    num_examples: int, batch_size: int, seed: int, start_step: int
) -> tf.data.Dataset:
    """Returns endless (step, rows) pairs: the examples of each batch.

    Batches are consecutive parts of the concatenated epochs. Each epoch is a permutation drawn
    from the seed and the epoch's number.
    """
    first_epoch, skipped = divmod(start_step * batch_size, num_examples)

    def permutation(epoch: tf.Tensor) -> tf.data.Dataset:
        rows = tf.range(num_examples, dtype=tf.int64)
        rows = tf.random.experimental.stateless_shuffle(rows, seed=tf.stack([seed, epoch]))
        return tf.data.Dataset.from_tensor_slices(rows)

    rows = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(permutation)
    rows = rows.skip(skipped).batch(batch_size, drop_remainder=True)
    return rows.enumerate(start_step)


def augment(
    images: tf.Tensor, seed: tf.Tensor, hyper_parameters: HyperParameters
) -> dict[str, tf.Tensor]:
    """Returns what the network sees of images in training: each randomly distorted."""
    distorted = distort(images, seed, hyper_parameters)
    return {preprocessing.STANDARDIZED_IMAGE: preprocessing.standardize(distorted)}


def distort(images: tf.Tensor, seed: tf.Tensor, hyper_parameters: HyperParameters) -> tf.Tensor:
    """Returns each image with random crop, flip, brightness and contrast.

    The order is the classic one, and every image has its own draws. A whole batch is distorted
    at once: crop and flip are one gather of pixels, brightness and contrast one expression.

    Args:
        images: uint8, shape (n, height, width, 3).
        seed: int64, shape (2,): equal seeds distort equally.
        hyper_parameters: The distortions, and their strength.

    Returns:
        float32, shape (n, crop, crop, 3); not clipped, so values may be outside 0 to 255.
    """
    count = tf.shape(images)[0]
    crop_seed, flip_seed, brightness_seed, contrast_seed = tf.unstack(
        tf.random.experimental.stateless_split(seed, 4)
    )
    size = preprocessing.crop_size(int(images.shape[1]))
    first, end = corner_range(int(images.shape[1]), size, hyper_parameters.crop_shift)
    corners = tf.random.stateless_uniform([2, count], crop_seed, first, end, tf.int32)
    flips = tf.zeros([count], tf.bool)
    if hyper_parameters.random_flip:
        flips = tf.random.stateless_uniform([count], flip_seed) < 0.5
    cropped = tf.cast(crop_and_flip(images, size, corners[0], corners[1], flips), tf.float32)

    factor_shape = [count, 1, 1, 1]
    delta = hyper_parameters.max_brightness_delta
    deltas = tf.random.stateless_uniform(factor_shape, brightness_seed, -delta, delta)
    factors = tf.random.stateless_uniform(
        factor_shape,
        contrast_seed,
        hyper_parameters.min_contrast,
        hyper_parameters.max_contrast,
    )
    return adjust_brightness_and_contrast(cropped, deltas, factors)


def corner_range(image_size: int, size: int, shift: float) -> tuple[int, int]:
    """Returns the first line where a crop may start, and the one after the last.

    Args:
        image_size: Height and width of the image.
        size: Height and width of the crop.
        shift: How far from the centre: 0 only there, 1 up to the border.
    """
    freedom = round(shift * (image_size - size))  # how many lines a crop may move in all
    first = (image_size - size) // 2 - freedom // 2
    return first, first + freedom + 1


def crop_and_flip(
    images: tf.Tensor, size: int, tops: tf.Tensor, lefts: tf.Tensor, flips: tf.Tensor
) -> tf.Tensor:
    """Returns a window of each image, mirrored left to right where `flips` is true.

    Args:
        images: shape (n, height, width, 3).
        size: Height and width of the windows.
        tops: int32, shape (n,): first row of each window.
        lefts: int32, shape (n,): first column of each window.
        flips: bool, shape (n,).

    Returns:
        The dtype of `images`, shape (n, size, size, 3).
    """
    height, width = int(images.shape[1]), int(images.shape[2])
    steps = tf.range(size)
    lines = tops[:, None] + steps
    columns = lefts[:, None] + tf.where(flips[:, None], steps[::-1], steps)
    image_starts = tf.range(tf.shape(images)[0]) * height * width
    pixels = image_starts[:, None, None] + lines[:, :, None] * width + columns[:, None, :]
    return tf.gather(tf.reshape(images, [-1, features.CHANNELS]), pixels)


def adjust_brightness_and_contrast(
    images: tf.Tensor, deltas: tf.Tensor, factors: tf.Tensor
) -> tf.Tensor:
    """Returns images with `deltas` added, then each channel stretched about its mean.

    Args:
        images: float32, shape (n, height, width, 3).
        deltas: float32, shape (n, 1, 1, 1), in pixel values.
        factors: float32, shape (n, 1, 1, 1); 1 keeps the contrast.
    """
    means = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    return images * factors + (means * (1.0 - factors) + deltas)


def eval_input_fn(
    files: Sequence[str], transform_output: tft.TFTransformOutput
) -> Callable[[], Batch]:
    """Returns an input_fn: one pass over the files, in order, through the transform graph."""
    return lambda: _transform(example_files.read(files), transform_output)


def predict_input_fn(
    examples: Sequence[bytes], transform_output: tft.TFTransformOutput
) -> Callable[[], Batch]:
    """Returns an input_fn: one pass over serialized examples, through the transform graph."""
    return lambda: _transform(
        tf.data.Dataset.from_tensor_slices(list(examples)), transform_output
    )


def _transform(serialized: tf.data.Dataset, transform_output: tft.TFTransformOutput) -> Batch:
    spec = transform_output.raw_feature_spec()
    raw = serialized.batch(EVAL_BATCH_SIZE).map(lambda batch: tf.io.parse_example(batch, spec))
    # Transform's graph belongs in the Estimator's graph, not in one of tf.data.
    iterator = tf.compat.v1.data.make_one_shot_iterator(raw.prefetch(2))
    transformed = transform_output.transform_raw_features(iterator.get_next())
    labels = transformed.pop(features.LABEL)
    return transformed, labels


def _read_all(files: Sequence[str], num_examples: int, image_size: int) -> tf.data.Dataset:
    """Returns one element: all images, uint8 (n, height, width, 3), and labels, int64 (n,)."""
    batches = example_files.read(files).batch(_READ_BATCH_SIZE)
    decoded = batches.map(lambda serialized: _decode(serialized, image_size))
    return decoded.unbatch().batch(num_examples, drop_remainder=True)


def _decode(serialized: tf.Tensor, image_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the images, uint8 (n, height, width, 3), and the labels, int64 (n,)."""
    raw = tf.io.parse_example(serialized, _READ_SPEC)
    return preprocessing.decode(raw[features.IMAGE], image_size), raw[features.LABEL]
