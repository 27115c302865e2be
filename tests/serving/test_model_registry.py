import logging
import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf

from contract import records
from serving import baseline, model_registry
from serving.baseline import Candidate
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


def newest_for(serving: Path, training_fingerprint: str) -> int | None:
    version = baseline.choose(serving, Candidate(training_fingerprint), baseline.NEWEST)
    return version.number if version else None


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
def test_a_broken_version_is_named_and_the_one_before_is_taken(
    serving, caplog, damage, has_checksums
):
    if not has_checksums:
        for version in (10, 20):
            (serving / str(version) / "assets.extra/pushed.json").unlink()
    DAMAGE[damage](serving / "20")
    with caplog.at_level(logging.WARNING):
        assert newest_for(serving, "c") == 10
    assert f"{serving / '20'} is broken" in caplog.text


def test_a_flipped_bit_of_the_graph_is_found_by_its_checksum(serving):
    flip(serving / "20/saved_model.pb")
    version = model_registry.read_version(serving / "20")
    assert (
        model_registry.find_fault(version) == "saved_model.pb is not the file that was pushed"
    )


def test_a_whole_version_has_no_fault_with_checksums_or_without(serving):
    assert model_registry.find_fault(model_registry.read_version(serving / "20")) is None
    (serving / "20/assets.extra/pushed.json").unlink()
    assert model_registry.find_fault(model_registry.read_version(serving / "20")) is None


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
    assert newest_for(serving, "c") == 20


def test_versions_are_numbers_that_hold_a_model(serving):
    numbers = [version.number for version in model_registry.pushed_versions(serving)]
    assert numbers == [5, 10, 20]
    assert model_registry.pushed_versions(serving / "absent") == []


@pytest.mark.parametrize("name", ["v3", "-3", "3.0", "+3", "٣", ".staging-3", ""])
def test_names_that_tensorflow_serving_does_not_read_are_no_versions(name):
    assert not model_registry.is_version(name)
    assert model_registry.is_version("0003")


def test_a_model_is_not_compared_with_its_equal(serving):
    assert newest_for(serving, "c") == 20
    assert newest_for(serving, "a") == 10
    (serving / "20/assets.extra/pushed.json").unlink()  # it no longer says that it is an equal
    assert newest_for(serving, "a") == 20


def test_checksums_are_those_of_sha256sum(serving):
    found = model_registry.checksums(serving / "5")
    listed = subprocess.run(
        ["sha256sum", *found], cwd=serving / "5", capture_output=True, text=True, check=True
    ).stdout
    assert listed == "".join(f"{digest}  {name}\n" for name, digest in found.items())
    assert "saved_model.pb" in found
    assert not [name for name in found if name.startswith("assets.extra")]
