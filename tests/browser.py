"""A real browser for tests of pages: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests. In CI its absence is a failure, elsewhere a reason to skip."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        missing = f"no browser: none of {', '.join(NAMES)} is on PATH; apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    # Chromium does not sandbox what root starts.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()


@dataclass
class Heard:
    """What a page said and asked for while it was open.

    Attributes:
        errors: messages of its console above notes, and exceptions. requests: addresses, but for `data:`.
    """

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def wait_until(page: Page, condition: str, seconds: float = 15.0) -> None:
    """Waits for a condition in JavaScript; the page's policy forbids Playwright's own way, which is eval."""
    until = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < until, f"not within {seconds} s: {condition}"
        page.wait_for_timeout(30)


@contextmanager
def opened_page(
    browser: Browser, url: str, width: int = 1400, scheme: str = "light", **options: object
) -> Iterator[tuple[Page, Heard]]:
    """A page in a context of its own, with all that it says and asks for."""
    height = 1000 if width > 800 else 844
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    heard = Heard()
    page.on(
        "console", lambda said: heard.errors.append(said.text) if said.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: heard.errors.append(str(error)))
    page.on(
        "request", lambda asked: None if asked.url.startswith("data:") else heard.requests.append(asked.url)
    )
    page.goto(url)
    try:
        yield page, heard
    finally:
        context.close()
