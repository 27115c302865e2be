import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.example_gen import (
    PARTIAL_DIR,
    CifarExampleGen,
    Executor,
    Shard,
    plan_shards,
    write_shard,
)
from contract import data_record, image_set
from data_sources import cifar_format, example_format
from data_sources.batch_files import read_dataset
from data_sources.dataset import SAMPLE_DIR
from data_sources.options import DataOptions


def generate(
    input_base: Path, output: Path, executor: Executor | None = None, **options: str
) -> Path:
    """Runs the executor and returns the folder of its examples; the schema is beside it."""
    found = read_dataset(
        input_base,
        "directory",
        labels=options.get("labels", "fine"),
        selection=options.get("spans", "all"),
    )
    return generate_from(found.directory, found.checksums, output, executor, **options)


def generate_from(
    input_base: Path,
    checksums: dict[str, str],
    output: Path,
    executor: Executor | None = None,
    code: str = "",
    **options: str,
) -> Path:
    """Does so without a look at the data before."""
    node = CifarExampleGen(str(input_base), "fingerprint", checksums, DataOptions(**options))
    node.exec_properties["code_version"] = code
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri, schema.uri = str(output), f"{output}-schema"
    Path(schema.uri).mkdir(parents=True)
    artifacts = {"examples": [examples], "schema": [schema]}
    (executor or Executor()).Do({}, artifacts, dict(node.exec_properties))
    assert json.loads(examples.split_names) == ["train", "eval"]
    assert json.loads(examples.get_string_custom_property("checksums")) == checksums
    return output


def read(split_dir: Path) -> list[dict]:
    """Returns the features of each example of a split, read by TensorFlow."""
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "key": tf.io.FixedLenFeature([], tf.string),
    }
    records = tf.data.TFRecordDataset([str(path) for path in sorted(split_dir.iterdir())])
    return list(
        records.map(lambda record: tf.io.parse_single_example(record, spec)).as_numpy_iterator()
    )


@pytest.fixture(scope="module")
def examples(cifar_dir, tmp_path_factory) -> Path:
    """The examples of the tiny batches; read-only."""
    return generate(cifar_dir, tmp_path_factory.mktemp("generated") / "examples")


def test_every_record_becomes_an_example(cifar_dir, examples):
    found = read(examples / "Split-train")[20:40]
    records = np.fromfile(cifar_dir / "data_batch_2.bin", np.uint8).reshape(-1, 3073)
    assert [example["label"] for example in found] == records[:, 0].tolist()
    for number, (example, record) in enumerate(zip(found, records, strict=True)):
        red, green, blue = record[1:].reshape(3, 32, 32)
        image = np.stack([red, green, blue], axis=-1)
        assert example["image"] == image.tobytes()
        assert example["key"] == f"data_batch_2.bin:{number}".encode()


def test_splits_are_the_files_given_and_nothing_is_drawn_anew(examples):
    names = sorted(str(path.relative_to(examples)) for path in examples.rglob("data_tf*"))
    assert names == [
        *(f"Split-eval/data_tfrecord-0000{index}-of-00005" for index in range(5)),
        *(f"Split-train/data_tfrecord-0000{index}-of-00005" for index in range(5)),
    ]
    keys = [example["key"] for example in read(examples / "Split-eval")]
    assert keys == [f"test_batch.bin:{record}".encode() for record in range(20)]


def test_the_schema_says_what_the_images_are(examples):
    assert image_set.read(f"{examples}-schema") == cifar_format.CIFAR10.image_set
    assert data_record.read(str(examples)).name == "CIFAR-10"


# SHA-256 of the bundled sample's examples, from the first CifarExampleGen.
SAMPLE_SHARDS = (
    "98b8710d8f24e10eb35ac415639bba9896d80c7b353a44b6f5ffe5f13b27fa63",
    "0212952deea5e60ec1479d9b86a7158d84948838f388a77fb1383582b4d4c106",
    "5381380f56d3fa8adda381c708f58260eb2789c7f894e75f3a19b1c92bea32ee",
    "29aee12a70f1eb5953c3622cb6782ccddbfb55fac8740a08419e948a13352b8f",
    "a63d7bc8c550eef7cc207352aac6b82d0550179c3b070d4f365e917632dde40d",
    "4814b5e2e4964a3246d28b819a5fcaee82337dd0a1d232ee6ecf28f21f0c2409",
    "74a88485f56e7bcadab1d786d0fe58cdb5c6fb5a5f6fc7abe37fef19e9ecb5d6",
    "a7a07977d79c60ccc87574293a1006a84520b6aa862130e3b6d8195637299f9e",
    "a8b6235ee98ee06a2e3038450f9910e6931c0f56bad1f4b59eb8bc4d4399aa5c",
    "7cec995a474855c70825cb1ac0a436a2998f8ebd076ae5711b4962e3c1d71889",
)


def test_the_shards_of_cifar_10_stay_byte_for_byte_what_they_were(tmp_path):
    output = generate(SAMPLE_DIR, tmp_path / "examples")
    found = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.glob("Split-*/*"))
    ]
    assert found == list(SAMPLE_SHARDS)


def test_a_batch_more_is_used(cifar_dir, examples, tmp_path):
    more = shutil.copytree(cifar_dir, tmp_path / "more")
    shutil.copy(more / "test_batch.bin", more / "data_batch_6.bin")
    found = read(generate(more, tmp_path / "examples") / "Split-train")
    before = read(examples / "Split-train")
    assert found[:100] == before
    assert [example["key"] for example in found[100:]] == [
        f"data_batch_6.bin:{record}".encode() for record in range(20)
    ]


def test_equal_batches_give_equal_bytes(cifar_dir, tmp_path):
    shards = [
        sorted(generate(cifar_dir, tmp_path / run).glob("Split-*/*"))
        for run in ("first", "second")
    ]
    first, second = ([shard.read_bytes() for shard in run] for run in shards)
    assert len(first) == 10
    assert first == second


def test_cifar_100_is_read_with_either_of_its_labels(cifar100_dir, tmp_path):
    for labels, expected in (("coarse", [1, 0]), ("fine", [2, 1])):
        output = generate(cifar100_dir, tmp_path / labels, labels=labels)
        assert [one["label"] for one in read(output / "Split-train")][:2] == expected
        names = (cifar100_dir / f"{labels}_label_names.txt").read_text().split()
        assert image_set.read(f"{output}-schema").class_names == tuple(names)


def test_missing_batches_are_named_in_the_error(cifar_dir, tmp_path):
    some = shutil.copytree(cifar_dir, tmp_path / "some")
    (some / "data_batch_2.bin").unlink()
    (some / "test_batch.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_2\.bin, test_batch\.bin"):
        generate_from(some, {}, tmp_path / "examples")


def test_a_damaged_batch_stops_the_node(cifar_dir, tmp_path):
    bad = shutil.copytree(cifar_dir, tmp_path / "bad")
    (bad / "test_batch.bin").write_bytes(bytes([11]) + bytes(3072))
    with pytest.raises(ValueError, match=r"batch\.bin, record 0 .*: label 11, expected 0 to 9"):
        generate_from(bad, {}, tmp_path / "examples")


def test_every_split_has_shards_enough_for_several_workers(tmp_path):
    for sources, parts in ((1, 5), (2, 3), (5, 1), (7, 1)):
        names = [f"batch_{number}.bin" for number in range(sources)]
        shards = plan_shards("/data", names, "Split-x", cifar_format.CIFAR10)
        assert len(shards) == sources * parts
        assert [shard.target for shard in shards] == sorted(shard.target for shard in shards)


def test_the_shards_of_a_batch_have_the_bytes_of_one(cifar_dir, tmp_path):
    batch = str(cifar_dir / "test_batch.bin")
    whole = Shard(batch, str(tmp_path / "whole"), 0, 1, cifar_format.CIFAR10, "test_batch.bin")
    shards = plan_shards(
        str(cifar_dir), ["test_batch.bin"], str(tmp_path), cifar_format.CIFAR10
    )
    assert write_shard(whole, str(tmp_path)) == 20
    assert [write_shard(shard, str(tmp_path)) for shard in shards] == [4] * 5
    together = b"".join(Path(shard.target).read_bytes() for shard in shards)
    assert together == Path(whole.target).read_bytes()


def test_a_batch_is_read_in_pieces_and_the_shard_has_the_same_bytes(
    cifar_dir, tmp_path, monkeypatch
):
    batch = str(cifar_dir / "test_batch.bin")
    shards = [
        Shard(batch, str(tmp_path / name), 0, 1, cifar_format.CIFAR10, "test_batch.bin")
        for name in ("at_once", "in_pieces")
    ]
    write_shard(shards[0], str(tmp_path))
    sizes = []
    encode = example_format.encode_examples

    def encode_piece(content, *arguments):
        sizes.append(len(content) // 3073)
        return encode(content, *arguments)

    monkeypatch.setattr(cifar_format, "PIECE_RECORDS", 7)
    monkeypatch.setattr(example_format, "encode_examples", encode_piece)
    assert write_shard(shards[1], str(tmp_path)) == 20
    assert sizes == [7, 7, 6]
    assert Path(shards[0].target).read_bytes() == Path(shards[1].target).read_bytes()


def test_a_batch_that_shrinks_while_it_is_read_is_an_error(cifar_dir):
    with (cifar_dir / "test_batch.bin").open("rb") as file:
        pieces = cifar_format.read_pieces(file, cifar_format.CIFAR10, range(15, 25))
        with pytest.raises(ValueError, match="ended while it was read"):
            list(pieces)


def test_a_late_twin_finds_no_place_to_write_and_leaves_the_shard_alone(cifar_dir, examples):
    output = examples
    files = {path: path.stat() for path in output.rglob("*") if path.is_file()}
    assert len(files) == 11  # and the record of the data
    shards = plan_shards(
        str(cifar_dir), ["test_batch.bin"], str(output / "Split-eval"), cifar_format.CIFAR10
    )
    with pytest.raises(tf.errors.NotFoundError):
        write_shard(shards[2], str(output / PARTIAL_DIR))
    assert {path: path.stat() for path in output.rglob("*") if path.is_file()} == files


def test_twins_that_write_a_shard_at_once_leave_one_whole(cifar_dir, tmp_path):
    batch = str(cifar_dir / "test_batch.bin")
    target = str(tmp_path / "shard/one")
    shard = Shard(batch, target, 0, 1, cifar_format.CIFAR10, "test_batch.bin")
    (tmp_path / "shard").mkdir()
    (tmp_path / "partial").mkdir()
    with ThreadPoolExecutor(4) as twins:
        written = [
            twins.submit(write_shard, shard, str(tmp_path / "partial")) for _ in range(8)
        ]
    assert [one.result() for one in written] == [20] * 8
    assert list((tmp_path / "partial").iterdir()) == []
    keys = [example["key"] for example in read(tmp_path / "shard")]
    assert keys == [f"test_batch.bin:{record}".encode() for record in range(20)]


class KilledTwin(Executor):
    """An engine that ran every shard once before, and killed that attempt halfway."""

    def _make_beam_pipeline(self):
        (partial_dir,) = self.output.glob(PARTIAL_DIR)
        (partial_dir / "killed").write_bytes(b"half a record")
        return super()._make_beam_pipeline()


def test_what_a_killed_attempt_left_is_no_example(cifar_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(KilledTwin, "output", tmp_path / "examples", raising=False)
    output = generate(cifar_dir, tmp_path / "examples", KilledTwin())
    names = sorted(path.name for path in output.iterdir())
    assert names == ["Split-eval", "Split-train", "data.json"]
    assert len(list((output / "Split-eval").iterdir())) == 5


class LosesAShard(Executor):
    """An engine whose worker wrote one shard to a folder that is not shared."""

    def _make_beam_pipeline(self):
        class Pipeline(beam.Pipeline):
            def __exit__(pipeline, *exception):  # noqa: N805
                super().__exit__(*exception)
                next(self.output.glob("Split-eval/*00003-of*")).unlink()

        return Pipeline()


def test_a_shard_that_is_lost_is_an_error(cifar_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(LosesAShard, "output", tmp_path / "examples", raising=False)
    with pytest.raises(RuntimeError, match=r"00003-of-00005 contains 0 examples, expected 4"):
        generate(cifar_dir, tmp_path / "examples", LosesAShard())


# Data that arrive over time


def linked(output: Path) -> set[str]:
    """Returns the shards that have more than one name."""
    return {
        str(path.relative_to(output))
        for path in output.glob("Split-*/*")
        if path.stat().st_nlink > 1
    }


def runs_in(folder: Path) -> Path:
    """Returns a folder in which only artifacts of examples are beside each other."""
    folder.mkdir()
    return folder


@pytest.fixture
def growing(cifar_dir, tmp_path) -> Path:
    """The tiny batches, with a span beside them."""
    data = shutil.copytree(cifar_dir, tmp_path / "data")
    (data / "span-1").mkdir()
    shutil.copy(cifar_dir / "data_batch_4.bin", data / "span-1/data_batch_1.bin")
    return data


def test_only_what_is_new_is_converted(growing, examples, tmp_path):
    runs = runs_in(tmp_path / "examples")
    first = generate(growing, runs / "1")
    (growing / "span-2").mkdir()
    shutil.copy(growing / "data_batch_1.bin", growing / "span-2/data_batch_7.bin")
    shutil.copy(growing / "test_batch.bin", growing / "span-2/test_batch.bin")
    second = generate(growing, runs / "2")
    assert len(linked(first)) == 15  # all: five batches, and two in five parts
    assert linked(second) == {
        *(f"Split-train/data_tfrecord-{index:05d}-of-00015" for index in range(10)),
        *(f"Split-eval/data_tfrecord-{index:05d}-of-00010" for index in range(5)),
    }
    whole = generate(growing, runs_in(tmp_path / "anew") / "1")
    for path in whole.glob("Split-*/*"):
        assert (second / path.relative_to(whole)).read_bytes() == path.read_bytes()
    keys = [example["key"] for example in read(second / "Split-train")]
    assert keys[:100] == [example["key"] for example in read(examples / "Split-train")]
    assert keys[100] == b"span-1/data_batch_1.bin:0"
    assert keys[-1] == b"span-2/data_batch_7.bin:19"


def test_a_batch_that_arrives_beside_others_is_all_that_is_converted(cifar_dir, tmp_path):
    data, runs = shutil.copytree(cifar_dir, tmp_path / "data"), runs_in(tmp_path / "examples")
    generate(data, runs / "1")
    shutil.copy(data / "test_batch.bin", data / "data_batch_6.bin")
    second = generate(data, runs / "2")
    new = {str(path.relative_to(second)) for path in second.glob("Split-*/*")} - linked(second)
    assert new == {"Split-train/data_tfrecord-00005-of-00006"}


def test_links_outlive_the_run_they_lead_to(growing, tmp_path):
    runs = runs_in(tmp_path / "examples")
    before = {
        path.name: path.read_bytes() for path in generate(growing, runs / "1").glob("S*/*")
    }
    second = generate(growing, runs / "2")
    shutil.rmtree(runs / "1")
    assert {path.name: path.read_bytes() for path in second.glob("S*/*")} == before
    assert linked(generate(growing, runs / "3")) == linked(second)


def test_a_shard_that_was_damaged_since_is_converted_again(growing, tmp_path):
    runs = runs_in(tmp_path / "examples")
    first = generate(growing, runs / "1")
    damaged = first / "Split-train/data_tfrecord-00002-of-00010"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + b"!")
    (runs / "0").mkdir()
    (runs / "0/data.json").write_text("half a rec")
    second = generate(growing, runs / "2")
    assert (second / damaged.relative_to(first)).read_bytes() == content
    assert len(linked(second)) == 14


def test_where_links_do_not_work_shards_are_copied(growing, tmp_path, monkeypatch):
    runs = runs_in(tmp_path / "examples")
    first = generate(growing, runs / "1")

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr(Executor, "_make_beam_pipeline", refuse)  # nothing is converted
    second = generate(growing, runs / "2")
    assert linked(second) == set()
    for path in first.glob("Split-*/*"):
        assert (second / path.relative_to(first)).read_bytes() == path.read_bytes()


def test_other_code_converts_everything_anew(growing, tmp_path):
    runs = runs_in(tmp_path / "examples")
    generate(growing, runs / "1", code="first")
    assert linked(generate(growing, runs / "2", code="edited")) == set()


def test_the_selected_spans_are_read(growing, tmp_path):
    output = generate(growing, runs_in(tmp_path / "examples") / "1", spans="last:1")
    assert {one["key"].partition(b":")[0] for one in read(output / "Split-train")} == {
        b"span-1/data_batch_1.bin"
    }
    assert {one["key"].partition(b":")[0] for one in read(output / "Split-eval")} == {
        b"test_batch.bin"
    }


def test_a_span_of_cifar_100_is_all_that_is_converted(cifar100_dir, tmp_path):
    data, runs = (
        shutil.copytree(cifar100_dir, tmp_path / "data"),
        runs_in(tmp_path / "examples"),
    )
    generate(data, runs / "1")
    (data / "span-1").mkdir()
    (data / "span-1/train.bin").write_bytes((data / "train.bin").read_bytes()[: 3 * 3074])
    second = generate(data, runs / "2")
    assert len(linked(second)) == 10
    assert len(list(second.glob("Split-*/*"))) == 15
    assert len(read(second / "Split-train")) == 123
