import json
from pathlib import Path

import pytest

from components.baseline_model import LATEST, NONE, find_baseline
from serving import model_registry


@pytest.fixture
def serving(tmp_path) -> Path:
    """Versions 5 and 20 of training `a`, 10 of `b`; and folders that are no versions."""
    for number, fingerprint in ((5, "a"), (10, "b"), (20, "a")):
        extra = tmp_path / str(number) / "assets.extra"
        extra.mkdir(parents=True)
        (extra / "pushed.json").write_text(json.dumps({"training_fingerprint": fingerprint}))
        (tmp_path / str(number) / "saved_model.pb").touch()
    (tmp_path / "30").mkdir()  # no model in it
    (tmp_path / ".staging-1").mkdir()
    (tmp_path / ".staging-1/saved_model.pb").touch()
    return tmp_path


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
