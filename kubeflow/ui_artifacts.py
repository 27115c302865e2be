"""What the Kubeflow UI shows of a run: metrics, the confusion matrix, the report."""

from typing import Any

UI_OUTPUTS: dict[str, dict[str, str]] = {}


def declare(node: str, component: dict[str, Any]) -> None:
    """Adds to a component the artifacts that only the UI reads."""
