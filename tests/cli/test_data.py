import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import click.testing
import pytest

from cli.main import main
from data_sources.dataset import SAMPLE_DIR
from tests.data_sources.test_archive import half_an_archive, member, pack


def cifar(*arguments):
    return click.testing.CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_one_error(result, *parts):
    """The command failed with one clear line and no traceback."""
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert result.stderr.splitlines()[-1] == errors[0]
    for part in parts:
        assert part in errors[0]


@pytest.fixture
def batches(cifar_dir, tmp_path):
    """A copy of the tiny batches that a test may damage."""
    return shutil.copytree(cifar_dir, tmp_path / "batches")


# verify


def test_verify_says_that_the_sample_matches_its_own_checksums():
    result = cifar("data", "verify", SAMPLE_DIR)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "ok     data_batch_1.bin"
    assert lines[-1] == f"The 6 files in {SAMPLE_DIR} match the folder's SHA256SUMS."


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def append(path):
    path.write_bytes(path.read_bytes() + b"extra")


def set_label_10(path):
    content = bytearray(path.read_bytes())
    content[3 * 3073] = 10
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (Path.unlink, "data_batch_4.bin is missing."),
        (truncate, "data_batch_4.bin has 60,460 bytes"),
        (append, "data_batch_4.bin has 61,465 bytes"),
        (set_label_10, "data_batch_4.bin, record 3 (offset 9,219): label 10"),
        (empty, "data_batch_4.bin is empty"),
    ],
)
def test_verify_names_the_damaged_batch(damage, found, batches):
    sums = subprocess.run(
        ["sha256sum", *sorted(path.name for path in batches.iterdir())],
        cwd=batches,
        capture_output=True,
        check=True,
    )
    (batches / "SHA256SUMS").write_bytes(sums.stdout)
    damage(batches / "data_batch_4.bin")
    result = cifar("data", "verify", batches)
    assert_one_error(result, "1 of the 6 files", "cifar data fetch")
    wrong = [line for line in result.stdout.splitlines() if line.startswith("wrong")]
    assert len(wrong) == 1
    assert found in wrong[0]


def test_verify_of_a_missing_folder_says_so(tmp_path):
    assert_one_error(cifar("data", "verify", tmp_path / "nowhere"), "no folder", "nowhere")


# fetch --from a file that is not an archive


def test_archive_that_reaches_outside_its_folder_is_refused(cifar_dir, tmp_path):
    folder = tmp_path / "deep" / "data"
    path = pack(tmp_path / "evil.tar.gz", cifar_dir, member("../escaped.bin"))
    result = cifar("data", "fetch", "--from", path, "--data-dir", folder / "cifar10")
    assert_one_error(result, "evil.tar.gz", "'../escaped.bin'", "Nothing was unpacked")
    left = [found.name for found in tmp_path.rglob("*") if found.is_file()]
    assert sorted(left) == [".cifar10.lock", "evil.tar.gz"]


def wrong_label(path, archive):
    with tarfile.open(archive) as whole, tarfile.open(path, "w:gz") as tar:
        for info in whole:
            file = whole.extractfile(info)
            content = file.read() if file else b""
            tar.addfile(info, io.BytesIO(b"\x0a" + content[1:]))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (half_an_archive, "is damaged or incomplete"),
        (wrong_label, "bad.tar.gz/data_batch_1.bin, record 0 (offset 0): label 10"),
    ],
)
def test_bad_archive_ends_in_one_error_and_previous_data_stay(
    damage, found, cifar_dir, tmp_path
):
    damage(tmp_path / "bad.tar.gz", pack(tmp_path / "good.tar.gz", cifar_dir))
    data_dir = shutil.copytree(SAMPLE_DIR, tmp_path / "data" / "cifar10")
    result = cifar("data", "fetch", "--from", tmp_path / "bad.tar.gz", "--data-dir", data_dir)
    assert_one_error(result, "bad.tar.gz", found)
    for path in SAMPLE_DIR.iterdir():
        assert (data_dir / path.name).read_bytes() == path.read_bytes()
    assert len(list(data_dir.iterdir())) == len(list(SAMPLE_DIR.iterdir()))


def test_archive_of_other_images_names_the_batches_that_differ(cifar_dir, tmp_path):
    path = pack(tmp_path / "mine.tar.gz", cifar_dir)
    result = cifar("data", "fetch", "--from", path, "--data-dir", tmp_path / "cifar10")
    assert_one_error(result, "test_batch.bin has SHA-256", f"cifar run --data {path}")


def test_missing_archive_lists_what_may_stand_there(tmp_path):
    result = cifar("data", "fetch", "--from", "offical", "--data-dir", tmp_path / "cifar10")
    assert_one_error(result, "offical is not a file", "auto, official, npm")
    assert not list(tmp_path.iterdir())
