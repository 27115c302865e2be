"""Text that fits a terminal."""

import shlex

import pytest

from contract.terminal import Column, Command, printable, say, table_lines, wrap

COLUMNS = (
    Column("image", cut="start"),
    Column("class"),
    Column("probability", is_number=True),
    Column("format", rank=1),
)
ROWS = (("holiday/beach/ship.png", "ship", "98.1%", "PNG"), ("cat.png", "cat", "7.0%", "PNG"))


def test_numbers_stand_on_the_right_below_a_header():
    assert table_lines(COLUMNS, ROWS) == [
        "image                   class  probability  format",
        "holiday/beach/ship.png  ship         98.1%  PNG",
        "cat.png                 cat           7.0%  PNG",
    ]


def test_a_narrow_terminal_loses_a_column_before_it_loses_letters():
    assert table_lines(COLUMNS, ROWS, 42) == [
        "image                   class  probability",
        "holiday/beach/ship.png  ship         98.1%",
        "cat.png                 cat           7.0%",
    ]
    assert table_lines(COLUMNS, ROWS, 32) == [
        "image         class  probability",
        "…ch/ship.png  ship         98.1%",
        "cat.png       cat           7.0%",
    ]


def test_a_wide_character_takes_two_columns():
    lines = table_lines(COLUMNS[:2], [("猫猫猫.png", "cat"), ("dog.png", "dog")])
    assert lines[1:] == ["猫猫猫.png  cat", "dog.png     dog"]
    assert table_lines(COLUMNS[:2], [("猫猫猫.png", "cat")], 14)[1] == "…猫.png   cat"


@pytest.mark.parametrize("width", range(28, 70))
def test_no_line_is_wider_than_the_terminal(width):
    assert max(map(len, table_lines(COLUMNS, ROWS, width))) <= width


def test_bytes_that_would_move_the_cursor_are_written_out():
    assert printable("a\x1b[2Jb\n\udcff.png") == r"a\x1b[2Jb\n\udcff.png"
    assert printable("naïve [final] 猫.png") == "naïve [final] 猫.png"
    assert "\x1b" not in "".join(table_lines(COLUMNS, [("\x1b[31m", "cat", "1%", "PNG")]))


GATE = "Gate      blessed: accuracy is 80.2%, at least 70.0% is required"


def test_a_line_folds_between_words_below_its_own_text():
    assert wrap(GATE, 40) == (
        "Gate      blessed: accuracy is 80.2%, at\n          least 70.0% is required"
    )
    assert wrap(GATE, None) == wrap(GATE, 200) == GATE


def test_a_long_word_moves_to_the_left_until_it_fits():
    line = f"        test_batch.bin     sha256 {'a' * 64}"
    assert wrap(line, 80).splitlines() == [line[:33], " " * 16 + "a" * 64]
    assert wrap(line, 60).splitlines() == [line[:33], " " * 27 + "a" * 64]  # fits nowhere


@pytest.mark.parametrize("width", range(20, 80, 7))
def test_folding_keeps_every_word_whole(width):
    line = f"  Pusher   0.1 s   Pushed version 1795413998 to /{'a-long-folder/' * 6}cifar10"
    lines = wrap(line, width).splitlines()
    assert " ".join(lines).split() == line.split()
    assert all(len(one) <= width for one in lines if "/" not in one)


REQUEST = Command(
    """Try       curl -d '{"a": "b c"}' http://localhost:8501/v1 | cifar run --set a=1 --json"""
)


def test_a_command_continues_after_a_backslash_with_options_beside_their_values():
    assert wrap(REQUEST, 60).splitlines() == [
        """Try       curl -d '{"a": "b c"}' http://localhost:8501/v1 \\""",
        """              | cifar run --set a=1 --json""",
    ]
    assert wrap(REQUEST, 38).splitlines() == [
        """Try       curl -d '{"a": "b c"}' \\""",
        """            http://localhost:8501/v1 \\""",
        """              | cifar run --set a=1 \\""",
        """              --json""",
    ]


def test_a_path_in_a_command_moves_to_the_left_until_it_fits():
    path = "/" + 43 * "a"
    line = f"          tensorboard --port 1 --logdir {path}"
    assert wrap(Command(line), 50).splitlines() == [
        "          tensorboard --port 1 --logdir \\",
        f"      {path}",
    ]


@pytest.mark.parametrize("width", range(20, 90, 5))
def test_a_folded_command_is_the_same_to_a_shell(width):
    label = "Try       "
    pasted = wrap(REQUEST, width).replace("\\\n", "")  # as a shell does
    assert shlex.split(pasted.removeprefix(label)) == shlex.split(REQUEST.removeprefix(label))


def test_a_pipe_gets_lines_unchanged(capsys):
    say(GATE, REQUEST, "", "two\nlines")
    say("an error", err=True)
    assert capsys.readouterr() == (f"{GATE}\n{REQUEST}\n\ntwo\nlines\n", "an error\n")
