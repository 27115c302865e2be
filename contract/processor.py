"""The processor of this machine, as Linux describes it in /proc/cpuinfo."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def name() -> str:
    """Returns the name of the model, or the architecture where Linux does not tell it."""
    return _field("model name") or platform.machine()


def instructions() -> frozenset[str]:
    """Returns the names of the instruction sets, such as `avx2`; empty where unknown."""
    return frozenset(_field("flags").split())


def _field(wanted: str) -> str:
    """Returns a field of the first core; empty if there is none."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in fields if name.strip() == wanted), "")
