"""What a clean-up deletes from the volume of the steps."""

import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from components import trainer
from contract import records
from kubeflow import volume
from serving.model_registry import PROVENANCE_FILE, Provenance


@pytest.fixture
def shared(tmp_path) -> Path:
    """A volume with five trainings, a the oldest, of which b was pushed; and two searches."""
    for place, age in (
        *((f"checkpoints/{name}", n) for n, name in enumerate("abcde")),
        *SEARCHES,
    ):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "model.ckpt").write_bytes(b"x" * 1000)
        os.utime(folder / "model.ckpt", (age, age))
    pushed = tmp_path / "serving/cifar10/17" / PROVENANCE_FILE
    pushed.parent.mkdir(parents=True)
    pushed.write_text(records.to_json(Provenance("b")))
    return tmp_path


SEARCHES = (("tuning/old", 1), ("tuning/new", 2))


def left(folder: Path) -> set[str]:
    places = (*folder.glob("checkpoints/*"), *folder.glob("tuning/*"))
    return {place.name for place in places if place.is_dir()}


def test_the_newest_and_those_of_pushed_versions_stay(shared):
    would = volume.clean(shared, 2, dry_run=True)
    assert left(shared) == {*"abcde", "old", "new"}
    done = volume.clean(shared, 2)
    assert {folder.name for folder in done.deleted} == {"a", "c"}
    assert done.size_bytes == would.size_bytes == 2000
    assert left(shared) == {*"bde", "old", "new"}
    assert volume.clean(shared, 2).deleted == []
    assert {folder.name for folder in volume.clean(shared, 1).deleted} == {"d", "old"}


def test_the_search_of_a_pushed_version_stays_too(shared):
    pushed = shared / "serving/cifar10/17" / PROVENANCE_FILE
    pushed.write_text(records.to_json(Provenance("old.20")))
    volume.clean(shared, 1)
    assert left(shared) == {"e", "old", "new"}


def searched(shared: Path, training: str) -> Path:
    """Makes the folder of a training, the oldest, with the values that a search found."""
    folder = shared / f"checkpoints/{training}"
    return folder.rename(folder.with_name(f"{training}-0123abcd"))


def test_the_training_of_a_pushed_version_stays_with_what_a_search_found(shared):
    searched(shared, "b")
    assert {folder.name for folder in volume.clean(shared, 1).deleted} == {*"acd", "old"}
    assert left(shared) == {"b-0123abcd", "e", "new"}


def test_no_lock_is_left_of_what_was_deleted(shared):
    with trainer.sole_user(volume.lock_of(shared / "checkpoints/a")):
        pass  # as a step does
    volume.clean(shared, 1)
    assert not list(shared.glob("*/*.lock"))


def test_what_a_killed_beam_step_left_goes_after_a_week(shared):
    for name, age_days in (("old-Evaluator", 8), ("new-Evaluator", 6)):
        output = shared / "beam" / name / "outputs"
        output.mkdir(parents=True)
        (output / "half").write_bytes(b"x" * 1000)
        then = time.time() - age_days * 86_400
        for path in (output / "half", output):
            os.utime(path, (then, then))
    would = volume.clean(shared, 9, dry_run=True)
    assert [folder.name for folder in would.deleted] == ["old-Evaluator"]
    done = volume.clean(shared, 9)
    assert (done.deleted, done.size_bytes) == (would.deleted, 1000)
    assert [folder.name for folder in (shared / "beam").iterdir()] == ["new-Evaluator"]


def test_a_training_in_progress_stays(shared):
    with trainer.sole_user(volume.lock_of(shared / "checkpoints/a")):
        done = volume.clean(shared, 1)
    assert [folder.name for folder in done.in_use] == ["a"]
    assert "1 more are in use" in done.in_words(dry_run=False)
    assert "a" in left(shared)
    assert [folder.name for folder in volume.clean(shared, 1).deleted] == ["a"]


def test_a_training_in_progress_with_what_a_search_found_stays(shared):
    step_lock = volume.lock_of(shared / "checkpoints/a")  # before anything was found
    folder = searched(shared, "a")
    with trainer.sole_user(step_lock):
        assert volume.clean(shared, 1).in_use == [folder]
    assert folder in volume.clean(shared, 1).deleted


def test_the_command_says_what_it_deleted(shared):
    def run(*options: str) -> str:
        result = CliRunner().invoke(main, ["kubeflow", "clean", str(shared), *options])
        return result.output.strip()

    assert run("--keep", "2", "--dry-run") == "Would delete 2 folders, 0.0 MB."
    assert run("--keep", "2") == "Deleted 2 folders, 0.0 MB."
    assert left(shared) == {*"bde", "old", "new"}


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no folder checkpoints"):
        volume.clean(tmp_path, 1)
