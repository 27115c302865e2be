import shutil

import pytest

from data_sources.batch_files import OFFICIAL, read_dataset, verify
from data_sources.cifar_format import BATCH_FILES


@pytest.fixture
def batches(cifar_dir, tmp_path):
    """A copy of the tiny batches that a test may damage."""
    return shutil.copytree(cifar_dir, tmp_path / "batches")


def test_matching_batches_have_no_problems(cifar_dir, release):
    assert verify(cifar_dir, release.checksums) == {}


def test_each_wrong_batch_is_named_with_what_is_wrong(batches, release):
    whole = (batches / "test_batch.bin").read_bytes()
    (batches / "data_batch_1.bin").unlink()
    (batches / "data_batch_2.bin").write_bytes(b"")
    (batches / "data_batch_3.bin").write_bytes(whole[:-1])
    (batches / "data_batch_4.bin").write_bytes(b"\x0a" + whole[1:])
    (batches / "data_batch_5.bin").write_bytes(whole)
    problems = verify(batches, release.checksums)
    assert list(problems) == list(BATCH_FILES[:5])
    parts = ("is missing", "is empty", "61,459 bytes", "label 10", "has SHA-256")
    for problem, part in zip(problems.values(), parts, strict=True):
        assert part in problem


def test_folder_with_sums_of_its_own_is_held_to_them(batches, release):
    sums = "".join(f"{sha256}  {name}\n" for name, sha256 in release.checksums.items())
    (batches / "SHA256SUMS").write_text(sums)
    assert verify(batches) == {}
    (batches / "data_batch_2.bin").write_bytes((batches / "test_batch.bin").read_bytes())
    assert list(verify(batches)) == ["data_batch_2.bin"]


def test_folder_without_sums_is_held_to_the_official_ones(cifar_dir):
    assert OFFICIAL.checksums["test_batch.bin"] in verify(cifar_dir)["test_batch.bin"]


def test_missing_batches_are_named_in_the_error(batches):
    (batches / "data_batch_2.bin").unlink()
    (batches / "test_batch.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_2\.bin, test_batch\.bin\."):
        read_dataset(batches, "directory")


def test_batch_of_an_absurd_size_is_refused_unread(batches):
    with (batches / "data_batch_2.bin").open("r+b") as file:
        file.truncate(3073 << 30)  # a hole: takes no disk
    with pytest.raises(
        ValueError, match=r"data_batch_2\.bin has 3,299,[\d,]+ bytes; .* at most"
    ):
        read_dataset(batches, "directory")


def test_damaged_sums_are_a_mismatch(batches, release):
    (batches / "SHA256SUMS").write_bytes(b"\xff\xfe  data_batch_1.bin\n")
    assert list(verify(batches)) == list(BATCH_FILES)
