"""The five functions of `import cifar_pipeline`. Heavy modules wait until one needs them."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract import estimator
from pipeline_def.config import apply_settings, find_preset
from report import runs
from report.run_record import RunRecord

if TYPE_CHECKING:
    import pandas

    from serving.client import Prediction

DEFAULT_OUTPUT = "output"


def run(
    preset: str = "",
    *,
    data: str = "auto",
    trainer_module: str = estimator.DEFAULT,
    output: str | os.PathLike[str] = DEFAULT_OUTPUT,
    verbose: bool = False,
    **settings: Any,
) -> RunRecord:
    """Runs the pipeline, as `cifar run` does, and returns the record of the run.

    Args:
        preset: The settings to start from; an empty string means `quick`.
        data: `auto`, `sample`, a folder or an archive.
        trainer_module: The dotted path of the Estimator.
        output: The output folder.
        verbose: Whether to show every log line, including those of TensorFlow and TFX.
        settings: Changes to the preset by field, such as `train_steps=100`.

    Returns:
        The record in `run.json`. Its `status` is `pushed`, or `not_blessed` if a gate refused
        the model; its `accuracy` is a fraction of the eval images.

    Raises:
        ValueError: There is no such preset or field, a value is out of range, or the data is
            malformed.
        FileNotFoundError: The data does not exist.
        OSError: The output folder cannot be written, or another run is writing to it.
        Exception: Whatever a stage raises.
    """
    from contract import imports
    from pipeline_def import local_runner

    start = find_preset(preset, trainer_module)
    config = dataclasses.replace(start, data=data, output_dir=os.fspath(output))
    config = apply_settings(config, [f"{name}={value}" for name, value in settings.items()])
    if verbose:
        return local_runner.run(config, verbose)
    imports.silence()  # a notebook shows warnings that a run in a terminal sends to its log
    return local_runner.run(config)


def list_runs(output: str | os.PathLike[str] = DEFAULT_OUTPUT) -> list[RunRecord]:
    """Returns the record of every run in an output folder, oldest first."""
    return runs.read_runs(Path(output))


def load_run(
    name: str = runs.LATEST, output: str | os.PathLike[str] = DEFAULT_OUTPUT
) -> RunRecord:
    """Returns the record of one run.

    Args:
        name: `latest`, the start of a run's id, a version it pushed, or the path of a folder
            with a `run.json` in it.
        output: The output folder.

    Raises:
        FileNotFoundError: There is no such run.
        ValueError: Several runs match.
    """
    return runs.find_run(Path(output), name)


def predict(
    images: Sequence[str | os.PathLike[str] | bytes], run: RunRecord | None = None
) -> "list[Prediction]":
    """Returns the predictions of a run's model for images, without a server.

    Args:
        images: Paths, or the contents of files: PNG, JPEG, BMP or GIF of any size.
        run: The run whose model to use; by default the newest that pushed one to `output`.

    Returns:
        For each image its `class_name`, `class_id`, and `probabilities` in label order.

    Raises:
        FileNotFoundError: An image does not exist, or no pushed model does.
        ValueError: The model cannot read a file; the message names it.
    """
    from contract import imports

    imports.silence()
    import tensorflow as tf

    from contract import signatures
    from serving.client import BYTES_INPUT, Prediction

    contents = tf.constant([_content(image) for image in images])
    signature = tf.saved_model.load(_pushed_model(run)).signatures[signatures.IMAGE_FILES]
    answer = signature(**{BYTES_INPUT: contents})
    return [
        Prediction(int(class_id), class_name.decode(), tuple(probabilities.tolist()))
        for class_id, class_name, probabilities in zip(
            answer["class_ids"].numpy(),
            answer["classes"].numpy(),
            answer["probabilities"].numpy(),
            strict=True,
        )
    ]


def compare(*compared: RunRecord) -> "pandas.DataFrame":
    """Returns a table of runs: a column for each, rows for numbers and differing settings.

    Args:
        compared: The records of at least two runs.

    Raises:
        ValueError: There are fewer than two.
    """
    import pandas

    from report import comparison

    if len(compared) < 2:
        raise ValueError(f"compare needs at least two runs, got {len(compared)}.")
    numbers = {
        ("numbers", metric.name): [metric.value(one) for one in compared]
        for metric in comparison.measured(*compared)
    }
    settings = {
        ("settings", name): values for name, *values in comparison.compare_settings(*compared)
    }
    classes = {
        ("accuracy on class", name): [one.class_accuracy.get(name) for one in compared]
        for name in dict.fromkeys(name for one in compared for name in one.class_accuracy)
    }
    rows = numbers | settings | classes
    index = pandas.MultiIndex.from_tuples(rows)
    names = [one.run_id for one in compared]
    return pandas.DataFrame(list(rows.values()), index=index, columns=names, dtype=object)


def _content(image: str | os.PathLike[str] | bytes) -> bytes:
    from serving import predict as serving_predict

    if isinstance(image, bytes):
        name, content = "an image given as bytes", image
    else:
        name, content = os.fspath(image), Path(image).read_bytes()
    prepared = serving_predict.prepare(name, content)
    if isinstance(prepared, serving_predict.Answer):
        raise ValueError(f"{name}: {prepared.error}")
    return prepared


def _pushed_model(run: RunRecord | None) -> str:
    from serving.model_registry import holds_model

    candidates = [run] if run else reversed(list_runs())
    for candidate in candidates:
        if candidate.pushed_path and holds_model(Path(candidate.pushed_path)):
            return candidate.pushed_path
    whose = f"The run {run.run_id}" if run else f"No run in {DEFAULT_OUTPUT}"
    raise FileNotFoundError(
        f"{whose} has pushed a model that still exists. `cifar_pipeline.run()` pushes one."
    )
