import dataclasses
import html
import json
import re

import pytest

from contract.training_record import Evaluation, TrainingRecord
from report import training_plots
from report.facts import Curves, TrainingFacts

ONE_STEP = TrainingFacts(
    TrainingRecord(steps=1),
    Curves(
        loss=[(0, 4.5)],
        learning_rate=[(0, 0.1)],
        eval_accuracy=[(1, 0.095)],
        eval_loss=[(1, 2.301)],
    ),
)


def test_a_run_of_one_step_has_its_plots():
    drawn = training_plots.draw_runs([("", ONE_STEP)])
    assert list(drawn) == ["loss", "accuracy", "learning_rate"]  # no speed is known
    assert 'aria-label="Accuracy on eval over the steps. Ends at: 9.5%"' in drawn["accuracy"]


def test_the_accuracy_of_training_is_beside_that_on_eval():
    curves = dataclasses.replace(
        ONE_STEP.curves,
        train_accuracy=[(1, 0.0625)],
        train_accuracy_averaged=[(1, 0.04)],
    )
    facts = dataclasses.replace(ONE_STEP, curves=curves)
    drawn = training_plots.draw_runs([("", facts)])["accuracy"]
    assert "Accuracy on train batches over the steps. Ends at: 4.0%" in drawn
    assert "train batch 6.25" in drawn
    compared = training_plots.draw_runs([("a", facts), ("b", facts)])
    assert "train batch" not in compared["accuracy"]


def test_any_number_of_runs_has_a_curve_each():
    runs = [(f"run {number}", ONE_STEP) for number in range(9)]
    for svg in training_plots.draw_runs(runs).values():
        assert all(f"run {number}" in svg for number in range(9))


def test_long_names_leave_room_for_the_curves():
    facts = TrainingFacts(TrainingRecord(), Curves(learning_rate=[(0, 0.1), (1_000, 0.01)]))
    names = [f"2026-11-26T13-19-4{number}" for number in range(3)]
    drawn = training_plots.draw_runs([(name, facts) for name in names])["learning_rate"]
    (points,) = re.findall(r'data-points="([^"]*)"', drawn)
    across = [point[0] for point in json.loads(html.unescape(points))]
    assert max(across) - min(across) > 0.6 * training_plots.WIDTH * 72


def evaluated(*by_class: tuple[float, ...]) -> TrainingRecord:
    return TrainingRecord(
        evaluations=tuple(
            Evaluation(1_000 * number, 0.5, 1.0, accuracies)
            for number, accuracies in enumerate(by_class, 1)
        )
    )


def test_the_curve_of_each_class_can_be_chosen():
    record = evaluated((0.2, 0.3), (0.6, 0.45))
    curves = training_plots.class_curves(record, ["cat & dog", "ship"])
    drawn = training_plots.draw_class_curves(curves[::-1])
    assert curves == [
        ("cat & dog", [(1_000, 0.2), (2_000, 0.6)]),
        ("ship", [(1_000, 0.3), (2_000, 0.45)]),
    ]
    assert re.findall(r'<g data-series="([^"]*)"', drawn) == ["ship", "cat &amp; dog"]
    (points,) = re.findall(r'data-points="([^"]*)"', drawn)
    names = [point[3] for point in json.loads(html.unescape(points))]
    assert names == ["ship", "ship", "cat & dog", "cat & dog"]


@pytest.mark.parametrize(
    "record", [evaluated((0.2, 0.3)), evaluated((), ()), evaluated((0.2,), (0.3,))]
)
def test_without_two_evaluations_of_these_classes_there_are_no_curves(record):
    assert training_plots.class_curves(record, ["cat", "ship"]) == []


def test_the_curves_of_a_hundred_classes_stay_small():
    names = [f"class {number}" for number in range(100)]
    record = evaluated(*[tuple(n / 100 for n in range(100))] * 200)
    curves = training_plots.class_curves(record, names)
    assert len(curves[0][1]) <= training_plots.CLASS_POINTS
    assert curves[0][1][-1] == (200_000, 0.99)
    assert len(training_plots.draw_class_curves(curves)) < 800_000


def test_plots_take_the_colours_and_the_font_of_the_page():
    for svg in training_plots.draw_runs([("first", ONE_STEP), ("second", ONE_STEP)]).values():
        assert "currentColor" in svg
        assert "var(--line)" in svg
        assert not re.search(r"#0101|font-family|<style", svg)


def test_what_a_plot_says_is_escaped():
    drawn = training_plots.draw_runs([('<"run">', ONE_STEP)])
    assert '<"run">' not in drawn["learning_rate"]
