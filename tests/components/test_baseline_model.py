import logging
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from components.baseline_model import LATEST, NONE, find_baseline
from contract import records
from serving import model_registry
from serving.model_registry import Provenance


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> Path:
    """A real SavedModel with a variable."""
    folder = tmp_path_factory.mktemp("saved_model")
    module = tf.Module()
    module.weight = tf.Variable(tf.range(1_000.0))
    tf.saved_model.save(module, str(folder))
    return folder


@pytest.fixture
def serving(tmp_path, saved_model) -> Path:
    """Versions 5 and 20 of training `a`, 10 of `b`; and folders that are no versions."""
    for number, fingerprint in ((5, "a"), (10, "b"), (20, "a")):
        folder = tmp_path / str(number)
        shutil.copytree(saved_model, folder)
        (folder / "assets.extra").mkdir()
        provenance = Provenance(
            training_fingerprint=fingerprint, checksums=model_registry.checksums(folder)
        )
        (folder / "assets.extra/pushed.json").write_text(records.to_json(provenance))
    (tmp_path / "30").mkdir()  # no model in it
    (tmp_path / ".staging-1").mkdir()
    (tmp_path / ".staging-1/saved_model.pb").touch()
    return tmp_path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DATA_FILE = "variables/variables.data-00000-of-00001"
DAMAGE = {
    "graph emptied": lambda folder: (folder / "saved_model.pb").write_bytes(b""),
    "graph cut": lambda folder: cut(folder / "saved_model.pb"),
    "index gone": lambda folder: (folder / "variables/variables.index").unlink(),
    "variables cut": lambda folder: cut(folder / DATA_FILE),
    "variables gone": lambda folder: (folder / DATA_FILE).unlink(),
    "a bit of a variable flipped": lambda folder: flip(folder / DATA_FILE),
}


@pytest.mark.parametrize("has_checksums", [True, False])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_version_is_named_and_the_one_before_is_the_baseline(
    serving, caplog, damage, has_checksums
):
    if not has_checksums:
        for version in (10, 20):
            (serving / str(version) / "assets.extra/pushed.json").unlink()
    DAMAGE[damage](serving / "20")
    with caplog.at_level(logging.WARNING):
        assert find_baseline(serving, LATEST, "c") == serving / "10"
    assert f"{serving / '20'} is broken" in caplog.text
    with pytest.raises(ValueError, match="is the baseline and broken"):
        find_baseline(serving, "20", "c")


def test_a_flipped_bit_of_the_graph_is_found_by_its_checksum(serving):
    flip(serving / "20/saved_model.pb")
    assert find_baseline(serving, LATEST, "c") == serving / "10"


@pytest.mark.parametrize("content", ["", "[]", '{"checksums": "none"}', "{"])
def test_an_unreadable_record_of_a_push_is_named_and_costs_nothing_else(
    serving, caplog, content
):
    record = serving / "20/assets.extra/pushed.json"
    record.write_text(content)
    with caplog.at_level(logging.WARNING):
        versions = model_registry.pushed_versions(serving)
    assert [version.number for version in versions] == [5, 10, 20]
    assert str(record) in caplog.text
    assert find_baseline(serving, LATEST, "c") == serving / "20"


def test_versions_are_numbers_that_hold_a_model(serving):
    numbers = [version.number for version in model_registry.pushed_versions(serving)]
    assert numbers == [5, 10, 20]


def test_the_baseline_is_the_newest_model_trained_differently(serving):
    assert find_baseline(serving, LATEST, "c") == serving / "20"
    assert find_baseline(serving, LATEST, "a") == serving / "10"


def test_a_pushed_folder_without_provenance_is_a_baseline_too(serving):
    (serving / "20/assets.extra/pushed.json").unlink()
    assert find_baseline(serving, LATEST, "a") == serving / "20"


def test_without_a_pushed_model_there_is_no_baseline(tmp_path):
    assert find_baseline(tmp_path, LATEST, "a") is None
    assert find_baseline(tmp_path / "absent", LATEST, "a") is None


def test_a_named_version_is_the_baseline(serving):
    assert find_baseline(serving, "5", "a") == serving / "5"
    assert find_baseline(serving, NONE, "c") is None


def test_a_named_version_that_is_gone_stops_the_run(serving):
    with pytest.raises(FileNotFoundError, match="though it is the baseline"):
        find_baseline(serving, "7", "a")
