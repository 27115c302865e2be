"""The page as a browser shows it: Debian's Chromium, driven by Playwright, offline."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on PATH; apt-get install chromium"
)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Yields a headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Browser, path: Path, width: int = 1280, **context) -> Iterator[Page]:
    """Yields a page that was opened with the network off, and fails on any console error."""
    settings = {"viewport": {"width": width, "height": 900}, "offline": True, **context}
    problems: list[str] = []
    with browser.new_context(**settings) as browser_context:
        page = browser_context.new_page()
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"asked for {request.url}"))
        page.goto(path.as_uri())
        yield page
    assert problems == []
