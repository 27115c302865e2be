import io
import re

import pytest
import rich.console

from contract import progress
from contract.progress import Progress, duration


def in_a_pipe() -> tuple[Progress, io.StringIO]:
    text = io.StringIO()
    return Progress(rich.console.Console(file=text, width=40)), text


def on_a_terminal(width: int = 120) -> tuple[Progress, io.StringIO]:
    text = io.StringIO()
    console = rich.console.Console(file=text, width=width, force_terminal=True)
    return Progress(console), text


def test_a_line_is_printed_as_it_is_and_not_folded():
    shown, text = in_a_pipe()
    line = "[red]no markup[/red] " + "a word " * 20
    shown.say(line)
    assert text.getvalue() == f"{line}\n"


def test_a_pipe_gets_a_line_at_the_start_and_one_at_the_end():
    shown, text = in_a_pipe()
    with shown.bar("Unpacking", 2_000_000) as update:
        update(1_000_000)
    first, last = text.getvalue().splitlines()
    assert first == "Unpacking …"
    assert re.fullmatch(r"Unpacking: done in \d+\.\d s", last)


def test_a_pipe_is_told_how_far_it_is_now_and_then(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    shown, text = in_a_pipe()
    with shown.bar("Download", 170_052_171) as update:
        update(85_000_000)
    assert text.getvalue().splitlines()[1] == "Download: 85 of 170 MB"


@pytest.mark.parametrize(("total_bytes", "shows"), [(4_000_000, "2.0/4.0 MB"), (None, "0:00:")])
def test_a_terminal_gets_a_bar_or_a_clock_where_nobody_knows_the_end(
    total_bytes, shows, monkeypatch
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown, text = on_a_terminal()
    with shown.bar("Download", total_bytes) as update:
        update(2_000_000)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    assert shows in plain
    assert "Download …" not in plain
    assert re.search(r"Download: done in \d+\.\d s\n$", plain)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_download_stays_on_one_line(width, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    shown, text = on_a_terminal(width)
    title = "Download https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    with shown.bar(title, 170_052_171) as update:
        update(85_000_000)
    written = text.getvalue()
    assert "\x1b[2K\x1b[1A" not in written  # how a second line would be cleared
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert all(len(line) <= max(width, len(f"{title}:")) for line in plain.splitlines())
    assert "85.0/170.1 MB" in plain


def test_what_fails_is_not_said_to_be_done():
    shown, text = in_a_pipe()
    with pytest.raises(OSError, match="gone"), shown.bar("Download", None):
        raise OSError("gone")
    assert text.getvalue() == "Download …\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (4.12, "4.1 s"), (60, "1 min 00 s"), (312.4, "5 min 12 s")],
)
def test_durations_read_as_a_person_says_them(seconds, text):
    assert duration(seconds) == text
