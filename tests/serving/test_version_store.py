import dataclasses
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving import model_registry, version_store
from serving.model_registry import Provenance

PROVENANCE = Provenance(
    training_fingerprint="f1",
    model_artifact_id=7,
    model_artifact_uri="/m",
    checksums={"saved_model.pb": hashlib.sha256(b"graph").hexdigest()},
)
OTHER = dataclasses.replace(PROVENANCE, training_fingerprint="f2")


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder laid out as a SavedModel."""
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"index")
    return folder


def hidden(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    return [name for name in names if name != ".versions.json"]


def versions(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[0-9]*"))


def test_a_pushed_version_holds_the_model_and_where_it_came_from(model, tmp_path):
    version = version_store.push(model, tmp_path / "serving/cifar10", PROVENANCE)
    assert (version / "saved_model.pb").read_bytes() == b"graph"
    assert (version / "variables/variables.index").read_bytes() == b"index"
    assert (version / "assets.extra/mlmd_uuid").read_text() == "7\n"
    said = json.loads((version / "assets.extra/pushed.json").read_text())
    assert said == dataclasses.asdict(PROVENANCE)
    (pushed,) = model_registry.pushed_versions(version.parent)
    assert (pushed.path, pushed.provenance) == (version, PROVENANCE)


def test_a_watcher_never_sees_a_version_without_its_model(model, tmp_path):
    (model / "variables/variables.data").write_bytes(b"x" * 20_000_000)
    serving = tmp_path / "serving"
    serving.mkdir()
    seen, torn, stop = set(), [], threading.Event()

    def watch():
        while not stop.is_set():
            for path in list(serving.iterdir()):
                if model_registry.is_version(path.name):
                    seen.add(path.name)
                    data = path / "variables/variables.data"
                    if not data.is_file() or data.stat().st_size != 20_000_000:
                        torn.append(path.name)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        pushed = {version_store.push(model, serving, PROVENANCE).name for _ in range(5)}
        deadline = time.monotonic() + 20
        while seen != pushed and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        stop.set()
        watcher.join()
    assert seen == pushed
    assert torn == []


def test_versions_rise_even_when_the_clock_falls_back(model, tmp_path, monkeypatch):
    first = version_store.push(model, tmp_path / "serving", PROVENANCE)
    monkeypatch.setattr(version_store.time, "time", lambda: 1_000.0)
    second = version_store.push(model, tmp_path / "serving", PROVENANCE)
    assert int(second.name) == int(first.name) + 1


def test_a_version_is_the_unix_time(model, tmp_path):
    before = int(time.time())
    version = version_store.push(model, tmp_path / "serving", PROVENANCE)
    assert before <= int(version.name) <= time.time()


def test_a_folder_that_holds_no_model_is_not_overwritten_either(model, tmp_path, monkeypatch):
    taken = tmp_path / "serving/5000"
    taken.mkdir(parents=True)
    (taken / "note").write_text("mine")
    monkeypatch.setattr(version_store.time, "time", lambda: 5_000.0)
    assert version_store.push(model, tmp_path / "serving", PROVENANCE).name == "5001"
    assert (taken / "note").read_text() == "mine"


def test_a_push_that_fails_leaves_nothing_behind(model, tmp_path, monkeypatch):
    first = version_store.push(model, tmp_path / "serving", PROVENANCE)

    def full_disk(source, target, dirs_exist_ok):
        (Path(target) / "saved_model.pb").write_bytes(b"gra")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(version_store.shutil, "copytree", full_disk)
    with pytest.raises(OSError, match="No space left"):
        version_store.push(model, tmp_path / "serving", PROVENANCE)
    assert versions(tmp_path / "serving") == [first.name]
    assert hidden(tmp_path / "serving") == []


def test_the_newest_versions_are_kept(model, tmp_path):
    serving = tmp_path / "serving"
    pushed = [version_store.push(model, serving, PROVENANCE).name for _ in range(5)]
    version_store.retire_old_versions(serving, keep_versions=2)
    assert versions(serving) == pushed[-2:]
    assert hidden(serving) == []


PUSH_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from serving import version_store
from serving.model_registry import Provenance
version_store._flush_to_disk = lambda folder: (print(folder, flush=True), time.sleep(100))
version_store.push(Path(sys.argv[1]), Path(sys.argv[2]), Provenance(model_artifact_id=7))
"""


def test_what_a_killed_push_left_is_removed_and_one_under_way_is_not(model, tmp_path):
    serving = tmp_path / "serving"
    command = [sys.executable, "-c", PUSH_UNTIL_KILLED, str(model), str(serving)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        staging = Path(process.stdout.readline().strip())
        version_store.remove_abandoned(serving)
        assert hidden(serving) == [staging.name]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    version_store.remove_abandoned(serving)
    assert hidden(serving) == []


def test_a_push_of_another_machine_has_an_hour(tmp_path):
    abandoned = tmp_path / ".staging-elsewhere-1"
    abandoned.mkdir()
    (tmp_path / ".staging-elsewhere-2").mkdir()
    (tmp_path / ".retired-5").mkdir()
    an_hour_ago = time.time() - 4_000
    os.utime(abandoned, (an_hour_ago, an_hour_ago))
    version_store.remove_abandoned(tmp_path)
    assert hidden(tmp_path) == [".staging-elsewhere-2"]


def test_a_push_whose_run_was_killed_is_not_made_twice(model, tmp_path):
    version = version_store.push(model, tmp_path, PROVENANCE)
    assert version_store.find_pushed(tmp_path, PROVENANCE) == version
    elsewhere = dataclasses.replace(PROVENANCE, model_artifact_uri="/n")
    assert version_store.find_pushed(tmp_path, elsewhere) == version
    assert version_store.find_pushed(tmp_path, OTHER) is None
    changed = dataclasses.replace(PROVENANCE, checksums={"a": "b"})
    assert version_store.find_pushed(tmp_path, changed) is None


PUSH_AT_ONCE = """
import sys
from pathlib import Path
from serving import model_registry, version_store
from serving.model_registry import Provenance
model, serving = map(Path, sys.argv[1:])
provenance = Provenance(training_fingerprint="f", checksums=model_registry.checksums(model))
find_equal = lambda: version_store.find_pushed(serving, provenance)
version_store._flush_to_disk = lambda folder: (print(flush=True), input())
print(version_store.push(model, serving, provenance, find_equal).name)
"""


def test_two_runs_that_push_one_model_at_once_push_it_once(model, tmp_path):
    serving = tmp_path / "serving"
    command = [sys.executable, "-c", PUSH_AT_ONCE, str(model), str(serving)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in processes:
        process.stdout.readline()  # both have copied it beside the versions
    names = {process.communicate("\n", timeout=60)[0].strip() for process in processes}
    assert names == set(versions(serving)) and len(names) == 1
    assert hidden(serving) == []


def test_a_push_that_is_broken_or_not_the_newest_is_made_again(model, tmp_path):
    first = version_store.push(model, tmp_path, PROVENANCE)
    (first / "saved_model.pb").write_bytes(b"grap")
    assert version_store.find_pushed(tmp_path, PROVENANCE) is None
    (first / "saved_model.pb").write_bytes(b"graph")
    version_store.push(model, tmp_path, OTHER)
    assert version_store.find_pushed(tmp_path, PROVENANCE) is None
