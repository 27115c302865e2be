"""The dtype in which this machine trains fastest."""

import dataclasses
import logging
from typing import Any

import tensorflow as tf

from contract import processor

log = logging.getLogger("cifar.train")

AUTO = "auto"
EXACT = "float32"
# What a machine needs for a dtype to be faster than float32. Without it, TensorFlow emulates
# bfloat16; float16 is computed in float32 on every CPU (fast_operations.py).
_CPU_INSTRUCTIONS = {"bfloat16": {"avx512_bf16", "amx_bf16"}, "float16": set()}
_GPU_CAPABILITIES = {"bfloat16": (8, 0), "float16": (7, 0)}  # NVIDIA's Ampere and Volta


def resolved(hyper_parameters: Any) -> Any:
    """Returns the hyper-parameters with the fastest dtype in place of `auto`, if they have one.

    It logs a warning if they name a dtype that is slower here than float32.
    """
    given = getattr(hyper_parameters, "compute_dtype", EXACT)
    if given == AUTO:
        return dataclasses.replace(hyper_parameters, compute_dtype=fastest())
    if given in _CPU_INSTRUCTIONS and not is_fast(given):
        log.warning(
            f"compute_dtype is {given}, but this machine has no instructions for it, so steps "
            f"are slower than with {AUTO} or {EXACT}."
        )
    return hyper_parameters


def fastest() -> str:
    """Returns bfloat16 if this machine computes in it, else float32."""
    return "bfloat16" if is_fast("bfloat16") else EXACT


def is_fast(dtype: str) -> bool:
    """Returns whether all GPUs, or without any the CPU, compute in a dtype of 16 bits."""
    if gpus := tf.config.list_physical_devices("GPU"):
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        needed = _GPU_CAPABILITIES[dtype]
        return all(detail.get("compute_capability", (0, 0)) >= needed for detail in details)
    return not _CPU_INSTRUCTIONS[dtype].isdisjoint(processor.instructions())
