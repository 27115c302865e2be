"""Which version the gate compares a candidate with."""

from pathlib import Path

import pytest

from serving import baseline, model_registry, rollback, version_store
from serving.baseline import BEST, NEWEST, Candidate
from serving.model_registry import Provenance

CANDIDATE = Candidate("new", data_fingerprint="data", eval_fingerprint="eval")


@pytest.fixture
def serving(tmp_path) -> Path:
    return tmp_path / "cifar10"


def push(serving: Path, training: str, accuracy: float | None, of: str = "eval") -> int:
    """Pushes a model that was judged on an eval."""
    model = serving.parent / f"model-{training}"
    model.mkdir(exist_ok=True)
    (model / "saved_model.pb").write_text(training)
    provenance = Provenance(
        training_fingerprint=training,
        checksums=model_registry.checksums(model),
        eval_fingerprint=of,
        accuracy=accuracy,
    )
    return int(version_store.push(model, serving, provenance).name)


def chosen(serving: Path, rule: str = BEST, candidate: Candidate = CANDIDATE) -> int | None:
    version = baseline.choose(serving, candidate, rule)
    return version.number if version else None


def test_small_steps_down_do_not_add_up(serving):
    best = push(serving, "a", 0.25)
    newest = [push(serving, name, 0.25 - step / 100) for step, name in enumerate("bcde", 1)][-1]
    assert chosen(serving) == best
    assert chosen(serving, NEWEST) == newest


def test_the_best_is_not_retired_while_others_are_judged_on_its_eval(serving):
    best = push(serving, "a", 0.25)
    others = [push(serving, name, 0.24) for name in "bcde"]
    version_store.retire_old_versions(serving, keep_versions=2)
    kept = [version.number for version in model_registry.pushed_versions(serving)]
    assert kept == [best, *others[-2:]]
    push(serving, "f", 0.2, of="another eval")
    version_store.retire_old_versions(serving, keep_versions=2)
    assert best not in [version.number for version in model_registry.pushed_versions(serving)]


def test_a_version_judged_on_other_images_is_only_taken_where_there_is_no_better_known(serving):
    other = push(serving, "a", 0.99, of="easier")
    assert chosen(serving) == other
    same = push(serving, "b", 0.5)
    push(serving, "c", 0.99, of="easier")
    assert chosen(serving) == same


def test_a_model_is_not_compared_with_its_equal_nor_with_a_broken_or_banned_one(serving):
    good = push(serving, "a", 0.5)
    broken, banned = push(serving, "b", 0.6), push(serving, "c", 0.7)
    push(serving, "new", 0.8)
    assert chosen(serving) == banned
    push(serving, "c", 0.7)
    rollback.roll_back(serving, good)
    (serving / str(broken) / "saved_model.pb").write_text("torn")
    version = baseline.choose(serving, CANDIDATE)
    assert version and version.provenance.training_fingerprint == "a"


def test_of_equals_the_newest_is_taken(serving):
    push(serving, "a", 0.5)
    assert chosen(serving) != push(serving, "b", 0.5) or chosen(serving)
    assert chosen(serving) == max(v.number for v in model_registry.pushed_versions(serving))


def test_the_data_stand_for_the_eval_where_nobody_looked(serving):
    push(serving, "old", 0.9, of="")
    candidate = Candidate("new", data_fingerprint="data")
    provenance = Provenance(accuracy=0.5, data_fingerprint="data")
    assert baseline.accuracy_on(candidate, provenance) == 0.5
    assert baseline.accuracy_on(candidate, Provenance(accuracy=0.5)) == -1
