import re

from contract.training_record import TrainingRecord
from report import plots
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
    drawn = plots.draw_runs([("", ONE_STEP)])
    assert list(drawn) == ["loss", "eval_accuracy", "learning_rate"]  # no speed is known
    assert (
        'aria-label="Accuracy on eval over the steps. Ends at: 9.5%"' in drawn["eval_accuracy"]
    )


def test_plots_take_the_colours_and_the_font_of_the_page():
    for svg in plots.draw_runs([("first", ONE_STEP), ("second", ONE_STEP)]).values():
        assert "currentColor" in svg
        assert "var(--line)" in svg
        assert not re.search(r"#0101|font-family|<style", svg)


def test_what_a_plot_says_is_escaped():
    drawn = plots.draw_runs([('<"run">', ONE_STEP)])
    assert '<"run">' not in drawn["learning_rate"]
