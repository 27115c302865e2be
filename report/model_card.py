"""The model card: what the model is for, what it was made of, what it cannot do.

The headings are those of Mitchell et al., Model Cards for Model Reporting, 2019.
"""

from report.facts import Facts

OFFICIAL_TRAIN_IMAGES = 50_000


def model_card(facts: Facts) -> dict[str, list[str]]:
    """Returns the sentences of each heading, with the numbers of this run."""
    settings = facts.settings
    card = {
        "Model details": [
            "A convolutional network for images of 32×32 pixels: two convolutions of 64 "
            "filters, two dense layers of 384 and 192 units, ten classes. It sees the middle "
            "24×24 pixels, standardized image by image inside the exported graph.",
            f"Trained from scratch with preset {settings.preset}: {settings.train_steps:,} "
            f"steps of {settings.batch_size} images, {settings.optimizer} from a learning "
            f"rate of {settings.learning_rate:g}. Served are the moving averages of its "
            "weights.",
        ],
        "Intended use": [
            "A reference for teams that build, gate and serve a classifier with TFX and "
            "TensorFlow Serving; teaching; comparing changes to the pipeline.",
            "Not meant for decisions about people, for safety, or for photographs in general.",
        ],
        "Data": _data_sentences(facts),
        "Metrics": _metrics_sentences(facts),
        "Limits": [
            "Every image is given one of ten classes, also an image of something else: there "
            "is no answer “none of these”.",
            "Larger photographs are shrunk to 32×32 pixels first; small or off-centre objects "
            "are lost.",
            "CIFAR-10 was collected from the web in 2009 and says nothing about how classes "
            "are spread elsewhere; other cameras, crops or styles lower the accuracy.",
            "About 3% of the eval images have near-duplicates in train (Barz and Denzler, Do "
            "we train on test data?, 2020), so that the accuracy is a little flattering.",
        ],
    }
    return {heading: sentences for heading, sentences in card.items() if sentences}


def _data_sentences(facts: Facts) -> list[str]:
    """Returns what it was trained on and judged by."""
    if not facts.data:
        return []
    sizes = {split: sum(counts) for split, counts in facts.data.counts.items()}
    sentences = [
        f"Trained on {sizes['train']:,} images of CIFAR-10, judged by {sizes['eval']:,} others "
        "which selected nothing: no early stopping, no best checkpoint.",
        "Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.",
    ]
    if sizes["train"] < OFFICIAL_TRAIN_IMAGES:
        sentences.append(
            f"That is a part of CIFAR-10's {OFFICIAL_TRAIN_IMAGES:,} train images: enough to "
            "try the pipeline, too few for a good model."
        )
    return sentences


def _metrics_sentences(facts: Facts) -> list[str]:
    """Returns how good it is, where it is worst, and how far its confidence can be trusted."""
    metrics = facts.evaluation
    if not metrics:
        return []
    worst, accuracy = min(metrics.class_accuracy.items(), key=lambda item: item[1])
    sentences = [
        f"Accuracy {metrics.accuracy:.1%} on {metrics.eval_examples:,} images; the right "
        f"class is among the first three for {metrics.top_3_accuracy:.1%}.",
        f"Worst on {worst}: {accuracy:.1%}.",
    ]
    if facts.predictions:
        error = facts.predictions.calibration.expected_error
        sentences.append(
            f"Its confidence is off by {error:.1%} on average (expected calibration error)."
        )
    return sentences
