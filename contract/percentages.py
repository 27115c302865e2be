"""Formats fractions for people: `80.2%`, `+1.5 points`."""

MOST_DIGITS = 4


def percent(fraction: float, beside: float | None = None) -> str:
    """Returns `80.2%`, with more digits if fewer would hide a difference.

    Args:
        fraction: 0 to 1.
        beside: The fraction that it is compared with in the same sentence.
    """
    return f"{fraction:.{_digits(fraction, beside)}%}"


def points(change: float, beside: float | None = None) -> str:
    """Returns a difference of two fractions in percentage points: `+1.5`."""
    return f"{100 * change:+.{_digits(change, beside)}f}"


def _digits(fraction: float, beside: float | None) -> int:
    digits = 1
    if beside is not None and fraction != beside:
        while digits < MOST_DIGITS and f"{fraction:.{digits}%}" == f"{beside:.{digits}%}":
            digits += 1
    return digits
