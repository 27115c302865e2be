"""Reads everything that the page shows of a run from its artifacts."""

import base64
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contract import data_record, eval_predictions, features, image_set, serving_report
from contract.image_set import ImageSet
from report import data, evaluation, model, pictures, predictions, settings, training
from report.facts import ExampleRequest, Facts

EXAMPLE = 0  # the index in eval of the image that the page's example request sends


@dataclasses.dataclass(frozen=True)
class Sources:
    """The folders of a run's artifacts; empty for stages that did not run.

    Attributes:
        config: The fields of PipelineConfig.
        schema: The schema of the examples.
        model: The candidate's SavedModel.
        serving_check: The results of ServingCheck.
        baseline_version: The pushed version that the candidate was compared with, if any.
        pushed_version: The version of the candidate, if it was pushed.
        pushed_path: The folder of that version.
    """

    config: Mapping[str, Any]
    examples: str = ""
    schema: str = ""
    anomalies: str = ""
    model: str = ""
    model_run: str = ""
    evaluation: str = ""
    serving_check: str = ""
    baseline_version: str | None = None
    pushed_version: str | None = None
    pushed_path: str | None = None

    @functools.cached_property
    def settings(self) -> settings.Settings:
        """Returns the settings that a report uses."""
        return settings.read(self.config)


def collect_facts(sources: Sources) -> Facts:
    """Returns the facts; a section is None where its artifacts are missing."""
    facts = Facts(
        sources.config,
        pushed_version=sources.pushed_version,
        pushed_path=sources.pushed_path,
    )
    images = image_set.read(sources.schema) if sources.schema else None
    if sources.examples and images:
        facts = _with_examples(facts, sources, images)
    if sources.model_run:
        curves = training.training_facts(sources.model_run)
        facts = dataclasses.replace(facts, training=curves)
    if sources.evaluation and images:
        facts = _with_evaluation(facts, sources, images.class_names)
    if sources.serving_check:
        found = serving_report.read(sources.serving_check)
        facts = dataclasses.replace(facts, serving_check=found)
    return facts


def _with_examples(facts: Facts, sources: Sources, images: ImageSet) -> Facts:
    """Returns the facts with those of the data and the model's predictions."""
    names = (features.TRAIN_SPLIT, features.EVAL_SPLIT)
    summaries = {
        name: data.summarize(data.read_batches(sources.examples, name, images), images)
        for name in names
    }
    record = data_record.read(sources.examples)
    of_data = data.data_facts(summaries, images, record, sources.anomalies)
    facts = dataclasses.replace(facts, data=of_data)
    if sources.model:
        facts = dataclasses.replace(facts, model=model.model_facts(sources.model))
    if not (sources.evaluation and eval_predictions.exist(sources.evaluation)):
        return facts
    eval_batches = functools.partial(
        data.read_batches, sources.examples, features.EVAL_SPLIT, images
    )
    found = predictions.read(sources.evaluation, eval_batches())
    pictured = data.pick_images(eval_batches(), found.pictured() | {EXAMPLE})
    return dataclasses.replace(
        facts,
        predictions=predictions.prediction_facts(found, pictured, images.class_names),
        request=example_request(found, pictured[EXAMPLE], images.class_names),
    )


def _with_evaluation(facts: Facts, sources: Sources, class_names: Sequence[str]) -> Facts:
    """Returns the facts with the Evaluator's results."""
    return dataclasses.replace(
        facts,
        evaluation=evaluation.read_metrics(sources.evaluation, class_names),
        baseline=evaluation.read_metrics(sources.evaluation, class_names, evaluation.BASELINE),
        gate=evaluation.read_gate(
            sources.evaluation,
            class_names,
            sources.settings.min_accuracy,
            sources.settings.max_accuracy_drop,
            sources.baseline_version,
        ),
    )


def example_request(
    found: predictions.Predictions, image: np.ndarray, class_names: Sequence[str]
) -> ExampleRequest:
    """Returns an image of eval, and what the model answers."""
    return ExampleRequest(
        key=found.keys[EXAMPLE],
        png=base64.b64encode(pictures.png_bytes(image)).decode(),
        label=class_names[found.labels[EXAMPLE]],
        answer=class_names[found.predicted[EXAMPLE]],
        probability=float(found.confidence[EXAMPLE]),
    )
