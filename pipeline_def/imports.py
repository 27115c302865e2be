"""Imports of TensorFlow and TFX, faster."""

import contextlib
import gc
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
