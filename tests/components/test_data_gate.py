"""What the default limits let pass and what not: CIFAR-10's own images, and black cats."""

import dataclasses
import hashlib

import numpy as np
import pytest
import tensorflow as tf

from components import data_gate, statistics_gen
from components.data_gate import DataLimits
from contract import records
from contract.data_facts import BINS, IMAGE_FACTS, DataFacts
from data_sources.cifar_format import EVAL_FILES, TRAIN_FILES
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
        return statistics_gen.collect(files)

    return collect


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
    values = dict(
        zip(
            IMAGE_FACTS,
            (pixels.mean((1, 2)), pixels.std((1, 2)), *pixels.mean(1).T),
            strict=True,
        )
    )
    for name, expected in values.items():
        counts = np.histogram(expected, BINS, (0, 256))[0]
        assert np.abs(np.subtract(found.histograms[name], counts)).sum() <= 2  # float32
    assert (found.constant, found.duplicates, facts.leaked) == (0, 0, 0)


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
        for image, label in ((b"abc" * 4, 0), (b"abc" * 9, 1), (b"", 2), (b"ab", 0)):
            writer.write(as_example(image, label))
        writer.write(tf.train.Example().SerializeToString())
    facts = statistics_gen.collect({"train": [path]})
    found = facts.splits["train"]
    assert (found.examples, found.labels, found.constant) == (5, [2, 1, 1], 2)


def test_the_sample_passes(facts_of, train, evaluation):
    facts = facts_of(train=train, eval=evaluation)
    assert data_gate.find_faults(facts, LIMITS, reference=facts) == []


def test_black_pictures_labelled_cat_do_not_pass(facts_of, train, evaluation):
    good = facts_of(train=train, eval=evaluation)
    bad = facts_of(train=join(train, black_cats(1000)), eval=evaluation)
    text = "\n".join(data_gate.find_faults(bad, LIMITS, reference=good))
    assert "1,000 of 2,000 images of train are of a single colour (50.00%; max_const" in text
    assert "999 of 2,000 images of train are copies of others" in text
    for against in ("skew: train against eval", "drift: train against the last pushed"):
        assert f"{against}: label: The Linfty distance" in text
        assert f"{against}: brightness: The approximate Jensen-Shannon divergence" in text
    assert "is 0.45" in text and "above the threshold 0.1" in text
    assert "The feature value with maximum difference is: 3 (max_label_distance)" in text


def test_data_of_other_classes_are_not_compared(facts_of, train, evaluation):
    images, labels = train
    now = dataclasses.replace(facts_of(train=train), class_names=["a", "b"])
    shifted = facts_of(train=(images, np.zeros_like(labels)))
    assert data_gate.find_faults(
        now, LIMITS, dataclasses.replace(shifted, class_names=["a", "b"])
    )
    other = dataclasses.replace(shifted, class_names=["a", "c"])
    assert data_gate.find_faults(now, LIMITS, other) == []


def test_a_few_black_pictures_among_many_do_not_pass_either(facts_of, train, evaluation):
    bad = facts_of(train=join(train, black_cats(20)), eval=evaluation)
    text = "\n".join(data_gate.find_faults(bad, LIMITS))
    assert "20 of 1,020 images of train are of a single colour" in text
    assert "copies of others" in text


def test_eval_images_among_those_trained_on_do_not_pass(facts_of, train, evaluation):
    images, labels = evaluation
    facts = facts_of(train=join(train, (images[:5], labels[:5])), eval=evaluation)
    (found,) = data_gate.find_faults(facts, LIMITS)
    assert found == (
        "5 of 200 images of eval are in train, too (2.50%; max_leaked_images is 0.10%)"
    )


def test_data_that_shrink_do_not_pass(facts_of, train, evaluation):
    before = facts_of(train=train, eval=evaluation)
    facts = facts_of(train=(train[0][:400], train[1][:400]), eval=evaluation)
    found = data_gate.find_faults(facts, LIMITS, before)
    assert found[0] == (
        "train has 400 images, the last pushed model's had 1,000 "
        "(60.00% fewer; max_shrinkage is 50.00%)"
    )


def test_limits_of_1_allow_anything(facts_of, train, evaluation):
    good = facts_of(train=train, eval=evaluation)
    bad = facts_of(train=black_cats(200), eval=black_cats(200))
    assert data_gate.find_faults(bad, DataLimits(1, 1, 1, 1, 1, 1), good) == []
