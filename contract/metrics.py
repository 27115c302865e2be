"""The names of the metrics that the Evaluator writes and the gate and the report read."""

EXAMPLE_COUNT = "example_count"
ACCURACY = "sparse_categorical_accuracy"
CROSS_ENTROPY = "sparse_categorical_crossentropy"
TOP_3 = "top_3_accuracy"
TOP_5 = "top_5_accuracy"
ACCURACY_CHANGE = "accuracy_change"  # the candidate's less the baseline's; 0 without one
# Images that only one of both models gets right: the two counts of McNemar's test.
ONLY_BASELINE_RIGHT = "only_baseline_right"
ONLY_CANDIDATE_RIGHT = "only_candidate_right"


def top_k_metrics(num_classes: int) -> dict[str, int]:
    """Returns the top-k metrics for a number of classes, with their k.

    Each k is less than half of the classes; top 5 needs many classes.
    """
    metrics = {TOP_3: 3} if num_classes > 6 else {}
    return metrics | ({TOP_5: 5} if num_classes >= 20 else {})
