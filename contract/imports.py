"""Imports TensorFlow and TFX faster, without their warnings and with the fastest kernels."""

import contextlib
import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from contract import lazy_modules, processor

LOG_LEVEL_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"  # read once, when TensorFlow is first imported
LOG_WARNINGS = "1"  # for log files and clusters
LOG_NOTHING = "3"  # on a terminal: even missing GPU libraries count as errors
ONEDNN_VARIABLE = "TF_ENABLE_ONEDNN_OPTS"  # read once too


@contextlib.contextmanager
def fast() -> Iterator[None]:
    """Makes the imports of TensorFlow and TFX in its body take a third less time.

    From then on, seldom used modules run on their first use. The others create a million
    objects that stay, and scanning them repeatedly takes a fifth of the time. So the garbage
    collector pauses, and later scans skip these objects. TensorFlow computes with oneDNN.
    """
    use_onednn()
    lazy_modules.make_lazy(lazy_modules.SELDOM_USED)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


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


def use_onednn() -> None:
    """Lets TensorFlow compute with oneDNN; call it before importing TensorFlow.

    On a CPU with AVX2 but without AVX512-VNNI, TensorFlow's default is Eigen, with which a
    training takes 1.5 times as long. A variable that the user has set stays.
    """
    if "avx2" in processor.instructions():
        os.environ.setdefault(ONEDNN_VARIABLE, "1")


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
