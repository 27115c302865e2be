"""Imports of TensorFlow and TFX, faster and without remarks."""

import contextlib
import gc
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Holds Python's garbage collector back while modules are imported.

    They make a million objects that stay, and it looks through them time and again: a fifth of
    the time that importing TFX takes. Nor does it look at them afterwards.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def silence() -> None:
    """Keeps what TensorFlow and its like say while they are imported and used off the terminal.

    GPU libraries that are not there, deprecations in versions we pin: no news to a user. To be
    called before TensorFlow is first imported: its C++ side reads the variable once.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
