"""Suggestions for mistyped names."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean NAME?`, or an empty string if no known name is similar."""
    (best, *_) = [*difflib.get_close_matches(word, list(known), n=1), ""]
    return f" Did you mean {best}?" if best else ""
