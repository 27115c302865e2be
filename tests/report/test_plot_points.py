"""What a page's script shows of a plot: where each point is, and its values."""

import html
import json
import re

from data_sources.cifar_format import CIFAR10
from report import plots
from report.facts import Calibration, CalibrationBin


def test_a_point_is_where_its_mark_is_drawn():
    drawn = plots.draw_calibration(Calibration([CalibrationBin(10, 0.25, 0.5)], 0.25))
    (shown,) = re.findall(r'data-points="([^"]*)"', drawn)
    points = json.loads(html.unescape(shown))
    ((x, y, words),) = [point for point in points if "candidate" in point[2]]
    assert words == "confidence, % 25  candidate 50"
    marks = re.findall(r'<use xlink:href="#\w+" x="([\d.]+)" y="([\d.]+)"', drawn)
    assert [float(x), float(y)] in [[round(float(n), 1) for n in mark] for mark in marks]


def test_a_bar_is_named_by_its_tick_and_its_split():
    drawn = plots.draw_counts({"train": [5000] * 10, "eval": [1000] * 10}, CIFAR10.class_names)
    assert "cat train: 5,000" in drawn
    assert "ship eval: 1,000" in drawn
