"""Child processes that end with their parent, however it ends."""

import os
import sys
from collections.abc import Sequence

# Runs in the child before it execs the command, because `preexec_fn` is not safe in a process
# with threads. The kernel keeps the setting across exec (prctl(2), PR_SET_PDEATHSIG = 1).
_LAUNCHER = """
import ctypes, os, signal, sys
parent, command = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit("The process that started this one has ended.")
os.execvp(command[0], command)
"""


def bound_to_parent(command: Sequence[str]) -> list[str]:
    """Returns a command that runs `command` in the same process, until this process ends.

    On Linux the kernel kills it even when this process is killed. The kernel watches the thread
    that starts the child, so that thread must live as long as the child.
    """
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
