import dataclasses
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.baseline_model import LATEST, NONE, Executor, find_baseline, version_of
from contract import image_set, records
from serving import model_registry
from serving.baseline import BEST, NEWEST, Candidate
from serving.model_registry import Provenance


@pytest.fixture
def serving(tmp_path) -> Path:
    """Versions 5 and 20 of training `a`, 10 of `b`, as their checksums know them."""
    for number, fingerprint in ((5, "a"), (10, "b"), (20, "a")):
        folder = tmp_path / str(number)
        (folder / "assets.extra").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph")
        provenance = Provenance(
            training_fingerprint=fingerprint, checksums=model_registry.checksums(folder)
        )
        (folder / "assets.extra/pushed.json").write_text(records.to_json(provenance))
    return tmp_path


def find(serving: Path, version: str, training: str) -> Path | None:
    return find_baseline(serving, version, NEWEST, Candidate(training))


def test_the_baseline_is_the_newest_model_trained_differently(serving):
    assert find(serving, LATEST, "c") == serving / "20"
    assert find(serving, LATEST, "a") == serving / "10"


def test_a_broken_version_is_no_baseline_and_an_error_where_it_is_named(serving):
    (serving / "20/saved_model.pb").write_bytes(b"grap")
    assert find(serving, LATEST, "c") == serving / "10"
    with pytest.raises(ValueError, match="is the baseline but is broken"):
        find(serving, "20", "c")


def test_without_a_pushed_model_there_is_no_baseline(tmp_path):
    assert find(tmp_path, LATEST, "a") is None
    assert find(tmp_path / "absent", LATEST, "a") is None


def test_a_named_version_is_the_baseline(serving):
    assert find(serving, "5", "a") == serving / "5"
    assert find(serving, NONE, "c") is None


def test_a_named_version_that_is_gone_stops_the_run(serving):
    with pytest.raises(FileNotFoundError, match="is the baseline but contains"):
        find(serving, "7", "a")


def judge(version: Path, accuracy: float) -> None:
    """Records that a version was trained on data of its own, and judged on the eval `e`."""
    provenance = dataclasses.replace(
        model_registry.read_provenance(version),
        data_fingerprint=version.name,
        eval_fingerprint="e",
        accuracy=accuracy,
    )
    (version / "assets.extra/pushed.json").write_text(records.to_json(provenance))


@pytest.mark.parametrize(("eval_fingerprint", "expected"), [("e", "10"), ("other", "20")])
def test_the_schema_says_on_which_eval_the_baseline_is_the_best(
    serving, tmp_path, eval_fingerprint, expected
):
    judge(serving / "10", 0.9)
    judge(serving / "20", 0.8)
    schema, model = standard_artifacts.Schema(), standard_artifacts.Model()
    schema.set_string_custom_property(image_set.EVAL_FINGERPRINT, eval_fingerprint)
    model.uri = str(tmp_path / "model")
    properties = {
        "model_dir": str(serving),
        "version": LATEST,
        "rule": BEST,
        "candidate": records.to_json(Candidate("c", data_fingerprint="grown")),
    }
    Executor().Do({"schema": [schema]}, {"model": [model]}, properties)
    assert version_of(model) == expected
