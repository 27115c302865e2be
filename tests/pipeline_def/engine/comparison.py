"""Whether two runs made the same, and the runs themselves."""

import json
import subprocess
from pathlib import Path

import pytest
import tensorflow_data_validation as tfdv
import tensorflow_model_analysis as tfma

from tests.finished_runs import smoke_run


def run(output: Path, *options: str) -> dict:
    """Returns the record of a run that pushed."""
    result = subprocess.run(
        smoke_run(output, *options), capture_output=True, text=True, timeout=500
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads((output / "run.json").read_text())


def assert_equal_results(ours: dict, theirs: dict) -> None:
    """Compares what the Beam stages of two runs have written."""
    examples, others = (_examples(record) for record in (ours, theirs))
    assert len(examples) >= 10
    assert others == examples
    for split in ("train", "eval"):
        statistics, others = (_statistics(record, split) for record in (ours, theirs))
        assert len(statistics) > 1
        assert others == statistics
    metrics, others = (_metrics(record) for record in (ours, theirs))
    assert len(metrics) == 11  # the whole, and each class
    assert others.keys() == metrics.keys()
    for name, numbers in metrics.items():
        assert others[name] == pytest.approx(numbers, rel=1e-6), name


def _files_of(record: dict, stage: str, output: str) -> dict[str, Path]:
    folder = Path(record["stages"][stage]["outputs"][output])
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _examples(record: dict) -> dict[str, bytes]:
    files = _files_of(record, "CifarExampleGen", "examples")
    return {name: path.read_bytes() for name, path in files.items()}


def _statistics(record: dict, split: str) -> dict:
    """Returns the statistics of each feature, and the number of examples."""
    file = _files_of(record, "StatisticsGen", "statistics")[f"Split-{split}/FeatureStats.pb"]
    statistics = tfdv.load_stats_binary(str(file)).datasets[0]
    found = {"examples": statistics.num_examples}
    for feature in statistics.features:
        if feature.HasField("num_stats"):
            # The last digit depends on the order in which workers' sums are added.
            feature.num_stats.std_dev = round(feature.num_stats.std_dev, 12)
        found[str(feature.path or feature.name)] = feature
    return found


def _metrics(record: dict) -> dict:
    result = tfma.load_eval_result(record["stages"]["Evaluator"]["outputs"]["evaluation"])
    return {
        slice_key: {
            name: value["doubleValue"]
            for name, value in metrics[""][""].items()
            if "doubleValue" in value
        }
        for slice_key, metrics in result.slicing_metrics
    }
