"""The dtype in which this machine trains fastest."""

import dataclasses
import logging
from typing import Any

import tensorflow as tf

from contract import processor

log = logging.getLogger("cifar.train")

AUTO = "auto"
EXACT = "float32"
# Without them TensorFlow computes in bfloat16 too, but several times slower than in float32.
_CPU_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
_GPU_CAPABILITY = (8, 0)  # NVIDIA's Ampere


def resolved(hyper_parameters: Any) -> Any:
    """Returns the hyper-parameters with the fastest dtype in place of `auto`, if they have one.

    It logs a warning if they name another dtype that is slower here than float32.
    """
    given = getattr(hyper_parameters, "compute_dtype", EXACT)
    if given == EXACT:
        return hyper_parameters
    found = fastest()
    if given == AUTO:
        return dataclasses.replace(hyper_parameters, compute_dtype=found)
    if found == EXACT:
        log.warning(
            f"compute_dtype is {given}, but this machine has no instructions for it, so each "
            f"step takes several times as long as with {AUTO} or {EXACT}."
        )
    return hyper_parameters


def fastest() -> str:
    """Returns bfloat16 if this machine's GPUs, or without any its CPU, compute in it."""
    if gpus := tf.config.list_physical_devices("GPU"):
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        is_quick = all(
            detail.get("compute_capability", (0, 0)) >= _GPU_CAPABILITY for detail in details
        )
    else:
        is_quick = not _CPU_INSTRUCTIONS.isdisjoint(processor.instructions())
    return "bfloat16" if is_quick else EXACT
