"""What the backend would reject, found before it is asked."""

from typing import Any


def check(documents: list[dict[str, Any]]) -> None:
    """Raises ValueError that names every rule the documents break."""
