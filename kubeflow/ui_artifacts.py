"""What the Kubeflow UI shows of a run: metrics, the confusion matrix and the report.

The UI draws artifacts of Kubeflow's own types and none of TFX's. So the Evaluator gets two
outputs more, which TFX never sees: the entrypoint fills them in from the evaluation. And the
report is declared as a page, which for the UI is one file and no folder.
"""

from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma

from contract import features
from contract.files import PAGE_FILE
from report import evaluation

UI_OUTPUTS = {
    "Evaluator": {
        "metrics": "system.Metrics",
        "confusion_matrix": "system.ClassificationMetrics",
    }
}
PAGES = {"ReportGen": {"report": PAGE_FILE}}  # node → output → the file that is the page


def declare(node: str, component: dict[str, Any]) -> None:
    """Gives a component's outputs the types the UI draws."""
    titles = UI_OUTPUTS.get(node, {}) | dict.fromkeys(PAGES.get(node, {}), "system.HTML")
    for name, title in titles.items():
        component["outputDefinitions"]["artifacts"][name] = {
            "artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}
        }


def read_ui_metadata(evaluation_dir: str) -> dict[str, dict[str, Any]]:
    """Returns the metadata of each output that only the UI reads, by the output's name."""
    metrics = evaluation.read_metrics(evaluation_dir)
    class_accuracy = metrics.pop("class_accuracy")
    return {
        "metrics": metrics
        | {f"accuracy_{name}": accuracy for name, accuracy in class_accuracy.items()},
        # The layout the UI reads: frontend/src/components/viewers/MetricsVisualizations.tsx.
        "confusion_matrix": {
            "confusionMatrix": {
                "annotationSpecs": [{"displayName": name} for name in features.CLASS_NAMES],
                "rows": [
                    {"row": row} for row in read_confusion_matrix(evaluation_dir).tolist()
                ],
            }
        },
    }


def read_confusion_matrix(evaluation_dir: str) -> np.ndarray:
    """Returns how often an eval image of each class was taken for each class.

    Args:
        evaluation_dir: The Evaluator's artifact.

    Returns:
        float64, shape (10, 10): rows are labels, columns are predictions.
    """
    matrix = np.zeros((features.NUM_CLASSES, features.NUM_CLASSES))
    for plots in tfma.load_plots(evaluation_dir):
        if plots.slice_key.single_slice_keys:
            continue
        for entry in plots.plot_keys_and_values:
            if entry.key.model_name not in evaluation.CANDIDATE:
                continue
            thresholds = entry.value.multi_class_confusion_matrix_at_thresholds
            for cell in thresholds.matrices[0].entries:
                if cell.predicted_class_id >= 0:  # below the threshold for every class
                    matrix[cell.actual_class_id, cell.predicted_class_id] += (
                        cell.num_weighted_examples
                    )
    return matrix
