"""Real signals, to this process and to others."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from contract import stopping


def handlers() -> list:
    return [signal.getsignal(number) for number in stopping.SIGNALS]


def run(script: str) -> subprocess.CompletedProcess:
    """Runs a Python program for at most 20 seconds; returns its result."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", f"import signal\nfrom contract import stopping\n{script}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
    )


@pytest.mark.parametrize(("name", "exit_code"), [("INT", 130), ("TERM", 143), ("HUP", 129)])
def test_a_signal_is_an_exception_with_the_exit_code_of_a_shell(name, exit_code):
    number = signal.Signals[f"SIG{name}"]
    said = f"Stopped by SIG{name}"
    with pytest.raises(stopping.StoppedError, match=said) as it, stopping.signals_raise():
        signal.raise_signal(number)
    assert it.value.exit_code == exit_code


def test_signals_mean_afterwards_what_they_meant_before():
    before = handlers()
    with stopping.signals_raise():
        assert handlers() != before
    assert handlers() == before
    with pytest.raises(stopping.StoppedError), stopping.signals_raise():
        signal.raise_signal(signal.SIGTERM)
    assert handlers() == before


def test_a_signal_that_somebody_swallowed_is_raised_again():
    with stopping.signals_raise():
        stopping.check()  # nothing came yet
        with contextlib.suppress(BaseException):  # as some third-party code does
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(stopping.StoppedError, match="SIGTERM"):
            stopping.check()
    stopping.check()  # the next command is not affected


def test_the_second_signal_ends_the_process_with_the_code_of_the_first():
    ended = run(
        "with stopping.signals_raise():\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    finally:\n"  # the clean-up that takes too long
        "        print('first', flush=True)\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        print('still there', flush=True)\n"
    )
    assert (ended.returncode, ended.stdout) == (143, "first\n")


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with stopping.signals_raise():
            signal.raise_signal(signal.SIGHUP)
            stopping.check()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_leaves_signals_to_the_main_one():
    seen = []

    def watch():
        with stopping.signals_raise():
            seen.extend(handlers())

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert seen == handlers()


def test_the_process_ends_without_waiting_for_a_thread():
    ended = run(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print('kept in a buffer')\n"
        "stopping.end_process(stopping.StoppedError(signal.SIGTERM))\n"
    )
    assert (ended.returncode, ended.stdout) == (143, "kept in a buffer\n")


# SIGTERM for a thread other than the main one, which waits.
TO_ANOTHER_THREAD = """
import os, threading, time

def send():
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(10)

threading.Thread(target=send, daemon=True).start()
"""


def test_a_signal_to_any_thread_ends_the_wait_of_the_main_one():
    waiting = "with stopping.signals_raise(), stopping.Alarm() as alarm:\n    alarm.wait()"
    result = run(TO_ANOTHER_THREAD + waiting)
    assert "StoppedError: Stopped by SIGTERM" in result.stderr


def test_another_thread_can_end_the_wait():
    result = run("with stopping.Alarm() as alarm:\n    alarm.ring()\n    alarm.wait()")
    result.check_returncode()
