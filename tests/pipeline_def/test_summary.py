"""The text at the end of a run, for records written by hand."""

import pytest

from contract.serving_report import ServingReport
from pipeline_def.summary import result_lines, summary_lines
from report.facts import Gate
from report.run_record import RunRecord, StageRecord
from serving.batch import record
from serving.batch.record import BatchRecord

MEASURED = {
    "seconds": 312.4,
    "accuracy": 0.8,
    "top_3_accuracy": 0.95,
    "cross_entropy": 0.6,
    "eval_examples": 10_000,
    "class_accuracy": {"cat": 0.5, "ship": 1.0},
    "train_steps": 5_500,
    "examples_per_second": 1234.5,
    "gate": Gate(0.7, 0.01, verdict="blessed: 80.00% is at least 70.00%"),
    "serving_check": ServingReport("blessed: 200 examples"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder in which the command was called as .venv/bin/cifar."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv/bin/cifar"), "run"])


def test_a_pushed_run_ends_with_its_numbers_and_the_commands_to_go_on(here):
    config = {"output_dir": "my output"}
    run = RunRecord("r", "pushed", config, pushed_path="my output/serving/7", **MEASURED)
    assert summary_lines(run) == [
        "",
        "Accuracy 80.0% on 10,000 eval images (top 3: 95.0%, cross-entropy 0.600)",
        "",
        "  cat           50.0%  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇",
        "  ship         100.0%  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇",
        "",
        "Gate      blessed: 80.00% is at least 70.00%",
        "Serving   blessed: 200 examples",
        "Training  5,500 steps, 1,234 images/s",
        "Time      5 min 12 s",
        "Report    my output/report.html",
        "Pushed    my output/serving/7",
        "",
        "Next      .venv/bin/cifar serve --output 'my output'",
        "          .venv/bin/cifar predict --sample 10 --png ten.png",
        "          .venv/bin/cifar board --output 'my output'",
    ]


def test_predictions_are_counted_and_their_folder_is_named(here, tmp_path):
    record.write(tmp_path, BatchRecord("m", "inbox", "", "parquet", "done", 1200, 3))
    stages = {"BulkInferrer": StageRecord(1.0, False, {"inference_result": str(tmp_path)})}
    lines = summary_lines(RunRecord("r", "pushed", {"output_dir": "output"}, stages=stages))
    assert (
        "Predicted 1,200 images of inbox (3 more have no prediction; failed-*.jsonl say why): "
        f"{tmp_path}" in lines
    )


def test_the_folder_that_commands_take_by_themselves_is_not_named(here):
    run = RunRecord("r", "pushed", {"output_dir": "output"})
    assert "Next      .venv/bin/cifar serve" in summary_lines(run)


@pytest.mark.parametrize(
    ("config", "serve", "predict"),
    [
        ({"model_name": "flowers"}, " --model flowers", " --model flowers"),
        ({"serving_dir": "/my models"}, " --model_base_path='/my models/cifar10'", ""),
        (
            {"serving_dir": "/srv", "model_name": "flowers"},
            " --model flowers --model_base_path=/srv/flowers",
            " --model flowers",
        ),
    ],
)
def test_the_commands_to_go_on_name_another_model_and_its_folder(here, config, serve, predict):
    lines = summary_lines(RunRecord("r", "pushed", {"output_dir": "output", **config}))
    assert f"Next      .venv/bin/cifar serve{serve}" in lines
    assert f"          .venv/bin/cifar predict{predict} --sample 10 --png ten.png" in lines


def test_a_run_that_did_not_push_says_that_nothing_changed(here):
    lines = summary_lines(RunRecord("r", "not_blessed", {}, **MEASURED))
    assert lines[-1] == "Pushed    nothing; earlier versions are unchanged"
    assert not [line for line in lines if line.startswith("Next")]


def test_what_a_run_did_not_come_to_is_left_out():
    assert result_lines(RunRecord("r", "failed", {})) == []
    trained = RunRecord("r", "failed", {}, train_steps=20)
    assert result_lines(trained) == ["Training  20 steps"]
