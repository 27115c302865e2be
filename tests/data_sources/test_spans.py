"""Spans: which are read, what judges, and what is wrong with them."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_sources import batch_files, spans
from data_sources.cifar_format import BATCH_FILES
from data_sources.dataset import Dataset, locate
from data_sources.options import DataOptions
from data_sources.spans import Span


@pytest.fixture
def find(tmp_path, said):
    """Returns what `--data` finds."""

    def find(data: Path, selection: str = "all", **options) -> Dataset:
        chosen = DataOptions(spans=selection, **options)
        return locate(str(data), tmp_path / "fetched" / "cifar10", said, options=chosen)

    return find


@pytest.fixture
def data(cifar_dir, tmp_path) -> Path:
    """The tiny batches, two spans to train on, and one with a batch to judge by as well."""
    root = shutil.copytree(cifar_dir, tmp_path / "data")
    for number, names in ((1, ["data_batch_1.bin"]), (2, ["data_batch_3.bin"])):
        add_span(root, number, cifar_dir, names)
    add_span(root, 10, cifar_dir, ["data_batch_2.bin", "data_batch_1.bin", "test_batch.bin"])
    return root


def add_span(root: Path, number: int, source: Path, names: list[str]) -> Path:
    folder = root / f"span-{number}"
    folder.mkdir(parents=True)
    for name in names:
        shutil.copy(source / name, folder / name)
    return folder


def files(dataset: Dataset) -> dict[str, list[str]]:
    return {split: list(names) for split, names in dataset.layout.splits.items()}


# The setting


@pytest.mark.parametrize("selection", ["all", "last:1", "last:30", "0:0", "2:10"])
def test_a_selection_is_all_the_last_or_a_range(selection):
    assert DataOptions(spans=selection).spans == selection


@pytest.mark.parametrize("selection", ["", "last:0", "last", "3:2", "1:", "1-2", "ALL"])
def test_another_selection_is_an_error(selection):
    with pytest.raises(ValueError, match=r"last:N \(N ≥ 1\) or FROM:TO .*FROM ≤ TO") as refusal:
        DataOptions(spans=selection)
    assert repr(selection) in str(refusal.value)


def test_spans_are_chosen_by_number():
    found = [Span(0), *(Span(number, f"span-{number}") for number in (2, 3, 10))]
    assert spans.choose(found, "all") == found
    assert spans.choose(found, "last:2") == found[2:]
    assert spans.choose(found, "3:10") == found[2:]
    with pytest.raises(ValueError, match=r"spans=4:9 selects nothing; there is: 0, 2, 3, 10\."):
        spans.choose(found, "4:9")


def test_data_without_spans_are_span_0(cifar_dir, find):
    assert find(cifar_dir, "last:5") == find(cifar_dir) == find(cifar_dir, "0:3")
    for source in (cifar_dir, "sample"):
        with pytest.raises(ValueError, match="selects nothing; there is: 0"):
            find(source, "1:3")


# CIFAR-10


def test_the_folder_itself_comes_first_then_spans_by_number(data, find):
    own = [name for name in BATCH_FILES if name != "test_batch.bin"]
    added = ["span-1/data_batch_1.bin", "span-2/data_batch_3.bin"]
    last = ["span-10/data_batch_1.bin", "span-10/data_batch_2.bin"]
    found = find(data)
    assert files(found) == {
        "train": [*own, *added, *last],
        "eval": ["test_batch.bin", "span-10/test_batch.bin"],
    }
    assert found.layout.spans == "0:10"
    assert sum(found.images.values()) == 11 * 20


def test_the_last_spans_are_judged_by_their_own_batches(data, find):
    found = find(data, "last:2")
    assert files(found)["eval"] == ["span-10/test_batch.bin"]
    assert files(found)["train"][0] == "span-2/data_batch_3.bin"
    assert found == find(data, "2:10")


def test_spans_without_eval_are_judged_by_the_newest_before_them(data, find, cifar_dir):
    add_span(data, 11, cifar_dir, ["data_batch_5.bin"])
    assert files(find(data, "last:1")) == {
        "train": ["span-11/data_batch_5.bin"],
        "eval": ["span-10/test_batch.bin"],
    }
    assert files(find(data, "1:2"))["eval"] == ["test_batch.bin"]


def test_a_selection_is_only_the_data_it_selects(data, find, cifar_dir):
    before = find(data, "1:2")
    assert find(data).fingerprint != before.fingerprint
    add_span(data, 12, cifar_dir, ["data_batch_5.bin"])
    assert find(data, "1:2") == before


def test_spans_need_no_batches_beside_them(data, find):
    for name in BATCH_FILES:
        (data / name).unlink()
    found = find(data)
    assert files(found)["eval"] == ["span-10/test_batch.bin"]
    assert found.layout.spans == "1:10"
    assert batch_files.verify(data) == {}


def test_verify_looks_into_spans(data):
    (data / "span-2/data_batch_3.bin").write_bytes(b"x")
    assert (
        "span-2/data_batch_3.bin has 1 bytes"
        in batch_files.verify(data)["span-2/data_batch_3.bin"]
    )


def test_all_faults_are_named_at_once(data, find, cifar_dir):
    (data / "data_batch_2.bin").unlink()
    (data / "span-1/data_batch_1.bin").write_bytes(bytes([11]) + bytes(3072))
    (data / "span-2/batch.bin").write_bytes(b"")
    (data / "span-3").mkdir()
    with pytest.raises(ValueError, match="cannot be used as it is") as refusal:
        find(data)
    for what in (
        f"{data} lacks data_batch_2.bin",
        "span-1/data_batch_1.bin, record 0 (offset 0): label 11",
        "span-2/batch.bin is not a known name",
        "span-3 contains no batches",
    ):
        assert what in str(refusal.value)


def test_spans_without_any_eval_are_refused(tmp_path, find, cifar_dir):
    add_span(tmp_path / "data", 1, cifar_dir, ["data_batch_1.bin"])
    with pytest.raises(ValueError, match="none of the selected spans has a batch for eval"):
        find(tmp_path / "data")


def test_a_span_beside_fetched_batches_is_used_as_well(cifar_dir, release, said, tmp_path):
    data = shutil.copytree(cifar_dir, tmp_path / "cifar10")
    add_span(data, 1, cifar_dir, ["data_batch_4.bin"])
    found = locate("auto", data, said, release)
    assert files(found)["train"][-1] == "span-1/data_batch_4.bin"
    assert not found.is_complete
    assert "span-1/data_batch_4.bin beside them is used as well" in str(said)


@pytest.mark.parametrize("name", ["span-03", "span_3", "Span-3", "span3"])
def test_a_folder_whose_name_is_nearly_that_of_a_span_is_refused(data, find, name):
    (data / "span-2").rename(data / name)
    with pytest.raises(ValueError, match=f"{name} is not the name .* rename it to span-3 "):
        find(data)


def test_a_hidden_folder_is_not_read_before_it_is_renamed(data, find, cifar_dir):
    before = find(data)
    shutil.copytree(data / "span-2", data / ".span-3")
    assert find(data) == before


# CIFAR-100


def test_spans_of_cifar_100_share_the_names_of_the_classes(cifar100_dir, find, tmp_path):
    root = tmp_path / "data"
    add_span(root, 1, cifar100_dir, [path.name for path in cifar100_dir.iterdir()])
    add_span(root, 2, cifar100_dir, ["train.bin"])
    found = find(root)
    assert files(found) == {
        "train": ["span-1/train.bin", "span-2/train.bin"],
        "eval": ["span-1/test.bin"],
    }
    assert found.layout.image_set.class_names[:2] == ("apple", "bear")
    assert find(root, labels="coarse").layout.image_set.class_names == ("animals", "things")


def test_other_names_or_another_kind_of_batches_are_refused(
    cifar100_dir, cifar_dir, find, tmp_path
):
    root = shutil.copytree(cifar100_dir, tmp_path / "data")
    add_span(root, 1, cifar100_dir, ["train.bin", "fine_label_names.txt"])
    (root / "span-1/fine_label_names.txt").write_text("a\nb\n")
    add_span(root, 2, cifar_dir, ["data_batch_1.bin"])
    with pytest.raises(ValueError, match="cannot be used") as refusal:
        find(root)
    assert "span-1/fine_label_names.txt differs from fine_label_names.txt" in str(refusal.value)
    assert "span-2: not CIFAR-100's batches" in str(refusal.value)


# Archives


def archive_of(folder: Path, top: str) -> Path:
    """Packs a folder, below a folder named `top`."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, f"{top}{path.relative_to(folder)}", recursive=False)
    return archive


@pytest.mark.parametrize("top", ["", "cifar-10-batches-bin/"])
def test_an_archive_of_batches_has_the_spans_of_its_folder(data, find, top):
    archive = archive_of(data, top)
    for selection in ("all", "last:2", "1:2"):
        found = find(archive, selection)
        assert found.fingerprint == find(data, selection).fingerprint
        assert found.layout.spans == find(data, selection).layout.spans
    assert len({find(archive, selection).directory for selection in ("all", "1:2")}) == 1
    with pytest.raises(ValueError, match="spans=4:9 selects nothing"):
        find(archive, "4:9")


def test_faults_of_the_spans_in_an_archive_are_named(data, find):
    (data / "span-2").rename(data / "span-02")
    (data / "span-1/data_batch_1.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"data\.tar\.gz cannot be used") as refusal:
        find(archive_of(data, ""))
    assert "span-02 is not the name of a span" in str(refusal.value)
    assert "span-1/data_batch_1.bin has 1 bytes" in str(refusal.value)


# Pictures


def add_pictures(
    folder: Path, count: int = 2, start: int = 0, classes=("leaf", "rose")
) -> None:
    """Writes different pictures of each class into a folder."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(start, start + count):
            file = io.BytesIO()
            Image.new("RGB", (32, 32), (index, 90 * number, 7)).save(file, "PNG")
            (folder / name / f"{index}.png").write_bytes(file.getvalue())


@pytest.fixture
def pictures(tmp_path) -> Path:
    root = tmp_path / "flowers"
    add_pictures(root / "train", 3)
    add_pictures(root / "eval", 2, 50)
    add_pictures(root / "span-1/train", 2, 100)
    return root


def test_pictures_of_a_span_are_batches_of_their_own(pictures, find):
    found = find(pictures)
    assert files(found) == {
        "train": ["train_00001.bin", "span-1/train_00001.bin"],
        "eval": ["eval_00001.bin"],
    }
    assert found.images == {"train": 6, "span-1/train": 4, "eval": 4}
    keys = (found.directory / "span-1/train_00001.txt").read_text().splitlines()
    assert set(keys) == {
        f"span-1/train/{c}/{n}.png" for c in ("leaf", "rose") for n in (100, 101)
    }


def test_only_new_pictures_are_converted(pictures, find, said, monkeypatch):
    first = find(pictures)
    add_pictures(pictures / "span-2", 20, 150)
    second = find(pictures)
    assert "Converted before and unchanged: train, span-1/train, eval" in str(said)
    assert "Converting 40 pictures" in str(said)
    for name in first.layout.batch_files:
        assert (second.directory / name).samefile(first.directory / name)
    shutil.rmtree(first.directory)
    assert find(pictures) == second


def test_pictures_that_changed_since_are_converted_again(pictures, find, said):
    first = find(pictures)
    batch = first.directory / "span-1/train_00001.bin"
    content = batch.read_bytes()
    batch.write_bytes(bytes(len(content)))
    add_pictures(pictures / "span-2", 20, 150)
    second = find(pictures)
    assert (second.directory / "span-1/train_00001.bin").read_bytes() == content
    assert "Converted before and unchanged: train, eval." in str(said)


def test_a_new_class_changes_every_label(pictures, find, said):
    find(pictures)
    add_pictures(pictures / "span-2/train", 2, 150, ("daisy",))
    add_pictures(pictures / "span-2/eval", 2, 170, ("daisy",))
    found = find(pictures)
    assert found.layout.image_set.class_names == ("daisy", "leaf", "rose")
    assert "unchanged" not in str(said)
    labels = np.fromfile(found.directory / "train_00001.bin", np.uint8).reshape(6, -1)[:, 0]
    assert set(labels) == {1, 2}


def test_the_newest_pictures_for_eval_judge_a_span_without_any(pictures, find):
    add_pictures(pictures / "span-2/train", 2, 150)
    found = find(pictures, "last:2")
    assert files(found) == {
        "train": ["span-1/train_00001.bin", "span-2/train_00001.bin"],
        "eval": ["eval_00001.bin"],
    }


def test_a_span_may_only_judge(pictures, find):
    add_pictures(pictures / "span-2/val", 2, 150)
    found = find(pictures)
    assert files(found)["eval"] == ["eval_00001.bin", "span-2/eval_00001.bin"]
    assert found.images["span-2/eval"] == 4


def test_faults_of_all_spans_of_pictures_are_named_at_once(pictures, find):
    (pictures / "span-1/train/rose/100.png").write_bytes(b"")
    add_pictures(pictures / "span-2/train", 1, 150, ("daisy",))
    (pictures / "span-2/other").mkdir()
    (pictures / "span-2/other/file.png").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be used") as refusal:
        find(pictures)
    for what in (
        "span-1/train/rose/100.png is empty",
        "span-2/other/ is beside train/",
        "class daisy in train, but not in eval",
    ):
        assert what in str(refusal.value)


def test_pictures_of_a_folder_that_is_nearly_a_span_are_no_class(pictures, find):
    (pictures / "span-1").rename(pictures / "span_1")
    with pytest.raises(ValueError, match="span_1 is not the name of a span"):
        find(pictures)


def test_an_archive_of_pictures_has_the_spans_of_its_folder(pictures, find, said):
    add_pictures(pictures / "span-2/train", 2, 150)
    archive = pictures.with_name("flowers.zip")
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in sorted(pictures.rglob("*")):
            zipped.write(path, path.relative_to(pictures.parent))
    for selection in ("all", "last:1"):
        found, of_folder = find(archive, selection), find(pictures, selection)
        assert found.fingerprint == of_folder.fingerprint
        assert files(found) == files(of_folder)
    before = str(said).count("Converting")
    assert find(archive, "last:1").images == {"span-2/train": 4, "eval": 4}
    assert str(said).count("Converting") == before
