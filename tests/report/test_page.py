"""The page of a real run in a real browser."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from contract.progress import duration
from pipeline_def.code_version import ROOT
from report.facts import ExampleRequest, Facts
from report.page import example_requests
from tests.report.browser import chromium, needs_chromium, opened

WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1440}
SCREENSHOTS = ROOT / "test-results" / "report"
MAX_BYTES = 2_000_000
PAPER = 718  # CSS pixels between the margins of A4

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["pushed", "refused"])
def finished(request):
    return request.getfixturevalue(request.param)


def test_the_page_is_one_file_that_asks_for_nothing(finished):
    html = finished.page.read_text()
    assert len(html.encode()) < MAX_BYTES
    loaded = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert loaded
    links = {link for link in loaded if not link.startswith(("data:", "#"))}
    assert links == {"../../index.html"}  # where all runs are
    assert (finished.page.parent / "../../index.html").is_file()


def test_a_plot_shows_the_values_below_the_pointer(browser, pushed):
    with opened(browser, pushed.page) as page:
        plot = page.locator("#training svg").nth(1)
        plot.scroll_into_view_if_needed()
        (x, y, words), *_ = json.loads(plot.get_attribute("data-points"))
        box, scale = plot.bounding_box(), plot.evaluate("s => s.viewBox.baseVal.width")
        unit = box["width"] / scale
        page.mouse.move(box["x"] + x * unit, box["y"] + y * unit)
        tip = page.locator("#training .tip:visible")
        assert words in tip.inner_text().splitlines()
        assert f"{100 * pushed.record['accuracy']:.4g}" in words


def test_every_image_is_there_with_the_network_off(browser, finished):
    with opened(browser, finished.page) as page:
        images = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.alt])")
    assert len(images) > 30  # ten strips of samples, the surest mistakes, the filters
    assert all(width > 0 and words for width, words in images)


def test_the_key_numbers_are_those_of_the_record(browser, finished):
    record = finished.record
    with opened(browser, finished.page) as page:
        assert page.inner_text("#accuracy") == f"{record['accuracy']:.1%}"
        header = page.inner_text("header")
        assert record["run_id"] in header
        assert f"{record['train_steps']:,}" in header
        assert duration(record["seconds"]) in header
        assert record["gate"]["verdict"] in page.inner_text("#gate")
        assert record["serving_check"]["verdict"] in page.inner_text("#gate")
        for name, stage in record["stages"].items():
            card = page.inner_text(f".flow li:has-text('{name}')")
            assert ("cached" in card) == stage["cached"]
            assert duration(stage["seconds"]) in card
        for name, accuracy in record["class_accuracy"].items():
            row = page.inner_text(f"#classes tr:has(th:text-is('{name}')) >> nth=0")
            assert f"{accuracy:.1%}" in row


def test_the_confusion_matrix_adds_up_to_the_accuracy(browser, pushed):
    with opened(browser, pushed.page) as page:
        cells = page.locator(".matrix tbody td").all_inner_texts()
        right = page.locator(".matrix tbody td.right").all_inner_texts()
    assert sum(map(int, cells)) == pushed.record["eval_examples"]
    fraction = sum(map(int, right)) / pushed.record["eval_examples"]
    assert fraction == pytest.approx(pushed.record["accuracy"], abs=1e-6)


def test_the_title_says_what_became_of_the_model(browser, pushed, refused):
    with opened(browser, pushed.page) as page:
        assert page.inner_text("h1") == f"Pushed as version {pushed.record['pushed_version']}"
    with opened(browser, refused.page) as page:
        assert page.inner_text("h1") == "Not blessed, not pushed"
        assert "at least 99.0% is required" in page.inner_text("#gate")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_width_scrolls_sideways(browser, pushed, scheme):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, width in WIDTHS.items():
        with opened(browser, pushed.page, width, color_scheme=scheme) as page:
            page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_the_confusion_matrix_and_the_captions_fit_a_phone(browser, pushed):
    with opened(browser, pushed.page, WIDTHS["phone"]) as page:
        matrix = page.locator(".scroll:has(.matrix)")
        assert matrix.evaluate("e => e.scrollWidth - e.clientWidth") == 0
        for caption in page.locator("caption").all():
            box = caption.bounding_box()
            assert box["x"] + box["width"] <= WIDTHS["phone"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(browser, finished, scheme):
    with opened(browser, finished.page, color_scheme=scheme) as page:
        found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_keyboard_reaches_content_and_navigation(browser, pushed):
    with opened(browser, pushed.page) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "All runs"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.hash") == "#pipeline"


def test_the_command_to_serve_names_another_model_and_its_folder():
    config = {"output_dir": "/out", "model_name": "flowers"}
    asked = ExampleRequest("a.png", "iVBO", "rose", "rose", 0.9)

    def command(**more: str) -> str:
        return example_requests(Facts({**config, **more}), asked)[0].command

    assert command() == "cifar serve --model flowers --output /out"
    shared = command(serving_dir="/srv")
    assert shared == "cifar serve --model flowers --model_base_path=/srv/flowers"


def test_a_button_copies_a_request(browser, pushed):
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(browser, pushed.page, permissions=permissions) as page:
        page.get_by_role("button", name="Copy: Is it ready?").click()
        copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "curl -s http://localhost:8501/v1/models/cifar10"


def test_a_cell_of_the_confusion_matrix_opens_its_images(browser, pushed):
    with opened(browser, pushed.page) as page:
        cell = page.locator(".matrix a").first
        target = page.locator(f"[id='{cell.get_attribute('href')[1:]}']")
        assert not target.is_visible()
        cell.click()
        assert target.is_visible()
        assert cell.inner_text() in target.inner_text()
        assert target.locator("img").evaluate("i => i.naturalWidth") > 0


def test_mistakes_are_filtered_by_class(browser, pushed):
    with opened(browser, pushed.page) as page:
        shown = page.locator("#mistakes figure:visible")
        before = shown.count()
        page.locator("#mistakes select").select_option("ship")
        assert 0 < shown.count() <= before
        assert all("ship" in text for text in shown.all_inner_texts())


def test_curves_are_filtered_by_class(browser, refused):
    with opened(browser, refused.page) as page:
        drawing = page.locator("#training svg:has([data-series])")
        assert drawing.locator("[data-series]").count() == 10
        page.locator("#training select").select_option("ship")
        assert drawing.locator(".faded").count() == 9
        points = json.loads(drawing.get_attribute("data-points"))
        x, y, words = next(point[:3] for point in points if point[3] == "ship")
        drawing.scroll_into_view_if_needed()
        box, scale = drawing.bounding_box(), drawing.evaluate("s => s.viewBox.baseVal.width")
        page.mouse.move(
            box["x"] + x * box["width"] / scale, box["y"] + y * box["width"] / scale
        )
        assert page.locator("#training .tip:visible").inner_text() == words
        page.locator("#training select").select_option("all")
        assert drawing.locator(".faded").count() == 0


def test_the_distributions_that_the_data_gate_compared_are_drawn(browser, pushed):
    with opened(browser, pushed.page) as page:
        assert page.inner_text("#skew") == "Skew: train and eval"
        table = page.locator("#data table:has(th:text-is('sharpness'))")
        rows = [row.split("\t") for row in table.locator("tbody tr").all_inner_texts()]
        shares = [float(value) / float(limit) for _, value, limit, _ in rows]
        assert shares == sorted(shares, reverse=True) and len(rows) == 7
        drawn = page.locator("#data svg[aria-label*='is allowed']")
        assert drawn.count() == 4
        assert f"{rows[0][0]} of train and of eval" in drawn.first.get_attribute("aria-label")


def test_the_run_says_what_it_was_made_with(browser, pushed):
    with opened(browser, pushed.page) as page:
        text = page.inner_text("#environment")
        for name, version in pushed.record["environment"]["packages"].items():
            assert f"{name}\t{version}" in text
        assert page.get_by_role("img", name="The pipeline.").is_visible()
        assert page.locator(".graph .arrow").count() >= len(pushed.record["stages"]) - 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_has_light_colours_and_no_base64(browser, pushed, scheme):
    with opened(browser, pushed.page, color_scheme=scheme) as page:
        shown = page.locator("#serving .command").last
        height = shown.bounding_box()["height"]
        assert len(shown.text_content()) > 1_000  # what a button copies
        page.emulate_media(media="print", color_scheme=scheme)
        assert shown.bounding_box()["height"] < height / 2
        colour = page.evaluate(
            "getComputedStyle(document.documentElement).getPropertyValue('--series-1')"
        )
        assert colour.strip() == "#0a5dbb"


def test_the_page_prints_without_its_navigation(browser, pushed):
    with opened(browser, pushed.page, width=PAPER, color_scheme="dark") as page:
        page.emulate_media(media="print")
        assert not page.is_visible("nav")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.is_visible("#settings table")
        assert page.is_visible("#accuracy")
        assert page.is_visible("#network img")
        assert not page.get_by_text("a number opens its images").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PAPER
        assert page.pdf(path=SCREENSHOTS / "printed.pdf")[:4] == b"%PDF"
