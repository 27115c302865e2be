"""The picture of the pipeline: boxes, and arrows to what waits."""

import re

from report import graph
from report.stages import StageStatus

UPSTREAM = {"Gen": [], "Schema": [], "Stats": ["Gen", "Schema"], "Train": ["Gen", "Stats"]}
STAGES = [
    StageStatus("Gen", "", "done", 4.1),
    StageStatus("Schema", "", "cached", 0.1),
    StageStatus("Stats", "", "failed", None),
    StageStatus("Train", "", "not run", None),
]


def test_stages_stand_below_what_they_wait_for():
    svg = graph.draw(STAGES, UPSTREAM)
    boxes = re.findall(r'<rect x="(\d+)" y="(\d+)"', svg)
    (gen, schema, stats, train) = [(int(x), int(y)) for x, y in boxes]
    assert gen[1] == schema[1] < stats[1] < train[1]
    assert gen[0] < schema[0]


def test_an_arrow_that_another_path_implies_is_left_out():
    svg = graph.draw(STAGES, UPSTREAM)
    assert svg.count('class="arrow"') == 3  # not from Gen to Train, which is through Stats
    assert "Stats: failed, after Gen and Schema. Train: not run, after Stats" in svg


def test_each_box_says_what_became_of_its_stage():
    svg = graph.draw(STAGES, UPSTREAM)
    assert re.search(r'<g class="done">.*Gen.*done · 4\.1 s</text>', svg)
    assert '<g class="not-run">' in svg
