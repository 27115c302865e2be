"""Everything the page shows of a run, read from its artifacts: numbers, words, pictures."""

import base64
import dataclasses
import json
from typing import Any

import numpy as np
import tensorflow as tf

from contract import features
from contract.files import SERVING_CHECK_FILE
from report import data, evaluation, model, pictures, predictions, training
from report.page import NO_FACTS


@dataclasses.dataclass(frozen=True)
class Sources:
    """The folders of a run's artifacts; empty where the run did not come that far.

    Attributes:
        config: The fields of PipelineConfig.
        model: The candidate's SavedModel.
        serving_check: What ServingCheck found.
        baseline_version: The pushed version compared with, if there was one.
        pushed_version: The version the candidate became, if it was pushed.
        pushed_path: The folder of that version.
    """

    config: dict[str, Any]
    examples: str = ""
    anomalies: str = ""
    model: str = ""
    model_run: str = ""
    evaluation: str = ""
    serving_check: str = ""
    baseline_version: str | None = None
    pushed_version: str | None = None
    pushed_path: str | None = None


def collect_facts(sources: Sources) -> dict[str, Any]:
    """Returns the facts, ready for JSON; a section is None where its artifacts are missing."""
    facts: dict[str, Any] = NO_FACTS | {
        "config": sources.config,
        "pushed_version": sources.pushed_version,
        "pushed_path": sources.pushed_path,
    }
    if sources.examples:
        names = (features.TRAIN_SPLIT, features.EVAL_SPLIT)
        splits = {name: data.read_split(sources.examples, name) for name in names}
        facts["data"] = data.data_facts(splits, sources.anomalies)
    if sources.model_run:
        batch_size = sources.config["batch_size"]
        facts["training"] = training.training_facts(sources.model_run, batch_size)
    if sources.model:
        split = splits[features.EVAL_SPLIT]
        probabilities = predictions.predict(sources.model, split.images)
        facts["model"] = model.model_facts(sources.model)
        facts["predictions"] = predictions.prediction_facts(split, probabilities)
        facts["request"] = example_request(split, probabilities)
    if sources.evaluation:
        facts["evaluation"] = evaluation.read_metrics(sources.evaluation)
        facts["baseline"] = evaluation.read_metrics(sources.evaluation, evaluation.BASELINE)
        facts["gate"] = evaluation.read_gate(
            sources.evaluation,
            sources.config["min_accuracy"],
            sources.config["max_accuracy_drop"],
            sources.baseline_version,
        )
    if sources.serving_check:
        with tf.io.gfile.GFile(f"{sources.serving_check}/{SERVING_CHECK_FILE}") as file:
            facts["serving_check"] = json.loads(file.read())
    return facts


def example_request(split: data.Split, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns the first image of eval as a PNG in base 64, and what the model answers."""
    return {
        "key": split.keys[0],
        "png": base64.b64encode(pictures.png_bytes(split.images[0])).decode(),
        "label": features.CLASS_NAMES[split.labels[0]],
        "answer": features.CLASS_NAMES[probabilities[0].argmax()],
        "probability": float(probabilities[0].max()),
    }
