"""What the default limits let pass and what not: CIFAR-10's own images, and black cats."""

import dataclasses
import hashlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFilter

from components import data_gate, image_facts, statistics_gen
from components.data_gate import DataLimits
from contract import records
from contract.data_facts import EDGES, IMAGE_FACTS, DataFacts
from data_sources.cifar_format import CIFAR10, EVAL_FILES, TRAIN_FILES
from data_sources.dataset import SAMPLE_DIR
from pipeline_def.config import PipelineConfig

LIMITS = records.from_fields(DataLimits, dataclasses.asdict(PipelineConfig()))
CAT = 3

Split = tuple[np.ndarray, np.ndarray]  # images, uint8 (n, 1024, 3), and labels


def read(names: tuple[str, ...]) -> Split:
    batches = [np.fromfile(SAMPLE_DIR / name, np.uint8).reshape(-1, 3073) for name in names]
    rows = np.concatenate(batches)
    return rows[:, 1:].reshape(-1, 3, 1024).transpose(0, 2, 1), rows[:, 0].astype(np.int64)


@pytest.fixture(scope="module")
def train() -> Split:
    return read(TRAIN_FILES)


@pytest.fixture(scope="module")
def evaluation() -> Split:
    return read(EVAL_FILES)


@pytest.fixture
def facts_of(tmp_path):
    """Returns what collects the facts of images and labels, by way of TFRecords."""

    def collect(**splits: Split) -> DataFacts:
        files = {}
        for name, (images, labels) in splits.items():
            files[name] = [str(tmp_path / f"{name}-{part}") for part in range(2)]
            for part, path in enumerate(files[name]):
                with tf.io.TFRecordWriter(path) as writer:
                    for image, label in zip(images[part::2], labels[part::2], strict=True):
                        writer.write(as_example(image.tobytes(), int(label)))
        return dataclasses.replace(
            statistics_gen.collect(files), class_names=CIFAR10.class_names
        )

    return collect


def faults(facts: DataFacts, reference: DataFacts | None = None, limits=LIMITS) -> list[str]:
    return [*data_gate.examine(facts, limits, reference).faults]


def as_example(image: bytes, label: int) -> bytes:
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def join(*splits: Split) -> Split:
    images, labels = zip(*splits, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def black_cats(count: int) -> Split:
    return np.zeros((count, 1024, 3), np.uint8), np.full(count, CAT)


def test_facts_are_those_of_the_pixels(facts_of, train, evaluation):
    facts = facts_of(train=train, eval=evaluation)
    images, labels = train
    found = facts.splits["train"]
    assert found.examples == 1000
    assert found.labels == np.bincount(labels).tolist()
    pixels = images.astype(np.float64)
    sharpness = [laplacian(image.mean(1).reshape(32, 32)).std() for image in pixels]
    facts_of_pixels = (pixels.mean((1, 2)), pixels.std((1, 2)), sharpness, *pixels.mean(1).T)
    for name, expected in zip(IMAGE_FACTS, facts_of_pixels, strict=True):
        counts = np.histogram(expected, EDGES)[0]
        assert np.abs(np.subtract(found.histograms[name], counts)).sum() <= 2  # float32
    assert (found.constant, found.duplicates, facts.leaked) == (0, 0, 0)


def laplacian(grey: np.ndarray) -> np.ndarray:
    """The sum of the differences to the four neighbours; there are none beyond the border."""
    total = np.zeros_like(grey)
    down, right = np.diff(grey, axis=0), np.diff(grey, axis=1)
    total[:-1] += down
    total[1:] -= down
    total[:, :-1] += right
    total[:, 1:] -= right
    return total


def test_one_bright_pixel_has_the_sharpness_worked_out_by_hand():
    pixels = np.zeros((1, 5 * 5, 3), np.float32)
    pixels[0, 2 * 5 + 2] = 60  # the middle: -240 there, 60 at each of its four neighbours
    expected = np.sqrt((240**2 + 4 * 60**2) / 25)
    assert image_facts.sharpness(pixels) == pytest.approx([expected])


def test_values_above_the_last_bin_are_counted_in_it():
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)  # its Laplacian: ±1020
    counter = image_facts.Counter()
    counter.add([np.repeat(board[..., None], 3, 2).tobytes()], np.array([0]))
    assert counter.facts().histograms["sharpness"] == [0] * 15 + [1]


def test_copies_within_and_across_splits_and_plain_images_are_counted(facts_of, train):
    images, labels = train
    doubled = join((images[:10], labels[:10]), (images[:3], labels[:3]), black_cats(2))
    facts = facts_of(train=doubled, eval=(images[8:12], labels[8:12]))
    assert facts.splits["train"].duplicates == 3 + 1  # and one of the black ones
    assert facts.splits["train"].constant == 2
    assert facts.leaked == 2
    digests = {hashlib.sha256(image.tobytes()).digest() for image in doubled[0]}
    assert len(doubled[0]) - len(digests) == facts.splits["train"].duplicates


def test_images_of_several_sizes_and_what_is_no_image_cost_nothing(tmp_path):
    path = str(tmp_path / "examples")
    with tf.io.TFRecordWriter(path) as writer:
        for image, label in ((b"abc" * 4, 0), (b"abc" * 9, 1), (b"", 2), (b"abc" * 2, 0)):
            writer.write(as_example(image, label))
        writer.write(tf.train.Example().SerializeToString())
    facts = statistics_gen.collect({"train": [path]})
    found = facts.splits["train"]
    assert (found.examples, found.labels, found.constant) == (5, [2, 1, 1], 2)


def test_the_sample_passes(facts_of, train, evaluation):
    facts = facts_of(train=train, eval=evaluation)
    assert faults(facts, reference=facts) == []


def test_black_pictures_labelled_cat_do_not_pass(facts_of, train, evaluation):
    good = facts_of(train=train, eval=evaluation)
    bad = facts_of(train=join(train, black_cats(1000)), eval=evaluation)
    text = "\n".join(faults(bad, reference=good))
    assert "1,000 of 2,000 images of train are of a single colour (50.00%; max_const" in text
    assert "999 of 2,000 images of train are copies of others" in text
    for against in (
        "skew: train against eval",
        "drift: train against train of the last pushed",
    ):
        assert f"{against}: label: the distance (L-infinity) is 0.450, at most 0.100" in text
        assert f"{against}: brightness: the distance (Jensen-Shannon divergence) is 0." in text
    assert "(max_label_distance); cat differs most, 55.0% against 10.0%" in text


def test_blurred_images_do_not_pass(facts_of, train, evaluation):
    images, labels = train
    blurred = [
        np.asarray(Image.fromarray(image.reshape(32, 32, 3)).filter(ImageFilter.BoxBlur(2)))
        for image in images
    ]
    facts = facts_of(train=(np.stack(blurred).reshape(-1, 1024, 3), labels), eval=evaluation)
    assert any("skew: train against eval: sharpness: " in line for line in faults(facts))


def test_the_record_has_both_distributions_and_tfdvs_distances(facts_of, train, evaluation):
    facts = facts_of(train=train, eval=join(evaluation, black_cats(200)))
    (skew,) = data_gate.examine(facts, LIMITS).comparisons
    assert (skew.kind, skew.current, skew.other) == ("skew", "train", "eval")
    assert (skew.current_images, skew.other_images) == (1000, 400)
    assert [one.feature for one in skew.distances] == ["label", *IMAGE_FACTS]
    label, brightness = skew.distances[:2]
    assert (list(label.names), label.edges) == (list(CIFAR10.class_names), ())
    assert (label.current[CAT], label.other[CAT]) == (0.1, 0.55)
    assert label.value == pytest.approx(0.45)
    assert (brightness.names, brightness.edges) == ((), EDGES)
    assert sum(brightness.current) == pytest.approx(1)
    assert brightness.other[0] >= 0.5
    p, q = np.array([brightness.current, brightness.other]) + 1e-12
    m = (p + q) / 2
    divergence = ((p * np.log2(p / m)).sum() + (q * np.log2(q / m)).sum()) / 2
    assert brightness.value == pytest.approx(divergence, abs=1e-3)


def test_a_reference_from_before_a_fact_was_counted_is_compared_without_it(
    facts_of, train, evaluation
):
    facts = facts_of(train=train)
    old = dataclasses.replace(
        facts.splits["train"],
        histograms={
            name: counts
            for name, counts in facts.splits["train"].histograms.items()
            if name != "sharpness"
        },
    )
    reference = dataclasses.replace(facts, splits={"train": old})
    (drift,) = data_gate.examine(facts, LIMITS, reference, "17").comparisons
    assert drift.other == "train of version 17"
    assert "sharpness" not in [one.feature for one in drift.distances]
    assert [one.value for one in drift.distances] == [0] * 6


def test_data_of_other_classes_are_not_compared(facts_of, train, evaluation):
    images, labels = train
    now = dataclasses.replace(facts_of(train=train), class_names=["a", "b"])
    shifted = facts_of(train=(images, np.zeros_like(labels)))
    assert faults(now, dataclasses.replace(shifted, class_names=["a", "b"]))
    other = dataclasses.replace(shifted, class_names=["a", "c"])
    assert faults(now, other) == []


def test_a_few_black_pictures_among_many_do_not_pass_either(facts_of, train, evaluation):
    bad = facts_of(train=join(train, black_cats(20)), eval=evaluation)
    text = "\n".join(faults(bad))
    assert "20 of 1,020 images of train are of a single colour" in text
    assert "copies of others" in text


def test_eval_images_among_those_trained_on_do_not_pass(facts_of, train, evaluation):
    images, labels = evaluation
    facts = facts_of(train=join(train, (images[:5], labels[:5])), eval=evaluation)
    (found,) = faults(facts)
    assert found == (
        "5 of 200 images of eval are in train, too (2.50%; max_leaked_images is 0.10%)"
    )


def test_data_that_shrink_do_not_pass(facts_of, train, evaluation):
    before = facts_of(train=train, eval=evaluation)
    facts = facts_of(train=(train[0][:400], train[1][:400]), eval=evaluation)
    found = faults(facts, before)
    assert found[0] == (
        "train has 400 images, the last pushed model's had 1,000 "
        "(60.00% fewer; max_shrinkage is 50.00%)"
    )


def test_limits_of_1_allow_anything(facts_of, train, evaluation):
    good = facts_of(train=train, eval=evaluation)
    bad = facts_of(train=black_cats(200), eval=black_cats(200))
    assert faults(bad, good, DataLimits(1, 1, 1, 1, 1, 1)) == []
