"""The page of all runs: its rows, and what a browser makes of it."""

import dataclasses
import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from contract.training_record import Evaluation, TrainingRecord
from pipeline_def.code_version import ROOT
from report import history, run_report, runs
from report.facts import Gate
from report.run_record import StageRecord
from tests.report.browser import chromium, needs_chromium, opened
from tests.report.test_runs import keep, push

SCREENSHOTS = ROOT / "test-results" / "history"
LANDSCAPE = 1047  # CSS pixels between the margins of A4
VERDICT = (
    "NOT BLESSED: accuracy is 65.0% (64.1% to 65.9% at 95% confidence), at least 70.0% is "
    "required; 15.2 points less than version 5, at most 1.0 are allowed"
)


def write(output, number, status, settings, **fields):
    run = keep(output, number, status, **fields)
    record = dataclasses.replace(run, config={"output_dir": str(output), **settings})
    runs.write(record, output / "runs" / run.run_id / "run.json")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Four runs: pushed and retired, not blessed, failed, and pushed."""
    output = tmp_path_factory.mktemp("history")
    preset = {"preset": "quick", "train_steps": 5_500}
    serving = output / "serving/cifar10"
    measured = {"eval_examples": 10_000, "stages": {"Trainer": StageRecord(60.0, False)}}

    def training(accuracy):
        return TrainingRecord(evaluations=(Evaluation(1_000, 0.5, 1.5),
            Evaluation(5_500, accuracy, 0.6)))  # fmt: skip

    write(output, 1, "pushed", preset | {"seed": 0}, accuracy=0.802, seconds=324.0,
        pushed_version="5", pushed_path=str(serving / "5"), class_accuracy={"cat": 0.6},
        training=training(0.802), **measured)  # fmt: skip
    write(output, 2, "not_blessed", preset | {"seed": 1}, accuracy=0.65, seconds=90.0,
        gate=Gate(0.7, 0.01, verdict=VERDICT), **measured)  # fmt: skip
    write(output, 3, "failed", preset | {"seed": 1}, error="<No space> left", seconds=5.0)
    write(output, 4, "pushed", preset | {"seed": 2}, accuracy=0.81, seconds=300.0,
        pushed_version="9", pushed_path=str(serving / "9"), class_accuracy={"cat": 0.7},
        training=training(0.81), **measured)  # fmt: skip
    push(output, "9", "/model/9")
    (output / "runs/2026-01-01T00-00-04/report.html").write_text("")
    run_report.write_history(output)
    return output


def test_a_row_has_the_interval_what_changed_and_what_became_of_the_version(output):
    first, second, third, fourth = history.rows_of(runs.read_runs(output), output)
    assert first.interval == pytest.approx((0.7941, 0.8097), abs=1e-4)
    assert (first.changes, second.changes, third.changes) == ((), ["seed: 0 → 1"], [])
    assert (first.is_retired, fourth.is_retired) == (True, False)
    assert (first.bytes, fourth.bytes > 0) == (None, True)
    assert (first.page, fourth.page) == ("", "runs/2026-01-01T00-00-04/report.html")


def test_every_version_is_listed_with_its_state(output):
    (version,) = history.versions_of(runs.read_runs(output))
    assert (version.version, version.state, version.run_id) == (
        9,
        "served",
        "2026-01-01T00-00-04",
    )
    assert 'href="#versions"' in (output / "index.html").read_text()


def test_an_empty_folder_has_a_page_that_says_how_to_begin(tmp_path):
    html = run_report.write_history(tmp_path).read_text()
    assert "<code>cifar run</code> makes one" in html
    assert "Accuracy over time" not in html


def test_the_page_is_one_file_whose_text_is_escaped(output):
    html = (output / "index.html").read_text()
    loaded = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert {one for one in loaded if not one.startswith(("data:", "#"))} == {
        "runs/2026-01-01T00-00-04/report.html"
    }
    assert "<No space>" not in html


def runs_shown(page):
    return [row[-2:] for row in page.locator("#all-runs tbody tr:visible th").all_inner_texts()]


@needs_chromium
def test_runs_are_sorted_and_filtered(output):
    with chromium() as browser, opened(browser, output / "index.html") as page:
        assert runs_shown(page) == ["04", "03", "02", "01"]
        page.get_by_role("button", name="time").click()
        assert runs_shown(page) == ["01", "04", "02", "03"]
        page.get_by_role("button", name="time").click()
        assert runs_shown(page) == ["03", "02", "04", "01"]
        page.get_by_label("Status").select_option("pushed")
        assert runs_shown(page) == ["04", "01"]
        page.get_by_label("Search").fill("seed: 1 2")
        assert runs_shown(page) == ["04"]
        assert page.inner_text("#shown") == "1 of 4 runs"


@needs_chromium
def test_any_runs_are_compared(output):
    with chromium() as browser, opened(browser, output / "index.html") as page:
        for number in ("01", "02", "04"):
            page.get_by_label(f"Compare 2026-01-01T00-00-{number}").check()
        text = page.inner_text("#comparison")
        assert "accuracy\t80.2%\t65.0%\t81.0%" in text
        assert "seed\t0\t1\t2" in text
        assert "train_steps" not in text  # equal in all
        assert "cat\t60.0%\t–\t70.0%" in text
        assert page.locator("#comparison polyline").count() == 3
        page.get_by_label("Compare 2026-01-01T00-00-02").uncheck()
        page.get_by_label("Compare 2026-01-01T00-00-04").uncheck()
        assert page.inner_text("#comparison") == ""


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_has_no_barrier(output, scheme):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for width in (390, 820, 1440):
            with opened(browser, output / "index.html", width, color_scheme=scheme) as page:
                page.get_by_label("Compare 2026-01-01T00-00-01").check()
                page.get_by_label("Compare 2026-01-01T00-00-04").check()
                page.screenshot(path=SCREENSHOTS / f"{width}-{scheme}.png", full_page=True)
                assert page.evaluate("document.documentElement.scrollWidth") <= width
        with opened(browser, output / "index.html", color_scheme=scheme) as page:
            found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@needs_chromium
def test_gate_and_changes_are_seen_without_scrolling_and_on_paper(output):
    with chromium() as browser, opened(browser, output / "index.html", 1300) as page:
        table = page.locator("#runs .scroll")
        assert table.evaluate("e => e.scrollWidth - e.clientWidth") == 0
        page.set_viewport_size({"width": LANDSCAPE, "height": 700})
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth") <= LANDSCAPE
        verdict = page.get_by_text(VERDICT)
        assert verdict.bounding_box()["width"] > LANDSCAPE / 8
        assert page.pdf(path=SCREENSHOTS / "printed.pdf", prefer_css_page_size=True)


@needs_chromium
def test_without_scripts_every_run_is_there(output):
    with (
        chromium() as browser,
        opened(browser, output / "index.html", java_script_enabled=False) as page,
    ):
        assert runs_shown(page) == ["04", "03", "02", "01"]
        assert not page.is_visible(".filters")
        assert "cifar report --compare" in page.inner_text("#compare")
