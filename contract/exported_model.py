"""Checks the output of a training inside the Trainer step, for the stages that read it.

* The SavedModel has four signatures (`contract/signatures.py`). Those for Predict return
  `probabilities`, float32, (n, classes), `class_ids`, int64, (n,), and `classes`, string, (n,);
  `classify` returns `scores` and `classes`, both (n, classes).
* The model run contains the training record (`contract/training_record.py`), and the
  Estimator's own predictions for some eval examples: `keys` and `probabilities`, (n, classes).
* For these examples, their pixels and their files, the SavedModel answers like the Estimator.
"""

import dataclasses
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from contract import example_files, features, signatures, training_record
from contract.estimator import ContractError
from contract.files import PREDICTIONS_FILE, TRAINING_FILE

MAX_DIFFERENCE = 1e-5  # of a probability

_PREDICTS = "tensorflow/serving/predict"
_CLASSIFIES = "tensorflow/serving/classify"

Kind = tuple[tf.DType, tuple[int | None, ...]]


@dataclasses.dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        trainer_module: The dotted path of the Estimator.
        model_dir: The SavedModel.
        model_run_dir: The record and the predictions.
        eval_files: The TFRecord files of eval.
        num_classes: The number of classes in the data.
        image_shape: Height, width and channels of the images.
    """

    trainer_module: str
    model_dir: str
    model_run_dir: str
    eval_files: Sequence[str]
    num_classes: int
    image_shape: tuple[int, int, int]


def check(training: Training) -> None:
    """Raises ContractError with every way in which a training's output breaks the contract."""
    violations = [*_of_record(training)]
    found = [*_of_signatures(training)]
    kept, unread = _read_predictions(training)
    violations += [*found, *unread]
    if kept and not found:  # a model without the signatures has no answers to compare
        violations += _of_answers(training, *kept)
    if violations:
        what = f"The model that {training.trainer_module} exported to {training.model_dir}"
        raise ContractError(what, violations)


def _of_record(training: Training) -> Iterator[str]:
    record = training_record.read(training.model_run_dir)
    if record.steps < 1 or record.train_examples < 1:
        yield (
            f"{TRAINING_FILE} in {training.model_run_dir} records {record.steps} steps on "
            f"{record.train_examples} examples: run_fn must write it with "
            "contract.training_record.write"
        )


def _of_signatures(training: Training) -> Iterator[str]:
    """Yields the faults of the signatures, without running them."""
    path = posixpath.join(training.model_dir, "saved_model.pb")
    if not tf.io.gfile.exists(path):
        yield f"{path} does not exist: run_fn must export to fn_args.serving_model_dir"
        return
    with tf.io.gfile.GFile(path, "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    found = saved_model.meta_graphs[0].signature_def
    for name, (method, inputs, outputs) in _expected(training).items():
        if name not in found:
            others = ", ".join(sorted(n for n in found if not n.startswith("__")))
            yield f"the signature {name} is missing; there are {others or 'none'}"
            continue
        if found[name].method_name != method:
            yield f"the signature {name} is for {found[name].method_name}, not for {method}"
        yield from _of_tensors(f"{name}: input", found[name].inputs, inputs)
        yield from _of_tensors(f"{name}: output", found[name].outputs, outputs)
        for extra in sorted(found[name].inputs.keys() - inputs.keys()):
            yield f"{name}: input {extra} is superfluous; no client sends it"


def _expected(
    training: Training,
) -> dict[str, tuple[str, dict[str, Kind], dict[str, Kind]]]:
    """Returns method, inputs and outputs of each signature; None stands for n."""
    answers: dict[str, Kind] = {
        "probabilities": (tf.float32, (None, training.num_classes)),
        "class_ids": (tf.int64, (None,)),
        "classes": (tf.string, (None,)),
    }
    scores: dict[str, Kind] = {
        "scores": (tf.float32, (None, training.num_classes)),
        "classes": (tf.string, (None, training.num_classes)),
    }
    texts: Kind = (tf.string, (None,))
    pixels: Kind = (tf.uint8, (None, *training.image_shape))
    return {
        signatures.PIXELS: (_PREDICTS, {"images": pixels}, answers),
        signatures.IMAGE_FILES: (_PREDICTS, {"image_bytes": texts}, answers),
        signatures.EXAMPLES: (_PREDICTS, {"examples": texts}, answers),
        signatures.CLASSIFY: (_CLASSIFIES, {"inputs": texts}, scores),
    }


def _of_tensors(
    what: str, found: Mapping[str, meta_graph_pb2.TensorInfo], expected: Mapping[str, Kind]
) -> Iterator[str]:
    for name, (dtype, shape) in expected.items():
        if name not in found:
            there = ", ".join(sorted(found)) or "none"
            yield f"{what} {name} is missing; there are {there}"
            continue
        found_dtype = tf.as_dtype(found[name].dtype)
        found_shape = tf.TensorShape(found[name].tensor_shape)
        if found_dtype != dtype or not found_shape.is_compatible_with(shape):
            yield (
                f"{what} {name} is {_in_words(found_dtype, found_shape)}, not "
                f"{_in_words(dtype, tf.TensorShape(shape))}"
            )


def _in_words(dtype: tf.DType, shape: tf.TensorShape) -> str:
    if shape.rank is None:
        return f"{dtype.name} of any shape"
    return f"{dtype.name} [{', '.join('n' if size is None else str(size) for size in shape)}]"


def _read_predictions(
    training: Training,
) -> tuple[tuple[list[bytes], np.ndarray] | None, list[str]]:
    """Returns the examples with the Estimator's probabilities, and the faults."""
    path = posixpath.join(training.model_run_dir, PREDICTIONS_FILE)
    hint = "run_fn must write `keys` and `probabilities` of some eval examples there"
    try:
        with tf.io.gfile.GFile(path, "rb") as file, np.load(file) as arrays:
            keys, probabilities = arrays["keys"].tolist(), arrays["probabilities"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        return None, [f"{path} cannot be read ({str(error).splitlines()[0]}): {hint}"]
    shape = (len(keys), training.num_classes)
    if not keys or probabilities.shape != shape:
        return None, [
            f"{path} has {len(keys)} keys with probabilities of shape {probabilities.shape}, "
            f"not {shape}: {hint}"
        ]
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):  # NaN is not close either
        return None, [f"{path}: the probabilities of an example do not add up to 1"]
    examples = _examples_of(keys, training.eval_files)
    if missing := [key for key in keys if key not in examples]:
        return None, [f"{path} names {missing[0]!r}, which is not an eval example: {hint}"]
    return ([examples[key] for key in keys], probabilities), []


def _examples_of(keys: Sequence[bytes], files: Sequence[str]) -> dict[bytes, bytes]:
    """Returns the serialized examples of those keys that are in the files."""
    wanted, found = set(keys), dict[bytes, bytes]()
    for serialized in example_files.read(files).as_numpy_iterator():
        (key,) = example_files.keys_of([serialized])
        if key in wanted:
            found[key] = serialized
        if len(found) == len(wanted):
            break
    return found


def _of_answers(
    training: Training, examples: Sequence[bytes], expected: np.ndarray
) -> Iterator[str]:
    """Yields the differences between the answers of the SavedModel and of the Estimator."""
    raw = [
        tf.train.Example.FromString(one).features.feature[features.IMAGE].bytes_list.value[0]
        for one in examples
    ]
    images = np.frombuffer(b"".join(raw), np.uint8).reshape(-1, *training.image_shape)
    requests = {
        signatures.EXAMPLES: {"examples": tf.constant(list(examples))},
        signatures.PIXELS: {"images": tf.constant(images)},
        signatures.IMAGE_FILES: {"image_bytes": tf.stack([*map(tf.io.encode_png, images)])},
        signatures.CLASSIFY: {"inputs": tf.constant(list(examples))},
    }
    try:
        loaded = tf.saved_model.load(training.model_dir, tags=["serve"])
    except Exception as error:
        yield f"the SavedModel cannot be loaded: {_first_line(error)}"
        return
    for name, request in requests.items():
        try:
            answers = {k: v.numpy() for k, v in loaded.signatures[name](**request).items()}
        except Exception as error:
            yield f"{name} fails on an eval example: {_first_line(error)}"
            continue
        yield from _of_one_answer(name, answers, expected)


def _of_one_answer(
    name: str, answers: Mapping[str, Any], expected: np.ndarray
) -> Iterator[str]:
    is_classify = name == signatures.CLASSIFY
    probabilities = answers["scores" if is_classify else "probabilities"]
    if probabilities.shape != expected.shape:
        yield f"{name} answers with shape {probabilities.shape}, not {expected.shape}"
        return
    difference = float(np.abs(probabilities - expected).max())
    if not difference <= MAX_DIFFERENCE:
        yield (
            f"{name} answers with probabilities that differ by up to {difference:.3g} from the "
            f"Estimator's; at most {MAX_DIFFERENCE:g} is allowed"
        )
    if not is_classify and (answers["class_ids"] != probabilities.argmax(axis=1)).any():
        yield f"{name}: class_ids are not the classes of the highest probabilities"


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]
