"""The names of the metrics that the Evaluator writes and the gate and the report read."""

ACCURACY = "sparse_categorical_accuracy"
CROSS_ENTROPY = "sparse_categorical_crossentropy"
TOP_3 = "top_3_accuracy"
ACCURACY_CHANGE = "accuracy_change"  # the candidate's less the baseline's; 0 without one
# Images that only one of both models gets right: the two counts of McNemar's test.
ONLY_BASELINE_RIGHT = "only_baseline_right"
ONLY_CANDIDATE_RIGHT = "only_candidate_right"
