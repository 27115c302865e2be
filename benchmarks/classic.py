"""The classic way to train the same network, as a baseline for our training speed.

Queue runners and sixteen threads fill a shuffle buffer of 40% of the data, separate operations
distort each image, `tf.nn.lrn` normalizes, and MonitoredTrainingSession trains. It shares no
code with `trainer_module`, so the two speeds are independent.

`python -m benchmarks.classic DATA_DIR OUTPUT_DIR RESULT_FILE STEPS` trains for STEPS steps and
writes the measurements as JSON.
"""

import json
import sys
import time
from pathlib import Path

import tensorflow as tf
from tensorflow.compat import v1

from data_sources.cifar_format import CIFAR10, TRAIN_FILES

CROP_SIZE = 24
BATCH_SIZE = 128
THREADS = 16
LEARNING_RATE = 0.1
EPOCHS_PER_DECAY = 350
EMA_DECAY = 0.9999
WEIGHT_DECAY = 0.004
CONV_STDDEV = 1e-4  # as in the tutorial's first version; later ones have 5e-2
LOG_EVERY_STEPS = 10
SUMMARY_EVERY_STEPS = 100
WARMUP_STEPS = 30


def train(data_dir: Path, output_dir: Path, steps: int) -> dict[str, float]:
    """Returns the examples per second of all steps after the warm-up, and the last loss."""
    files = [str(data_dir / name) for name in TRAIN_FILES]
    count = sum(Path(file).stat().st_size for file in files) // CIFAR10.record_bytes
    with tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        with tf.device("/cpu:0"):
            images, labels = distorted_inputs(files, count)
        loss = total_loss(inference(images), labels)
        train_op = one_step(loss, step, count)
        clock = Clock(loss)
        with v1.train.MonitoredTrainingSession(
            checkpoint_dir=str(output_dir),
            hooks=[
                v1.train.StopAtStepHook(last_step=steps),
                v1.train.NanTensorHook(loss),
                clock,
            ],
            save_summaries_steps=SUMMARY_EVERY_STEPS,
            log_step_count_steps=LOG_EVERY_STEPS,
        ) as session:
            while not session.should_stop():
                session.run(train_op)
    return {"examples_per_second": clock.examples_per_second, "loss": clock.loss}


class Clock(v1.train.SessionRunHook):
    """Measures the steps after the warm-up, and logs as the classic session does."""

    def __init__(self, loss: tf.Tensor) -> None:
        self.loss = 0.0
        self._loss_tensor = loss
        self._ends: list[float] = []

    @property
    def examples_per_second(self) -> float:
        """Returns the mean speed, including summaries and checkpoints."""
        ends = self._ends[WARMUP_STEPS:]
        return BATCH_SIZE * (len(ends) - 1) / (ends[-1] - ends[0])

    def before_run(self, run_context: v1.train.SessionRunContext) -> v1.train.SessionRunArgs:
        """Requests the loss."""
        return v1.train.SessionRunArgs(self._loss_tensor)

    def after_run(
        self, run_context: v1.train.SessionRunContext, run_values: v1.train.SessionRunValues
    ) -> None:
        """Records the time, and logs every ten steps."""
        self._ends.append(time.perf_counter())
        self.loss = float(run_values.results)
        if len(self._ends) % LOG_EVERY_STEPS == 0:
            print(f"step {len(self._ends)}, loss = {self.loss:.2f}", file=sys.stderr)


def distorted_inputs(files: list[str], count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a shuffled batch of distorted, standardized images, and its labels."""
    queue = v1.train.string_input_producer(files)
    _, record = v1.FixedLengthRecordReader(CIFAR10.record_bytes).read(queue)
    values = tf.io.decode_raw(record, tf.uint8)
    label = tf.cast(values[0], tf.int32)
    planes = tf.reshape(values[1:], [3, CIFAR10.image_size, CIFAR10.image_size])
    image = tf.cast(tf.transpose(planes, [1, 2, 0]), tf.float32)
    image = tf.image.random_crop(image, [CROP_SIZE, CROP_SIZE, 3])
    image = tf.image.random_flip_left_right(image)
    image = tf.image.random_brightness(image, max_delta=63)
    image = tf.image.random_contrast(image, lower=0.2, upper=1.8)
    image = tf.image.per_image_standardization(image)
    in_queue = int(count * 0.4)
    images, labels = v1.train.shuffle_batch(
        [image, label],
        batch_size=BATCH_SIZE,
        num_threads=THREADS,
        capacity=in_queue + 3 * BATCH_SIZE,
        min_after_dequeue=in_queue,
    )
    v1.summary.image("images", images)
    return images, labels


def inference(images: tf.Tensor) -> tf.Tensor:
    """Returns the logits."""
    conv1 = convolution("conv1", images, 0.0)
    pool1 = tf.nn.max_pool2d(conv1, 3, 2, "SAME")
    norm1 = tf.nn.lrn(pool1, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)
    conv2 = convolution("conv2", norm1, 0.1)
    norm2 = tf.nn.lrn(conv2, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)
    pool2 = tf.nn.max_pool2d(norm2, 3, 2, "SAME")
    flat = tf.reshape(pool2, [BATCH_SIZE, -1])
    local3 = summarize(tf.nn.relu(dense("local3", flat, 384, 0.04, 0.1)))
    local4 = summarize(tf.nn.relu(dense("local4", local3, 192, 0.04, 0.1)))
    return summarize(dense("softmax_linear", local4, 10, 1 / 192.0, 0.0))


def convolution(name: str, x: tf.Tensor, bias: float) -> tf.Tensor:
    """Returns relu(5×5 convolution to 64 channels + bias)."""
    with v1.variable_scope(name):
        kernel = variable("weights", [5, 5, int(x.shape[-1]), 64], CONV_STDDEV)
        biases = v1.get_variable("biases", [64], initializer=v1.constant_initializer(bias))
        products = tf.nn.conv2d(x, kernel, [1, 1, 1, 1], padding="SAME")
        return summarize(tf.nn.relu(tf.nn.bias_add(products, biases)))


def dense(name: str, x: tf.Tensor, units: int, stddev: float, bias: float) -> tf.Tensor:
    """Returns x · weights + biases."""
    with v1.variable_scope(name):
        kernel = variable("weights", [int(x.shape[-1]), units], stddev)
        biases = v1.get_variable("biases", [units], initializer=v1.constant_initializer(bias))
        return tf.matmul(x, kernel) + biases


def variable(name: str, shape: list[int], stddev: float) -> tf.Variable:
    """Returns a variable drawn from a truncated normal distribution."""
    initializer = v1.truncated_normal_initializer(stddev=stddev)
    return v1.get_variable(name, shape, initializer=initializer)


def summarize(activation: tf.Tensor) -> tf.Tensor:
    """Adds the histogram and the sparsity of an activation to the summaries; returns it."""
    v1.summary.histogram(f"{activation.op.name}/activations", activation)
    v1.summary.scalar(f"{activation.op.name}/sparsity", tf.nn.zero_fraction(activation))
    return activation


def total_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the mean cross-entropy plus the decay of the two dense kernels."""
    losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)]
    losses[0] = tf.reduce_mean(losses[0], name="cross_entropy")
    for kernel in v1.trainable_variables():
        if kernel.op.name in ("local3/weights", "local4/weights"):
            losses.append(WEIGHT_DECAY * tf.nn.l2_loss(kernel))
    return tf.add_n(losses, name="total_loss")


def one_step(loss: tf.Tensor, step: tf.Variable, count: int) -> tf.Operation:
    """Returns the op that updates weights and averages."""
    decay_steps = int(count / BATCH_SIZE * EPOCHS_PER_DECAY)
    rate = v1.train.exponential_decay(LEARNING_RATE, step, decay_steps, 0.1, staircase=True)
    v1.summary.scalar("learning_rate", rate)
    losses = tf.train.ExponentialMovingAverage(0.9, name="avg")
    average_loss = losses.apply([loss])
    v1.summary.scalar("loss", losses.average(loss))
    with tf.control_dependencies([average_loss]):
        optimizer = v1.train.GradientDescentOptimizer(rate)
        gradients = optimizer.compute_gradients(loss)
    update = optimizer.apply_gradients(gradients, global_step=step)
    for gradient, weights in gradients:
        v1.summary.histogram(weights.op.name, weights)
        v1.summary.histogram(f"{weights.op.name}/gradients", gradient)
    with tf.control_dependencies([update]):
        return tf.train.ExponentialMovingAverage(EMA_DECAY, step).apply(
            v1.trainable_variables()
        )


if __name__ == "__main__":
    data, output, result, number = sys.argv[1:]
    measured = train(Path(data), Path(output), int(number))
    Path(result).write_text(json.dumps(measured))
