"""Checkpoints of TensorFlow's own Saver, damaged in every way we know."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.compat import v1

from trainer_module import checkpoints

DATA = "model.ckpt-12.data-00000-of-00001"
INDEX = "model.ckpt-12.index"


@pytest.fixture(scope="module")
def saved_dir(tmp_path_factory) -> Path:
    """A folder with the checkpoints of steps 4, 8 and 12; to be read only."""
    directory = tmp_path_factory.mktemp("saved")
    with tf.Graph().as_default(), v1.Session() as session:
        step = v1.train.get_or_create_global_step()
        v1.get_variable("weights", [100, 100])
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(sharded=True, save_relative_paths=True)
        for value in (4, 8, 12):
            session.run(step.assign(value))
            saver.save(session, str(directory / "model.ckpt"), step)
    return directory


@pytest.fixture
def checkpoint_dir(saved_dir: Path, tmp_path: Path, caplog) -> Path:
    caplog.set_level(logging.WARNING, "cifar.train")
    return Path(shutil.copytree(saved_dir, tmp_path / "checkpoints"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def assert_goes_on_from(checkpoint_dir: Path, step: int) -> None:
    """TensorFlow itself finds the checkpoint of a step, reads it, and can save another."""
    assert checkpoints.newest_step(str(checkpoint_dir)) == step
    newest = tf.train.latest_checkpoint(str(checkpoint_dir))
    assert newest == str(checkpoint_dir / f"model.ckpt-{step}")
    with tf.Graph().as_default(), v1.Session() as session:
        global_step = v1.train.get_or_create_global_step()
        v1.get_variable("weights", [100, 100])
        saver = v1.train.Saver(sharded=True, save_relative_paths=True, max_to_keep=2)
        saver.restore(session, newest)
        assert session.run(global_step) == step
        state = tf.train.get_checkpoint_state(str(checkpoint_dir))
        saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
        saver.save(session, str(checkpoint_dir / "model.ckpt"), 99)
    assert not (checkpoint_dir / "model.ckpt-4.index").exists()


@pytest.mark.parametrize("damage", [cut, flip, empty, Path.unlink])
@pytest.mark.parametrize("name", [DATA, INDEX])
def test_a_damaged_newest_checkpoint_is_left_for_the_one_before(
    checkpoint_dir: Path, caplog, name: str, damage: Callable[[Path], None]
):
    damage(checkpoint_dir / name)
    assert checkpoints.newest_step(str(checkpoint_dir)) == 8
    checkpoints.repair(str(checkpoint_dir))
    assert f"{checkpoint_dir}/model.ckpt-12 is damaged" in caplog.text
    assert "training continues from model.ckpt-8" in caplog.text
    assert not list(checkpoint_dir.glob("model.ckpt-12*"))
    assert_goes_on_from(checkpoint_dir, 8)


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe", b"garbage: {", b'model_checkpoint_path: "model.ckpt-8"']
)
def test_the_file_of_names_is_written_again(checkpoint_dir: Path, content: bytes | None):
    state = checkpoint_dir / "checkpoint"
    state.unlink() if content is None else state.write_bytes(content)
    checkpoints.repair(str(checkpoint_dir))
    assert_goes_on_from(checkpoint_dir, 12)


def test_whole_checkpoints_are_left_alone(checkpoint_dir: Path, caplog):
    before = {path: path.read_bytes() for path in checkpoint_dir.iterdir()}
    checkpoints.repair(str(checkpoint_dir))
    assert {path: path.read_bytes() for path in checkpoint_dir.iterdir()} == before
    assert caplog.text == ""


def test_what_a_killed_save_left_is_removed(checkpoint_dir: Path, caplog):
    (checkpoint_dir / "model.ckpt-16_temp").mkdir()
    (checkpoint_dir / "model.ckpt-16_temp" / "part-00000-of-00001.index").touch()
    (checkpoint_dir / "model.ckpt-16.data-00000-of-00001").touch()
    (checkpoint_dir / "model.ckpt-12.index.tempstate123").touch()
    (checkpoint_dir / "graph.pbtxt.tmp9f1c").touch()
    (checkpoint_dir / "checkpoint.tmp9f1c").touch()
    checkpoints.repair(str(checkpoint_dir))
    assert not list(checkpoint_dir.glob("model.ckpt-16*"))
    assert not list(checkpoint_dir.glob("*tempstate*")) + list(checkpoint_dir.glob("*.tmp*"))
    assert caplog.text == ""
    assert_goes_on_from(checkpoint_dir, 12)


@pytest.mark.parametrize("content", [None, b"", b"garbage: {"])
def test_without_a_whole_checkpoint_training_starts_anew(
    checkpoint_dir: Path, caplog, content: bytes | None
):
    for path in checkpoint_dir.glob("*.index"):
        empty(path)
    state = checkpoint_dir / "checkpoint"
    state.unlink() if content is None else state.write_bytes(content)
    checkpoints.repair(str(checkpoint_dir))
    assert caplog.text.count("training continues from step 0") == 3
    assert not list(checkpoint_dir.iterdir())
    assert checkpoints.newest_step(str(checkpoint_dir)) == 0


def test_a_new_folder_holds_none(tmp_path: Path):
    checkpoints.repair(str(tmp_path / "new"))
    assert checkpoints.newest_step(str(tmp_path / "new")) == 0
