"""Imports TensorFlow and TFX faster and without their warnings."""

import contextlib
import gc
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOG_LEVEL_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"  # read once, when TensorFlow is first imported
LOG_WARNINGS = "1"  # for log files and clusters
LOG_NOTHING = "3"  # on a terminal: even missing GPU libraries count as errors


@contextlib.contextmanager
def fast() -> Iterator[None]:
    """Makes the imports of TensorFlow and TFX in its body take a quarter less time.

    They create a million objects that stay, and scanning them repeatedly takes a fifth of the
    time. So the garbage collector pauses, and later scans skip these objects. TFX's components
    are imported one by one.
    """
    import_one_by_one("tfx.components")
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def import_one_by_one(package: str) -> None:
    """Lets modules of a package be imported without all the others.

    The `__init__` of tfx.components imports every component, and with them the clients of
    Kubernetes and Docker: a thousand modules that no run uses. So it only runs when an
    attribute of the package itself is used.
    """
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    assert spec and spec.loader
    loader, module = spec.loader, importlib.util.module_from_spec(spec)

    def run_init(name: str) -> Any:
        if name.startswith("__") or importlib.util.find_spec(f"{package}.{name}"):
            raise AttributeError(name)  # Python then imports the module
        del module.__dict__["__getattr__"]
        loader.exec_module(module)
        return getattr(module, name)

    module.__dict__["__getattr__"] = run_init
    sys.modules[package] = module
    parent, _, child = package.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


@contextlib.contextmanager
def remarks_left_out() -> Iterator[None]:
    """Discards what imports write to standard error, even from C++; exceptions still rise."""
    terminal = os.dup(2)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)


def log_warnings() -> None:
    """Lets TensorFlow's C++ code log warnings and errors; call it before importing it."""
    os.environ.setdefault(LOG_LEVEL_VARIABLE, LOG_WARNINGS)


def silence() -> None:
    """Keeps third-party warnings off the terminal; call it before importing TensorFlow.

    Missing GPU libraries and deprecations in pinned versions do not concern users.
    """
    os.environ.setdefault(LOG_LEVEL_VARIABLE, LOG_NOTHING)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
