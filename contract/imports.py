"""Imports of TensorFlow and TFX, faster and without remarks."""

import contextlib
import gc
import logging
import os
import warnings
from collections.abc import Iterator

LOG_LEVEL_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"  # read once, when TensorFlow is first imported
LOG_WARNINGS = "1"  # where a log file or a cluster keeps what is said
LOG_NOTHING = "3"  # on a terminal: even missing GPU libraries count as errors


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pauses Python's garbage collector while modules are imported.

    The imports make a million objects that stay, and scanning them again and again takes a
    fifth of the time of importing TFX. They are left out of later scans, too.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


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
