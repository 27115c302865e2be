"""What somebody may have meant who mistyped a name."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean NAME?`, or an empty string if no known name is like the word."""
    (best, *_) = [*difflib.get_close_matches(word, list(known), n=1), ""]
    return f" Did you mean {best}?" if best else ""
