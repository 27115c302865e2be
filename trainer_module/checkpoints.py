"""Finds the checkpoint that training resumes from: the newest intact one.

A kill, a full disk or a bad sector can truncate or corrupt a checkpoint, and also the file in
which TensorFlow keeps their names.
"""

import logging
import posixpath
import re
from collections.abc import Sequence

import tensorflow as tf

log = logging.getLogger("cifar.train")

_STATE_FILE = "checkpoint"  # names the checkpoint that TensorFlow resumes from
_PREFIX = re.compile(r"model\.ckpt-\d+")


def newest_step(checkpoint_dir: str) -> int:
    """Returns the step of the newest intact checkpoint; 0 without one."""
    names = _names(checkpoint_dir)
    whole = (name for name in reversed(names) if not _damage(checkpoint_dir, name))
    return _step(next(whole, "model.ckpt-0"))


def repair(checkpoint_dir: str) -> None:
    """Makes the newest intact checkpoint the one that the Estimator finds.

    Removes damaged checkpoints and the files of a killed save; those steps are trained again.
    Only the process that writes checkpoints may call it, before it trains.
    """
    names = _names(checkpoint_dir)
    damages = {}
    while names and (damage := _damage(checkpoint_dir, names[-1])):
        damages[names.pop()] = damage
    newest = names[-1] if names else None
    named = _named_newest(checkpoint_dir)
    if named and named not in (*names, *damages):
        damages[named] = "its index is missing"
    for name, damage in damages.items():
        log.warning(
            f"The checkpoint {posixpath.join(checkpoint_dir, name)} is damaged ({damage}) and "
            f"was removed; training continues from {newest or 'step 0'}."
        )
    _remove_all_but(checkpoint_dir, names)
    if named != newest or not newest:
        _name_all(checkpoint_dir, names)


def _names(checkpoint_dir: str) -> list[str]:
    """Returns the names of all checkpoints with an index, oldest first.

    TensorFlow writes the index after the data. The state file is not used, because it may be
    damaged itself.
    """
    pattern = posixpath.join(checkpoint_dir, "model.ckpt-*.index")
    names = [posixpath.basename(path)[: -len(".index")] for path in tf.io.gfile.glob(pattern)]
    return sorted(filter(_PREFIX.fullmatch, names), key=_step)


def _step(name: str) -> int:
    return int(name.partition("-")[2])


def _damage(checkpoint_dir: str, name: str) -> str:
    """Returns the damage of a checkpoint; empty if there is none.

    Reads every value, because only then TensorFlow checks its checksum (12 MB in 20 ms).

    Raises:
        tf.errors.PermissionDeniedError: The files may not be read.
    """
    try:
        reader = tf.train.load_checkpoint(posixpath.join(checkpoint_dir, name))
        for variable in reader.get_variable_to_shape_map():
            reader.get_tensor(variable)
    except tf.errors.PermissionDeniedError:
        raise
    except (tf.errors.OpError, LookupError, ValueError, RuntimeError) as error:
        return str(error).partition("\n")[0]
    return ""


def _remove_all_but(checkpoint_dir: str, names: Sequence[str]) -> None:
    """Removes all checkpoints except the named ones, and the files of an unfinished save."""
    for path in tf.io.gfile.glob(posixpath.join(checkpoint_dir, "model.ckpt-*")):
        prefix = _PREFIX.match(posixpath.basename(path))
        if tf.io.gfile.isdir(path):  # model.ckpt-<step>_temp
            tf.io.gfile.rmtree(path)
        elif prefix and (prefix[0] not in names or ".tempstate" in path):
            tf.io.gfile.remove(path)
    for name in ("graph.pbtxt", _STATE_FILE):  # each written aside, then renamed
        for path in tf.io.gfile.glob(posixpath.join(checkpoint_dir, f"{name}.tmp*")):
            tf.io.gfile.remove(path)


def _named_newest(checkpoint_dir: str) -> str | None:
    """Returns the checkpoint that TensorFlow would resume from; None without a name."""
    try:
        state = tf.train.get_checkpoint_state(checkpoint_dir)
    except ValueError as error:
        log.warning(f"{posixpath.join(checkpoint_dir, _STATE_FILE)} is damaged: {error}.")
        return None
    return state and posixpath.basename(state.model_checkpoint_path)


def _name_all(checkpoint_dir: str, names: Sequence[str]) -> None:
    """Writes the names of all checkpoints, oldest first; TensorFlow resumes from the last."""
    path = posixpath.join(checkpoint_dir, _STATE_FILE)
    if not names:
        if tf.io.gfile.exists(path):
            tf.io.gfile.remove(path)
        return
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    with tf.io.gfile.GFile(path + ".new", "w") as file:
        file.write("\n".join(lines) + "\n")
    tf.io.gfile.rename(path + ".new", path, overwrite=True)
