"""The model card: what the model is for, what it was made of, what it cannot do.

The headings are those of Mitchell et al., Model Cards for Model Reporting, 2019.
"""

from contract import estimator
from contract.training_record import TrainingRecord
from report.facts import OTHER, DataFacts, Facts, Metrics

OFFICIAL_TRAIN_IMAGES = 50_000  # of CIFAR-10, and of CIFAR-100
CIFAR = "CIFAR-10"  # what the name of both begins with


def model_card(facts: Facts) -> dict[str, list[str]]:
    """Returns the sentences of each heading, with the numbers of this run."""
    card = {
        "Model details": [*_network_sentences(facts), *_training_sentences(facts)],
        "Intended use": _use_sentences(facts),
        "Data": _data_sentences(facts),
        "Metrics": _metrics_sentences(facts),
        "Limits": [
            "The model assigns one of its classes to every image. It cannot answer “none of "
            "these”.",
            *_data_limits(facts),
        ],
    }
    return {heading: sentences for heading, sentences in card.items() if sentences}


def _use_sentences(facts: Facts) -> list[str]:
    """Returns the intended use of our own Estimator; that of another is unknown here."""
    if facts.settings.trainer_module != estimator.DEFAULT:
        return []
    return [
        "A reference for teams that train, check and serve a classifier with TFX and "
        "TensorFlow Serving; also for teaching and for comparing changes to the pipeline.",
        "Not suitable for decisions about people, for safety, or for arbitrary photographs.",
    ]


def _network_sentences(facts: Facts) -> list[str]:
    """Returns what the exported graph tells of the network."""
    if not facts.model:
        return []
    layers = [layer.kind for layer in facts.model.layers if layer.parameters]
    counts = {kind: layers.count(kind) for kind in dict.fromkeys(layers) if kind != OTHER}
    words = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items())
    sentences = [f"{facts.model.parameters:,} weights{' in ' * bool(words)}{words}."]
    if crop := facts.model.crop:
        where = "the middle" if crop.is_middle else "a part of"
        sentences.append(f"It sees {where} {crop.seen} pixels of {crop.whole}.")
    if facts.model.is_averaged:
        sentences.append("The weights are moving averages of the trained weights.")
    return sentences


def _training_sentences(facts: Facts) -> list[str]:
    """Returns how the model was trained, as far as its record says."""
    settings = facts.settings
    record = facts.training.record if facts.training else TrainingRecord()
    of_module = ""
    if settings.trainer_module != estimator.DEFAULT:
        of_module = f" of {settings.trainer_module}"
    version = record.start_version
    start = f"the weights of version {version}" if version else "scratch"
    parts = [f"Trained from {start} with preset {settings.preset}{of_module}"]
    if steps := record.steps or settings.train_steps:
        images = f" of {record.batch_size:,} images" if record.batch_size else ""
        parts.append(f"{steps:,} steps{images}")
    if optimizer := settings.optimizer or record.optimizer:
        parts.append(f"optimizer {optimizer}")
    if settings.learning_rate is not None:
        rate = settings.learning_rate * (settings.warm_start_learning_rate if version else 1)
        parts.append(f"learning rate {rate:g} at the start")
    if record.found:
        parts.append(f"found by a search: {', '.join(record.found)}")
    return ["; ".join(parts) + "."]


def is_sample(data: DataFacts | None) -> bool:
    """Returns whether the data are a part of CIFAR-10 or CIFAR-100."""
    return (
        data is not None
        and data.name.startswith(CIFAR)
        and sum(data.counts["train"]) < OFFICIAL_TRAIN_IMAGES
    )


def _data_limits(facts: Facts) -> list[str]:
    """Returns what the model cannot do because of its data."""
    if not facts.data:
        return []
    size = facts.data.image_size
    limits = [
        f"Larger photographs are reduced to {size}×{size} pixels, so small or off-centre "
        "objects are lost."
    ]
    if facts.data.name.startswith(CIFAR):
        limits.append(
            f"{facts.data.name} was collected from the web in 2009. Other cameras, crops, "
            "styles or shares of the classes lower the accuracy."
        )
    if facts.data.name == CIFAR:
        limits.append(
            "About 3% of the eval images have near-duplicates in train (Barz and Denzler, Do "
            "we train on test data?, 2020), so the accuracy is slightly too high."
        )
    return limits


def _data_sentences(facts: Facts) -> list[str]:
    """Returns what it was trained and evaluated on."""
    if not facts.data:
        return []
    sizes = {split: sum(counts) for split, counts in facts.data.counts.items()}
    sentences = [
        f"Trained on {sizes['train']:,} images of {facts.data.name} and evaluated on "
        f"{sizes['eval']:,} others, which did not select anything: there is no early stopping "
        "and no best checkpoint.",
    ]
    if facts.data.name.startswith(CIFAR):
        sentences.append(
            "Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, "
            "2009."
        )
    if facts.data.skipped:
        skipped = sum(facts.data.skipped.values())
        sentences.append(f"{skipped:,} pictures could not be read and were skipped.")
    if is_sample(facts.data):
        sentences.append(
            f"{facts.data.name} has {OFFICIAL_TRAIN_IMAGES:,} train images. This sample is "
            "enough to try the pipeline, but too small for a good model."
        )
    return sentences


def _metrics_sentences(facts: Facts) -> list[str]:
    """Returns how good it is, where it is worst, and how far its confidence can be trusted."""
    metrics = facts.evaluation
    if not metrics:
        return []
    worst, accuracy = min(metrics.class_accuracy.items(), key=lambda item: item[1])
    sentences = [
        f"Accuracy {metrics.accuracy:.1%} on {metrics.eval_examples:,} images"
        f"{_top_k_words(metrics)}.",
        f"The worst class is {worst}, with {accuracy:.1%}.",
    ]
    if facts.predictions:
        error = facts.predictions.calibration.expected_error
        sentences.append(
            f"Its confidence is off by {error:.1%} on average (expected calibration error)."
        )
    return sentences


def _top_k_words(metrics: Metrics) -> str:
    """Returns the top-k accuracies that were measured, in words."""
    if metrics.top_5_accuracy is not None:
        return f"; the right class is among the first five for {metrics.top_5_accuracy:.1%}"
    if metrics.top_3_accuracy is not None:
        return f"; the right class is among the first three for {metrics.top_3_accuracy:.1%}"
    return ""
