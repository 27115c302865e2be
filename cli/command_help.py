"""What the help of every command ends with."""


def examples(*lines: str) -> str:
    """Returns commands to try, as the epilog of a click command."""
    # Click folds a paragraph unless it starts with a backspace.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
