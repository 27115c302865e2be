"""Manual changes to versions, on folders laid out like the Pusher's."""

import dataclasses
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from serving import model_registry, rollback, version_ledger, version_store
from serving.model_registry import Provenance


def push(serving: Path, training: str, accuracy: float = 0.8) -> int:
    """Pushes a model of a training, whose graph is the training's name."""
    model = serving.parent / f"model-{training}"
    model.mkdir(exist_ok=True)
    (model / "saved_model.pb").write_text(training)
    provenance = Provenance(
        training_fingerprint=training,
        checksums=model_registry.checksums(model),
        accuracy=accuracy,
    )
    return int(version_store.push(model, serving, provenance).name)


@pytest.fixture
def serving(tmp_path) -> Path:
    return tmp_path / "cifar10"


def states(serving: Path) -> dict[int, str]:
    return {one.number: one.state for one in version_ledger.list_versions(serving)}


def served(serving: Path) -> str:
    """Returns the training that TensorFlow Serving would serve: the highest number's."""
    newest = max((path for path in serving.glob("[0-9]*")), key=lambda path: int(path.name))
    return (newest / "saved_model.pb").read_text()


def test_a_rollback_serves_the_model_before_under_a_new_number(serving):
    good, bad = push(serving, "good"), push(serving, "bad")
    change = rollback.roll_back(serving)
    assert (change.restored, change.replaced) == (good, bad)
    assert change.version > bad
    assert served(serving) == "good"
    assert states(serving) == {good: "kept", bad: "quarantined", change.version: "served"}
    restored = model_registry.read_version(serving / str(change.version))
    assert restored.provenance.restored_from == good
    assert restored.provenance.training_fingerprint == "good"
    assert model_registry.find_fault(restored) is None
    assert not (serving / str(bad)).exists()


def test_a_quarantined_model_is_not_pushed_again_until_it_is_released(serving):
    push(serving, "good")
    bad = push(serving, "bad")
    provenance = Provenance(training_fingerprint="bad")
    assert version_ledger.find_ban(serving, provenance) is None
    rollback.roll_back(serving)
    assert version_ledger.find_ban(serving, provenance) == bad
    same_files = model_registry.read_provenance(serving / f".quarantined-{bad}").checksums
    other_name = Provenance(training_fingerprint="other", checksums=same_files)
    assert version_ledger.find_ban(serving, other_name) == bad
    rollback.release(serving, bad)
    assert version_ledger.find_ban(serving, provenance) is None
    assert states(serving)[bad] == "kept"
    assert served(serving) == "good"


def test_a_rollback_is_undone_by_two_commands(serving):
    good, bad = push(serving, "good"), push(serving, "bad")
    restored = rollback.roll_back(serving).version
    rollback.release(serving, bad)
    again = rollback.roll_back(serving, bad, quarantine=False).version
    assert served(serving) == "bad"
    assert states(serving) == {good: "kept", bad: "kept", restored: "kept", again: "served"}


def test_every_kept_version_of_the_bad_model_is_quarantined(serving):
    push(serving, "good")
    first, second = push(serving, "bad"), push(serving, "bad")
    assert list(rollback.roll_back(serving).quarantined) == [first, second]
    assert served(serving) == "good"
    rollback.release(serving, second)
    assert version_ledger.find_ban(serving, Provenance(training_fingerprint="bad")) is None
    assert states(serving)[first] == states(serving)[second] == "kept"


def test_a_rollback_after_a_rollback_goes_further_back(serving):
    for training in ("oldest", "middle", "newest"):
        push(serving, training)
    rollback.roll_back(serving)
    assert served(serving) == "middle"
    rollback.roll_back(serving)
    assert served(serving) == "oldest"
    with pytest.raises(LookupError, match="has no intact version of a model other"):
        rollback.roll_back(serving)


def test_a_rollback_passes_over_a_broken_version(serving):
    push(serving, "oldest")
    middle = push(serving, "middle")
    push(serving, "newest")
    (serving / str(middle) / "saved_model.pb").write_text("torn")
    with pytest.raises(ValueError, match="is broken"):
        rollback.roll_back(serving, middle)
    rollback.roll_back(serving)
    assert served(serving) == "oldest"


def test_a_rollback_that_was_killed_is_finished_by_the_next(serving, monkeypatch):
    good, bad = push(serving, "good"), push(serving, "bad")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(version_store, "push", killed)
        rollback.roll_back(serving)
    assert states(serving) == {good: "kept", bad: "served"}
    rollback.roll_back(serving)
    assert served(serving) == "good"
    assert states(serving)[bad] == "quarantined"


def test_a_rollback_killed_after_its_push_hides_the_bad_version_with_the_next_change(
    serving, monkeypatch
):
    _, bad = push(serving, "good"), push(serving, "bad")
    finish, calls = rollback.finish_quarantine, []

    def killed_the_second_time(folder):
        calls.append(folder)
        if len(calls) == 2:
            raise KeyboardInterrupt
        finish(folder)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rollback, "finish_quarantine", killed_the_second_time)
        rollback.roll_back(serving)
    assert served(serving) == "good"
    assert states(serving)[bad] == "quarantined"
    assert version_ledger.find_ban(serving, Provenance(training_fingerprint="bad")) == bad


KILLED = 9
RENAMES = ["mark", "push", "record the version", "hide", "record the change"]


def roll_back_until(serving: Path, step: int, version: int | None) -> int | None:
    """Rolls back in a process that is killed instead of its rename number `step`."""

    def be_killed() -> None:
        rename, renames = Path.rename, iter(range(step))

        def rename_or_die(path: Path, target: Path) -> Path:
            if next(renames, None) is None:
                os._exit(KILLED)
            return rename(path, target)

        Path.rename = rename_or_die  # type: ignore[assignment, method-assign]
        rollback.roll_back(serving, version)

    process = multiprocessing.get_context("fork").Process(target=be_killed)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("is_named", [False, True], ids=["newest other", "by number"])
@pytest.mark.parametrize("step", range(len(RENAMES)), ids=RENAMES)
def test_a_rollback_killed_at_any_step_is_finished_by_the_same_command(serving, step, is_named):
    old, good, bad = (push(serving, name) for name in ("old", "good", "bad"))
    version = good if is_named else None
    assert roll_back_until(serving, step, version) == KILLED
    change = rollback.roll_back(serving, version)
    assert served(serving) == "good"
    assert states(serving) == {
        old: "kept",
        good: "kept",
        bad: "quarantined",
        change.version: "served",
    }
    assert (change.restored, change.replaced, change.quarantined) == (good, bad, [bad])
    assert version_ledger.read(serving).changes == [change]


def test_a_rollback_that_is_complete_does_not_harm_the_model_it_restored(serving):
    old, good, bad = (push(serving, name) for name in ("old", "good", "bad"))
    assert roll_back_until(serving, len(RENAMES), good) == 0
    before = states(serving)
    with pytest.raises(ValueError, match=f"already contains the model of {good}"):
        rollback.roll_back(serving, good)
    assert states(serving) == before
    assert [before[number] for number in (old, good, bad)] == ["kept", "kept", "quarantined"]


def test_a_killed_rollback_is_recorded_before_one_to_another_version(serving):
    old, good, bad = (push(serving, name) for name in ("old", "good", "bad"))
    assert roll_back_until(serving, RENAMES.index("hide"), good) == KILLED
    change = rollback.roll_back(serving, old, quarantine=False)
    assert served(serving) == "old"
    killed, last = version_ledger.read(serving).changes
    assert (killed.restored, killed.replaced) == (good, bad)
    assert last == change
    assert (last.restored, last.replaced) == (old, killed.version)


def test_a_push_after_a_killed_rollback_is_replaced_by_the_next(serving):
    push(serving, "good"), push(serving, "bad")
    assert roll_back_until(serving, RENAMES.index("hide"), None) == KILLED
    worse = push(serving, "worse")
    assert rollback.roll_back(serving).replaced == worse
    assert served(serving) == "good"


def test_a_damaged_version_is_replaced_by_a_whole_one_of_its_model(serving):
    whole, damaged = push(serving, "good"), push(serving, "good")
    (serving / str(damaged) / "saved_model.pb").write_text("torn")
    change = rollback.roll_back(serving, whole)
    assert served(serving) == "good"
    assert change.quarantined == []
    assert states(serving) == {whole: "kept", damaged: "kept", change.version: "served"}


@pytest.mark.parametrize("wrong", ["absent", "served", "quarantined"])
def test_a_version_that_cannot_be_served_again_is_refused(serving, wrong):
    good, bad = push(serving, "good"), push(serving, "bad")
    new = rollback.roll_back(serving).version
    before = states(serving)
    number = {"absent": 7, "served": new, "quarantined": bad}[wrong]
    words = {
        "absent": f"It has: {good}, {new}",
        "served": "already",
        "quarantined": "--release",
    }
    with pytest.raises((LookupError, ValueError), match=words[wrong]):
        rollback.roll_back(serving, number)
    assert states(serving) == before


def test_a_version_deleted_by_hand_does_not_come_back(serving):
    push(serving, "good")
    bad = push(serving, "bad")
    shutil.rmtree(serving / str(bad))
    assert states(serving)[bad] == "deleted"
    assert version_ledger.find_ban(serving, Provenance(training_fingerprint="bad")) == bad
    rollback.release(serving, bad)
    assert version_ledger.find_ban(serving, Provenance(training_fingerprint="bad")) is None


def test_a_retired_or_damaged_version_may_be_pushed_again(serving):
    retired, damaged = push(serving, "old"), push(serving, "new")
    version_store.retire_old_versions(serving, keep_versions=1)
    (serving / str(damaged) / "saved_model.pb").unlink()
    assert states(serving) == {retired: "retired", damaged: "retired"}
    for training in ("old", "new"):
        provenance = Provenance(training_fingerprint=training)
        assert version_ledger.find_ban(serving, provenance) is None


def test_a_number_is_never_used_twice(serving, monkeypatch):
    monkeypatch.setattr(version_store.time, "time", lambda: 1_000.0)
    assert [push(serving, "a"), push(serving, "b")] == [1000, 1001]
    shutil.rmtree(serving / "1001")
    assert push(serving, "c") == 1002


def test_a_pinned_version_is_never_retired_and_does_not_count(serving):
    numbers = [push(serving, name) for name in "abcd"]
    rollback.pin(serving, numbers[0])
    version_store.retire_old_versions(serving, keep_versions=2)
    kept = [version.number for version in model_registry.pushed_versions(serving)]
    assert kept == [numbers[0], *numbers[2:]]
    rollback.pin(serving, numbers[0], is_pinned=False)
    version_store.retire_old_versions(serving, keep_versions=2)
    assert states(serving)[numbers[0]] == "retired"
    with pytest.raises(LookupError, match=f"has no version {numbers[0]}"):
        rollback.pin(serving, numbers[0])


def test_the_files_in_quarantine_are_bounded_and_their_ban_is_not(serving):
    push(serving, "good")
    for name in ("bad", "worse", "worst"):
        push(serving, name)
        rollback.roll_back(serving)
    assert len(list(serving.glob(".quarantined-*"))) == 3
    version_store.retire_old_versions(serving, keep_versions=1)
    assert len(list(serving.glob(".quarantined-*"))) == 1
    assert version_ledger.find_ban(serving, Provenance(training_fingerprint="bad"))


def test_what_is_there_survives_a_damaged_ledger(serving, caplog):
    good, bad = push(serving, "good"), push(serving, "bad")
    new = rollback.roll_back(serving).version
    (serving / ".versions.json").write_text("{")
    assert states(serving) == {good: "kept", bad: "quarantined", new: "served"}
    assert "cannot be read" in caplog.text
    assert version_ledger.find_ban(serving, Provenance(training_fingerprint="bad")) == bad


def test_the_lines_after_a_rollback_undo_it(serving):
    _, bad = push(serving, "good"), push(serving, "bad")
    text = "\n".join(rollback.rolled_back_lines(rollback.roll_back(serving)))
    assert f"cifar rollback --release {bad} && cifar rollback {bad} --no-quarantine" in text
    assert "TensorFlow Serving" in text


def test_every_change_is_in_the_ledger(serving):
    good, bad = push(serving, "good"), push(serving, "bad")
    new = rollback.roll_back(serving).version
    rollback.pin(serving, good)
    rollback.release(serving, bad)
    changes = version_ledger.read(serving).changes
    said = [(change.action, change.version) for change in changes]
    assert said == [("rollback", new), ("pin", good), ("release", bad)]
    assert json.loads((serving / ".versions.json").read_text())["changes"][0] == {
        **dataclasses.asdict(changes[0]),
        "quarantined": [bad],
    }
