"""The page of a search."""

import dataclasses
import re

import pytest

from contract.search_record import SearchRecord, Trial
from report import search
from tests.report.browser import chromium, needs_chromium, opened

TRIALS = (
    Trial(0, {"rate": 0.1, "kind": "a"}, "ended", 0.7, ((10, 0.5), (20, 0.7)), 12.0),
    Trial(1, {"rate": 0.01, "kind": "b"}, "ended", 0.8, ((10, 0.6), (20, 0.8)), 11.0),
    Trial(2, {"rate": 0.5, "kind": "a"}, "stopped", 0.2, ((10, 0.2),), 6.0),
    Trial(3, {"rate": 0.9, "kind": "b"}, "failed"),
)
RECORD = SearchRecord(
    trainer_module="my_team.flowers",
    preset="quick",
    hyper_parameters={"rate": 0.2, "kind": "a", "train_steps": 20},
    space=("rate=log:0.01..1", "kind=a,b"),
    held_out=0.1,
    trials=TRIALS,
    importance={"rate": 0.9, "kind": 0.1},
)


def test_the_best_trial_is_the_one_that_ended_with_the_highest_accuracy():
    assert RECORD.best == TRIALS[1]


def test_the_page_names_the_best_values_and_lists_every_trial():
    page = search.render(RECORD)
    assert "rate 0.01, kind b" in re.search(r"<h1>(.*?)</h1>", page, re.S)[1]
    rows = re.findall(r'<tr><th scope="row">(trial-\d+)</th>(.*?)</tr>', page)
    cells = {name: re.findall(r"<td>(.*?)</td>", row) for name, row in rows}
    assert list(cells) == ["trial-001", "trial-000", "trial-002", "trial-003"]
    assert cells["trial-002"] == ["0.5", "a", "20.00%", "stopped at 10", "6 s"]
    assert cells["trial-003"] == ["0.9", "b", "–", "failed", "0 s"]
    assert "Importance of each hyper-parameter: rate 90%, kind 10%" in page


def test_a_search_of_one_trial_has_a_page_too():
    only = dataclasses.replace(RECORD, trials=TRIALS[:1], importance={})
    assert "rate 0.1, kind a" in search.render(only)


@needs_chromium
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_a_phone_and_a_desk(width, tmp_path):
    path = tmp_path / "search.html"
    path.write_text(search.render(RECORD))
    with chromium() as browser, opened(browser, path, width) as page:
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
        assert page.locator("main svg").count() == 3
