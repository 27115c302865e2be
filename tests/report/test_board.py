"""TensorBoard's names of trainings; tests/cli/test_runs.py starts it."""

import time

from report import board, runs
from tests.report.test_runs import keep


def begin_training(output, fingerprint: str) -> None:
    (output / "checkpoints" / fingerprint).mkdir(parents=True)


def test_a_training_is_named_after_the_run_that_began_it(tmp_path):
    for fingerprint in ("aaaa", "bbbb", "cccc"):
        begin_training(tmp_path, fingerprint)
    keep(tmp_path, 1, training_fingerprint="aaaa")
    keep(tmp_path, 2, training_fingerprint="bbbb")
    keep(tmp_path, 3, training_fingerprint="aaaa")  # found in the cache, or went on
    found = board.names_of(tmp_path, runs.read_runs(tmp_path))
    assert {name.strip(): folder.name for name, folder in found.items()} == {
        "2026-01-01T00-00-01": "aaaa",
        "2026-01-01T00-00-02": "bbbb",
        "cccc": "cccc",
    }


def test_trainings_with_what_searches_found_have_names_of_their_own(tmp_path):
    for folder in ("aaaa-0123abcd", "aaaa-4567abcd", "bbbb-89ababcd"):
        begin_training(tmp_path, folder)
    keep(tmp_path, 1, training_fingerprint="aaaa")
    found = board.names_of(tmp_path, runs.read_runs(tmp_path))
    assert {name.replace(" ", ""): folder.name for name, folder in found.items()} == {
        "2026-01-01T00-00-01-0123abcd": "aaaa-0123abcd",
        "2026-01-01T00-00-01-4567abcd": "aaaa-4567abcd",
        "bbbb-89ababcd": "bbbb-89ababcd",
    }


def test_a_training_that_begins_meanwhile_appears(tmp_path, monkeypatch):
    monkeypatch.setattr(board, "SECONDS_BETWEEN_LOOKS", 0.01)
    begin_training(tmp_path, "aaaa")
    with board.named_trainings(tmp_path) as folder:
        assert [path.name for path in folder.iterdir()] == ["aaaa"]
        begin_training(tmp_path, "bbbb")
        deadline = time.monotonic() + 10
        while len(list(folder.iterdir())) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not folder.exists()
    assert (tmp_path / "checkpoints/aaaa").is_dir()
