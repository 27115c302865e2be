"""The names of files that one stage writes and another reads."""

# In the Trainer's model run.
TRAINING_FILE = "training.json"  # how the training went
PREDICTIONS_FILE = "eval_predictions.npz"  # keys and probabilities of a few eval examples

# Of a search for hyper-parameters, as the stock Tuner names them.
BEST_VALUES_FILE = "best_hyperparameters.txt"
TRIALS_FILE = "tuner_results.json"
SEARCH_FILE = "search.json"  # and what the stock one does not leave
SEARCH_PAGE_FILE = "search.html"

SERVING_CHECK_FILE = "serving_check.json"  # in ServingCheck's blessing: verdict and numbers
DATA_GATE_FILE = "data_gate.json"  # in ExampleValidator's anomalies: what it measured
GATE_FILE = "gate.json"  # in the Evaluator's blessing: what it measured
FACTS_FILE = "report.json"  # ReportGen writes it beside its page
PAGE_FILE = "report.html"
INDEX_FILE = "index.html"  # of all runs, in the output folder
RECORD_FILE = "run.json"  # of a run, in its folder and in the output folder
