"""Artifacts for the Kubeflow UI: metrics, the confusion matrix and the report.

The UI shows artifacts of Kubeflow's own types, but none of TFX's. So the Evaluator gets two
more outputs, which TFX does not see; the entrypoint fills them from the evaluation. The report
is declared as an HTML page, for which the UI expects a file, not a folder.
"""

from typing import Any

from contract import image_set
from contract.drift_record import DRIFT_PAGE_FILE
from contract.files import PAGE_FILE
from contract.metrics import TOP_3, TOP_5
from report.facts import Metrics

UI_OUTPUTS = {
    "Evaluator": {
        "metrics": "system.Metrics",
        "confusion_matrix": "system.ClassificationMetrics",
    }
}
PAGES = {  # node → output → the file that is the page
    "ReportGen": {"report": PAGE_FILE},
    "DriftCheck": {"report": DRIFT_PAGE_FILE},
}


def declare(node: str, component: dict[str, Any]) -> None:
    """Gives a component's outputs types that the UI can show."""
    titles = UI_OUTPUTS.get(node, {}) | dict.fromkeys(PAGES.get(node, {}), "system.HTML")
    for name, title in titles.items():
        component["outputDefinitions"]["artifacts"][name] = {
            "artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}
        }


def read_ui_metadata(evaluation_dir: str, schema_dir: str) -> dict[str, dict[str, Any]]:
    """Returns the metadata of each output that only the UI reads, by the output's name."""
    from report import evaluation  # imports TFMA, which only the Evaluator needs

    class_names = image_set.read(schema_dir).class_names
    metrics = evaluation.read_metrics(evaluation_dir, class_names)
    if metrics is None:
        raise ValueError(f"{evaluation_dir} contains no metrics of the candidate.")
    return {
        "metrics": {
            "accuracy": metrics.accuracy,
            **top_k_accuracies(metrics),
            "cross_entropy": metrics.cross_entropy,
            "eval_examples": metrics.eval_examples,
            **{f"accuracy_{name}": value for name, value in metrics.class_accuracy.items()},
        },
        # The layout the UI reads: frontend/src/components/viewers/MetricsVisualizations.tsx.
        "confusion_matrix": {
            "confusionMatrix": {
                "annotationSpecs": [{"displayName": name} for name in class_names],
                "rows": [{"row": row} for row in metrics.confusion],
            }
        },
    }


def top_k_accuracies(metrics: Metrics) -> dict[str, float]:
    """Returns how often the right class is among the first few, where that was asked for."""
    found = {TOP_3: metrics.top_3_accuracy, TOP_5: metrics.top_5_accuracy}
    return {name: value for name, value in found.items() if value is not None}
