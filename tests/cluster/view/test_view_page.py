"""`framemill view` as a person meets it, in a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import uvicorn

from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.server import Viewer, open_viewer
from tests.browser import opened_page, wait_until
from tests.cluster.view.folders import SAMPLE, add_rows
from tests.cluster.view.test_report_page import LOADED, SOUGHT, VIDEO, VIEWS, sample, scenes_of, turn_to

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def viewer(folder: Dataset) -> Iterator[Viewer]:
    """Serves on a thread of its own, without handling of signals."""
    opened = open_viewer(Dataset.open(folder.root, create=False))
    config = uvicorn.Config(opened._pages, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened._socket]})
    thread.start()
    yield opened
    server.should_exit = server.force_exit = True
    thread.join(10)
    opened._socket.close()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_all_pages_fit_and_ask_nobody_else(browser: Browser, viewer: Viewer, width: int, scheme: str) -> None:
    with opened_page(browser, viewer.url, width, scheme) as (page, heard):
        page.locator("#tab-overview").wait_for()
        assert "token" not in page.url
        for view in VIEWS:
            turn_to(page, view)
            wait_until(
                page, LOADED if view in ("transcript", "text") else f"document.images.length > 0 && {LOADED}"
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert page.evaluate("typeof window.hacked") == "undefined"
        assert page.locator("img[src=x]").count() == 0
    own = viewer.url.partition("?")[0]
    assert heard.errors == []
    assert [url for url in heard.requests if not url.startswith(own)] == []


def test_a_click_on_the_third_shot_of_a_served_file_goes_to_its_first_frame(
    browser: Browser, viewer: Viewer, folder: Dataset
) -> None:
    start, _, _ = scenes_of(folder, SAMPLE)[2]
    with opened_page(browser, viewer.url) as (page, heard):
        page.locator("#tab-overview").wait_for()
        turn_to(page, "shots")
        sample(page).locator("li.card").nth(2).locator(".show").click()
        wait_until(page, SOUGHT)
        assert page.evaluate(f"{VIDEO}.currentTime") == pytest.approx(start, abs=1 / 25)
        assert "/media/" in page.evaluate(f"{VIDEO}.currentSrc")
        assert heard.errors == []


def test_what_a_run_adds_is_told_and_shown_when_asked_for(
    browser: Browser, viewer: Viewer, folder: Dataset
) -> None:
    own = Dataset.open(folder.root, create=False)
    with opened_page(browser, viewer.url) as (page, heard):
        page.locator("#tab-overview").wait_for()
        assert page.get_by_role("button", name="Show it").count() == 0
        add_rows(own, "sounds", {next(iter(uris_by_source(own))): []})
        page.get_by_role("button", name="Show it").click()
        page.get_by_role("button", name="Show it").wait_for(state="detached")
        page.locator("#tab-overview").wait_for()
        assert heard.errors == []
