"""Commands in a pseudo-terminal, as a person would run them."""

import os
import pty
import subprocess

COLUMNS = 100


def run_in_terminal(command: list[str], **environment: str) -> tuple[int, str]:
    """Runs a command in a pseudo-terminal; returns its exit code and all it wrote."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={
            **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
            "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS),
            **environment,
        },
    )
    os.close(inside)
    written = b""
    while True:
        try:
            chunk = os.read(terminal, 65_536)
        except OSError:  # the last process with the terminal has ended
            break
        if not chunk:
            break
        written += chunk
    os.close(terminal)
    return process.wait(), written.decode()
