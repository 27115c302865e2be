import dataclasses
import hashlib
import multiprocessing
import shutil
import threading
import time
from collections import Counter

import pytest

from data_sources.batch_files import read_dataset
from data_sources.cifar_format import BATCH_FILES, CIFAR10, decode_records
from data_sources.dataset import SAMPLE_DIR, fetch, locate
from data_sources.download import SourceError

NOBODY = "http://127.0.0.1:1/cifar-10-binary.tar.gz"  # refuses connections


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def offline(release, npm):
    """The tiny release; neither the official host nor a registry can be reached."""
    npm.do("sys.exit('npm error code ENOTFOUND')\n")
    return dataclasses.replace(release, url=NOBODY)


# Where the batches come from


@pytest.mark.parametrize("source", ["official", "npm", "archive"])
def test_every_source_ends_in_the_same_bytes(
    source, cifar_dir, archive, release, npm, said, tmp_path
):
    data_dir = tmp_path / "data" / "cifar10"
    dataset = fetch(data_dir, str(archive) if source == "archive" else source, said, release)
    assert contents(data_dir) == contents(cifar_dir)
    assert dataset.directory == data_dir
    assert dataset.source == source
    assert dataset.is_complete


def test_fetch_leaves_nothing_but_the_batches_and_a_lock(release, said, tmp_path):
    fetch(tmp_path / "cifar10", "official", said, release)
    assert {path.name for path in tmp_path.iterdir()} == {"cifar10", ".cifar10.lock"}


def test_complete_batches_are_used_as_they_are(cifar_dir, offline, said, tmp_path):
    data_dir = shutil.copytree(cifar_dir, tmp_path / "cifar10")
    dataset = locate("auto", data_dir, said, offline)
    assert dataset.source == "existing"
    assert dataset.is_complete
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_official_host_is_tried_before_npm(release, npm, server, said, tmp_path):
    assert locate("auto", tmp_path / "cifar10", said, release).source == "official"
    assert npm.calls == []


def test_closed_network_falls_over_to_npm_and_says_why(release, npm, said, tmp_path):
    release = dataclasses.replace(release, url=NOBODY)
    assert locate("auto", tmp_path / "cifar10", said, release).source == "npm"
    assert f"Source official: {NOBODY} cannot be reached (NewConnectionError)." in str(said)


def test_without_any_source_the_sample_is_used_with_a_warning(offline, said, tmp_path):
    dataset = locate("auto", tmp_path / "cifar10", said, offline)
    assert dataset.source == "sample"
    assert not dataset.is_complete
    assert not (tmp_path / "cifar10").exists()
    assert "Warning: No source could provide CIFAR-10 (official: " in str(said)
    assert "1,200 images instead of 60,000" in str(said)


def test_fetch_never_settles_for_the_sample(offline, said, tmp_path):
    with pytest.raises(
        SourceError, match=r"No source could provide.*ENOTFOUND.*--from ARCHIVE"
    ):
        fetch(tmp_path / "cifar10", "auto", said, offline)


# Existing files


def test_wrong_batch_is_named_fetched_again_and_kept_aside(cifar_dir, release, said, tmp_path):
    data_dir = shutil.copytree(cifar_dir, tmp_path / "cifar10")
    wrong = (SAMPLE_DIR / "data_batch_3.bin").read_bytes()
    (data_dir / "data_batch_3.bin").write_bytes(wrong)
    (data_dir / "test_batch.bin").unlink()
    (data_dir / "notes.txt").write_text("mine")
    assert locate("auto", data_dir, said, release).is_complete
    expected = {"data_batch_3.bin.replaced": wrong, "notes.txt": b"mine"}
    assert contents(data_dir) == contents(cifar_dir) | expected
    assert "data_batch_3.bin has SHA-256" in str(said)
    assert "test_batch.bin is missing" in str(said)
    assert "data_batch_1.bin" not in str(said)


def test_failed_fetch_leaves_what_was_there(cifar_dir, offline, said, tmp_path):
    data_dir = shutil.copytree(cifar_dir, tmp_path / "cifar10")
    (data_dir / "data_batch_3.bin").write_bytes(b"broken")
    before = contents(data_dir)
    with pytest.raises(SourceError):
        fetch(data_dir, "auto", said, offline)
    assert contents(data_dir) == before


def test_data_dir_may_be_a_link(cifar_dir, release, said, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "cifar10").symlink_to(tmp_path / "disk")
    fetch(tmp_path / "cifar10", "official", said, release)
    assert (tmp_path / "cifar10").is_symlink()
    assert contents(tmp_path / "disk") == contents(cifar_dir)


def test_file_in_place_of_the_data_dir_is_an_error(release, said, tmp_path):
    (tmp_path / "cifar10").write_text("a file")
    with pytest.raises(NotADirectoryError, match="is a file"):
        fetch(tmp_path / "cifar10", "auto", said, release)


# Readers, writers, interruptions


def test_reader_sees_all_six_batches_or_none(cifar_dir, release, server, said, tmp_path):
    data_dir = tmp_path / "cifar10"
    seen = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            seen.append(len(list(data_dir.iterdir())) if data_dir.exists() else 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    fetch(data_dir, "official", said, release)
    time.sleep(0.05)
    done.set()
    watcher.join()
    assert Counter(seen).keys() == {0, 6}


def fetch_in_another_process(data_dir, release):
    process = multiprocessing.get_context("spawn").Process(
        target=fetch, args=(data_dir, "official"), kwargs={"release": release}
    )
    process.start()
    return process


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_fetches_at_once_download_once(cifar_dir, release, server, said, tmp_path):
    data_dir = tmp_path / "cifar10"
    server.pause.clear()
    other = fetch_in_another_process(data_dir, release)
    wait_for(lambda: server.ranges)
    threading.Timer(0.5, server.pause.set).start()
    dataset = fetch(data_dir, "official", said, release)
    other.join()
    assert other.exitcode == 0
    assert dataset.source == "existing"
    assert len(server.ranges) == 1
    assert "Another process is writing" in str(said)
    assert contents(data_dir) == contents(cifar_dir)


def test_killed_fetch_goes_on_where_it_was(cifar_dir, release, server, said, tmp_path):
    data_dir = tmp_path / "cifar10"
    part = tmp_path / ".cifar10.partial" / "cifar-10-binary.tar.gz.part"
    server.pause.clear()
    other = fetch_in_another_process(data_dir, release)
    wait_for(lambda: part.exists() and part.stat().st_size)
    other.kill()
    other.join()
    server.pause.set()
    assert not data_dir.exists()
    fetch(data_dir, "official", said, release)
    assert server.ranges[0] is None
    assert server.ranges[1].startswith("bytes=")
    assert contents(data_dir) == contents(cifar_dir)


# Folders and archives of the user


def test_folder_of_other_images_is_allowed_but_not_complete(cifar_dir, said, tmp_path):
    dataset = locate(str(cifar_dir), tmp_path / "cifar10", said)
    assert dataset.directory == cifar_dir
    assert dataset.source == "directory"
    assert not dataset.is_complete


def test_unpacked_official_folder_is_found_inside(cifar_dir, said, tmp_path):
    inside = shutil.copytree(cifar_dir, tmp_path / "cifar-10-batches-bin")
    assert locate(str(tmp_path), tmp_path / "cifar10", said).directory == inside


def test_archive_of_other_images_is_unpacked_once(cifar_dir, archive, said, tmp_path):
    data_dir = tmp_path / "cifar10"
    first = locate(str(archive), data_dir, said)
    second = locate(str(archive), data_dir, said)
    assert first == second
    assert first.source == "archive"
    assert str(said).count("Unpacking") == 2  # begun and done
    assert not data_dir.exists()
    for name in BATCH_FILES:
        assert (first.directory / name).read_bytes() == (cifar_dir / name).read_bytes()


def test_damaged_copy_of_an_archive_is_unpacked_again(archive, said, tmp_path):
    directory = locate(str(archive), tmp_path / "cifar10", said).directory
    whole = contents(directory)
    (directory / "test_batch.bin").write_bytes(whole["data_batch_1.bin"])
    locate(str(archive), tmp_path / "cifar10", said)
    assert contents(directory) == whole


def test_archive_of_other_images_is_not_fetched_as_cifar10(archive, said, tmp_path):
    with pytest.raises(ValueError, match="does not contain the official batches: data_batch_1"):
        fetch(tmp_path / "cifar10", str(archive), said)
    assert not (tmp_path / "cifar10").exists()


def test_fetched_batch_has_the_size_of_an_official_one(archive, release, said, tmp_path):
    larger = dataclasses.replace(release, file_bytes=release.file_bytes - 1)
    with pytest.raises(ValueError, match=r"data_batch_1\.bin' of 61,460 bytes.*at most 61,459"):
        fetch(tmp_path / "cifar10", str(archive), said, larger)


# The dataset itself


def test_fingerprint_changes_with_a_single_value(cifar_dir, tmp_path):
    before = read_dataset(cifar_dir, "directory")
    changed = shutil.copytree(cifar_dir, tmp_path / "changed")
    content = bytearray((changed / "test_batch.bin").read_bytes())
    content[-1] ^= 1
    (changed / "test_batch.bin").write_bytes(content)
    after = read_dataset(changed, "directory")
    assert after.fingerprint != before.fingerprint
    assert [
        name for name in BATCH_FILES if after.checksums[name] != before.checksums[name]
    ] == ["test_batch.bin"]


def test_fingerprint_is_the_sha256_of_names_and_checksums(cifar_dir):
    text = "".join(
        f"{name} {hashlib.sha256((cifar_dir / name).read_bytes()).hexdigest()}\n"
        for name in BATCH_FILES
    )
    dataset = read_dataset(cifar_dir, "directory")
    assert dataset.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_sample_has_twenty_records_of_each_class_in_each_file(said, tmp_path):
    directory = locate("sample", tmp_path, said).directory
    for name in BATCH_FILES:
        images, labels = decode_records((directory / name).read_bytes())
        assert len(images) == 200
        assert Counter(labels.tolist()) == dict.fromkeys(range(CIFAR10.num_classes), 20)


def test_sample_begins_as_the_official_files_do(said, tmp_path):
    # The first labels of data_batch_1 and test_batch: frog, truck, truck, deer, automobile;
    # cat, ship, ship, airplane, frog.
    directory = locate("sample", tmp_path, said).directory
    first_labels = {
        name: decode_records((directory / name).read_bytes())[1][:5].tolist()
        for name in ("data_batch_1.bin", "test_batch.bin")
    }
    assert first_labels == {
        "data_batch_1.bin": [6, 9, 9, 4, 1],
        "test_batch.bin": [3, 8, 8, 0, 6],
    }


def test_damaged_sample_is_not_used(monkeypatch, said, tmp_path):
    sample = shutil.copytree(SAMPLE_DIR, tmp_path / "sample")
    (sample / "data_batch_1.bin").write_bytes((sample / "test_batch.bin").read_bytes())
    monkeypatch.setattr("data_sources.dataset.SAMPLE_DIR", sample)
    with pytest.raises(ValueError, match=r"is damaged: data_batch_1\.bin has SHA-256"):
        locate("sample", tmp_path / "cifar10", said)
