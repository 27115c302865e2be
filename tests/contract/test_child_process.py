"""Children end with their parent, even if it is killed."""

import signal
import subprocess
import sys

import pytest

from contract.child_process import bound_to_parent
from tests.processes import command_of, descendants, is_running, wait_until

SLEEPER = """
import subprocess, time
from contract.child_process import bound_to_parent
print(subprocess.Popen(bound_to_parent(["sleep", "100"])).pid, flush=True)
time.sleep(100)
"""
SERVER = """
from serving.model_server.process import ServerProcess
with ServerProcess("--model_name=m", "--model_base_path=/nowhere"):
    pass
"""


def test_the_command_runs_in_the_very_process_that_was_started():
    child = subprocess.Popen(
        bound_to_parent([sys.executable, "-c", "import os; print(os.getpid())"]),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.communicate()[0] == f"{child.pid}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of Linux")
def test_a_child_ends_with_a_parent_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    wait_until(lambda: command_of(child).startswith("sleep"))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    wait_until(lambda: not is_running(child))


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of Linux")
def test_a_model_server_ends_with_a_parent_that_is_killed_while_it_starts():
    parent = subprocess.Popen([sys.executable, "-c", SERVER])
    wait_until(lambda: descendants(parent.pid))
    (child,) = descendants(parent.pid)
    wait_until(lambda: "-m serving.model_server" in command_of(child))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not is_running(child))
