"""The parts of `cifar bench training`, each run as a separate process.

`python -m benchmarks.training_parts PART RESULT_FILE ARGUMENT…` runs one part and writes its
measurements as JSON.
"""

import dataclasses
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from contract import events, features, image_set, imports
from data_sources.cifar_format import CIFAR10, EVAL_FILES, TRAIN_FILES
from trainer_module.hyper_parameters import PRESETS, QUICK, REFERENCE, HyperParameters

with imports.fast():
    import tensorflow as tf
    from tensorflow.compat import v1
    from tfx.components.trainer.fn_args_utils import FnArgs

    from contract import example_files
    from trainer_module import compute_dtype, inputs
    from trainer_module.loop import Loop

TRANSFORM_DIR = "transform"
SCHEMA_DIR = "schema"
BATCH_SIZE = REFERENCE.batch_size
STEPS = 1_100  # the first hundred are the warm-up
INPUT_BATCHES = 1_000
PRODUCT_ROUNDS = 12
GEMM_SIZE = 2_048

# Each product of a training step: input shape, kernel shape, and how often it is computed: for
# the output, the gradient of the weights and, except in the first layer, that of the input.
CONVOLUTIONS = {
    "conv1": ((BATCH_SIZE, 24, 24, 3), (5, 5, 3, 64), 2),
    "conv2": ((BATCH_SIZE, 12, 12, 64), (5, 5, 64, 64), 3),
}
DENSE = {"local3": (6 * 6 * 64, 384), "local4": (384, 192), "softmax_linear": (192, 10)}


def prepare(data_dir: str, folder: str) -> dict[str, Any]:
    """Writes examples as CifarExampleGen does, and the transform graph as Transform does."""
    from tensorflow_transform import impl_helper
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    from components.example_gen import plan_shards, write_shard
    from trainer_module import preprocessing

    splits = {features.TRAIN_SPLIT: TRAIN_FILES, features.EVAL_SPLIT: EVAL_FILES}
    counts = {}
    for split, names in splits.items():
        Path(folder, split).mkdir(parents=True)
        shards = plan_shards(data_dir, names, f"{folder}/{split}", CIFAR10)
        counts[split] = sum(write_shard(shard, folder) for shard in shards)
    spec = {
        features.IMAGE: tf.io.FixedLenFeature([], tf.string),
        features.LABEL: tf.io.FixedLenFeature([], tf.int64),
    }
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    metadata_io.write_metadata(metadata, f"{folder}/{TRANSFORM_DIR}/metadata")
    types = {name: tf.TensorSpec([None], feature.dtype) for name, feature in spec.items()}
    graph_dir = f"{folder}/{TRANSFORM_DIR}"
    traced = functools.partial(
        preprocessing.preprocessing_fn, custom_config={"image_size": CIFAR10.image_size}
    )
    impl_helper.analyze_in_place(traced, True, spec, types, graph_dir)
    schema_dir = f"{folder}/{SCHEMA_DIR}"
    Path(schema_dir).mkdir()
    image_set.write(schema_dir, CIFAR10.image_set)
    return counts


def learn(folder: str, output_dir: str, preset: str, seed: str, steps: str) -> dict[str, Any]:
    """Trains a preset through run_fn; returns its curve: step, seconds and accuracy on eval.

    Args:
        folder: What `prepare` wrote.
        output_dir: Of the training.
        preset: Its name.
        seed: A whole number.
        steps: How many; 0 for as many as the preset has.
    """
    from trainer_module import run

    hyper_parameters = dataclasses.replace(PRESETS[preset], seed=int(seed))
    if int(steps):
        hyper_parameters = dataclasses.replace(hyper_parameters, train_steps=int(steps))
    curve: list[tuple[int, float, float]] = []
    begin = time.perf_counter()

    def note(evaluated: events.Evaluated) -> None:
        curve.append((evaluated.step, time.perf_counter() - begin, evaluated.accuracy))

    with events.sent_to(note, events.Evaluated):
        run.run_fn(fn_args_of(folder, output_dir, hyper_parameters))
    return {"curve": curve}


def fn_args_of(folder: str, output_dir: str, hyper_parameters: HyperParameters) -> FnArgs:
    """Returns what Trainer would hand to run_fn."""
    return FnArgs(
        train_files=[f"{folder}/{features.TRAIN_SPLIT}/*"],
        eval_files=[f"{folder}/{features.EVAL_SPLIT}/*"],
        transform_graph_path=f"{folder}/{TRANSFORM_DIR}",
        schema_path=f"{folder}/{SCHEMA_DIR}/{image_set.SCHEMA_FILE}",
        serving_model_dir=f"{output_dir}/model/Format-Serving",
        model_run_dir=f"{output_dir}/model_run",
        custom_config={
            "hyper_parameters": dataclasses.asdict(hyper_parameters),
            "checkpoint_dir": f"{output_dir}/checkpoints",
        },
    )


def ours(folder: str, output_dir: str, dtype: Literal["float32", "bfloat16"]) -> dict[str, Any]:
    """Trains through run_fn; returns the mean speed after the warm-up.

    The mean covers 1,000 steps with log lines, summaries and checkpoints, after as many images
    as in preset `quick`.
    """
    from contract import training_record
    from trainer_module import run

    batches = QUICK.batch_size // REFERENCE.batch_size
    hyper_parameters = dataclasses.replace(
        REFERENCE,
        train_steps=STEPS,
        compute_dtype=dtype,
        log_every_steps=QUICK.log_every_steps * batches,
        summary_every_steps=QUICK.summary_every_steps * batches,
        checkpoint_every_steps=QUICK.checkpoint_every_steps * batches,
        eval_every_steps=STEPS,
    )
    times: list[tuple[int, float]] = []  # of each event: the step, and when it was done
    fn_args = fn_args_of(folder, output_dir, hyper_parameters)
    with events.sent_to(lambda event: times.append((event.done, time.perf_counter()))):
        run.run_fn(fn_args)
    (first, begin), *_, (last, end) = times
    record = training_record.read(fn_args.model_run_dir)
    return {
        "examples_per_second": BATCH_SIZE * (last - first) / (end - begin),
        "median_step_examples_per_second": record.examples_per_second,
        "loss": record.loss,
    }


def input_alone(folder: str) -> dict[str, Any]:
    """Returns the speed of the input pipeline alone."""
    files = example_files.find([f"{folder}/{features.TRAIN_SPLIT}/*"])
    count = example_files.count(files)

    def augment(images: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return inputs.augment(images, seed, REFERENCE)

    size = CIFAR10.image_size
    batches = iter(inputs.train_dataset(files, count, size, Loop.of(REFERENCE), 0, augment))
    for _ in range(20):
        next(batches)
    begin = time.perf_counter()
    for _ in range(INPUT_BATCHES):
        next(batches)
    return {"examples_per_second": BATCH_SIZE * INPUT_BATCHES / (time.perf_counter() - begin)}


def limit() -> dict[str, Any]:
    """Returns the training speed if a step consisted of its products only, and `fastest`.

    That is the dtype in which the Trainer computes on this machine.
    """
    limits = {dtype: limit_of(tf.as_dtype(dtype)) for dtype in ("float32", "bfloat16")}
    return {**limits, "fastest": compute_dtype.fastest()}


def limit_of(dtype: tf.DType) -> dict[str, float]:
    """Returns the products' rates in GFLOP/s, and the limit in examples per second."""
    convolution_seconds = convolution_operations = 0.0
    for images, kernel, count in CONVOLUTIONS.values():
        outputs = (*images[:3], kernel[3])
        operations = 2.0 * np.prod(outputs) * np.prod(kernel[:3])
        for product in (forward, kernel_gradient, input_gradient)[:count]:
            convolution_seconds += seconds_of(product, (images, kernel, outputs), dtype)
            convolution_operations += operations
    dense_operations = 3 * sum(
        2.0 * BATCH_SIZE * rows * columns for rows, columns in DENSE.values()
    )
    square = (GEMM_SIZE, GEMM_SIZE)
    gemm_rate = 2.0 * GEMM_SIZE**3 / seconds_of(tf.matmul, (square, square), dtype)
    step_seconds = convolution_seconds + dense_operations / gemm_rate
    return {
        "convolution_gflops": convolution_operations / convolution_seconds / 1e9,
        "gemm_gflops": gemm_rate / 1e9,
        "examples_per_second": BATCH_SIZE / step_seconds,
    }


def forward(images: tf.Tensor, kernel: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Returns a layer's output."""
    return tf.nn.conv2d(images, kernel, 1, "SAME")


def kernel_gradient(images: tf.Tensor, kernel: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of a layer's weights."""
    return tf.raw_ops.Conv2DBackpropFilter(
        input=images,
        filter_sizes=kernel.shape,
        out_backprop=outputs,
        strides=[1, 1, 1, 1],
        padding="SAME",
    )


def input_gradient(images: tf.Tensor, kernel: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of a layer's input."""
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=images.shape,
        filter=kernel,
        out_backprop=outputs,
        strides=[1, 1, 1, 1],
        padding="SAME",
    )


def seconds_of(
    product: Callable[..., tf.Tensor], shapes: Sequence[Sequence[int]], dtype: tf.DType
) -> float:
    """Returns the median seconds of one product of random values in its own session."""
    with tf.Graph().as_default(), v1.Session() as session:
        operands = []
        for number, shape in enumerate(shapes):
            values = tf.cast(tf.random.normal(shape, seed=number), dtype)
            variable = v1.get_variable(f"operand{number}", initializer=values)
            operands.append(tf.identity(variable))
        result = tf.reshape(product(*operands), [-1])[:1]  # one value, to keep fetching cheap
        session.run(v1.global_variables_initializer())
        seconds = []
        for _ in range(3 + PRODUCT_ROUNDS):
            begin = time.perf_counter()
            session.run(result)
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[3:])


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": prepare,
    "ours": ours,
    "learn": learn,
    "input": input_alone,
    "limit": limit,
}

if __name__ == "__main__":
    part, result_file, *arguments = sys.argv[1:]
    Path(result_file).write_text(json.dumps(PARTS[part](*arguments)))
