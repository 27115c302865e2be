"""The names of the metrics that the Evaluator writes and the gate and the report read."""

ACCURACY = "sparse_categorical_accuracy"
CROSS_ENTROPY = "sparse_categorical_crossentropy"
TOP_3 = "top_3_accuracy"
