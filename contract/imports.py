"""Imports of TensorFlow and TFX, faster and without remarks."""

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
LOG_WARNINGS = "1"  # where a log file or a cluster keeps what is said
LOG_NOTHING = "3"  # on a terminal: even missing GPU libraries count as errors


@contextlib.contextmanager
def fast() -> Iterator[None]:
    """Makes the imports of TensorFlow and TFX in its body take a quarter less time.

    They make a million objects that stay, and scanning them again and again takes a fifth of
    the time: the garbage collector pauses, and leaves them out of later scans, too. And TFX's
    components are imported one by one.
    """
    import_one_by_one("tfx.components")
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def import_one_by_one(package: str) -> None:
    """Lets the modules of a package be imported without all the others.

    The `__init__` of tfx.components imports every component there is, and with them clients of
    Kubernetes and Docker: a thousand modules that no run uses. So it waits until something is
    asked of the package itself.
    """
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    assert spec and spec.loader
    loader, module = spec.loader, importlib.util.module_from_spec(spec)

    def run_init(name: str) -> Any:
        if name.startswith("__") or importlib.util.find_spec(f"{package}.{name}"):
            raise AttributeError(name)  # a module is imported then
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
    """Leaves out what imports write to standard error, from C++ too; errors are raised."""
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
    """Lets TensorFlow's C++ side log warnings and errors; call it before importing it."""
    os.environ.setdefault(LOG_LEVEL_VARIABLE, LOG_WARNINGS)


def silence() -> None:
    """Keeps third parties' remarks off the terminal; call it before importing TensorFlow.

    Missing GPU libraries and deprecations in the versions we pin are no news to a user.
    """
    os.environ.setdefault(LOG_LEVEL_VARIABLE, LOG_NOTHING)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
