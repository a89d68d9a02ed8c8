"""Stills of shots that `moderation` scores high, in the report and in the viewer, in a browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.report import write_report
from tests.browser import opened_page, wait_until
from tests.cluster.view.conftest import serving
from tests.cluster.view.folders import SAMPLE, add_rows
from tests.cluster.view.test_report_page import scenes_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BLURRED = "[...document.querySelectorAll('li.card')].map(card => getComputedStyle(\
card.querySelector('.picture img') ?? card).filter).map(filter => filter.includes('blur'))"


@pytest.fixture(scope="module")
def judged(folder: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The folder with scores of the sample's sampled frames: those of its second shot high."""
    root = tmp_path_factory.mktemp("judged") / "out"
    shutil.copytree(str(folder.root), root)
    dataset = Dataset.open(root, create=False)
    (source,) = (source for source, uris in uris_by_source(dataset).items() if uris[0].endswith(SAMPLE))
    _, first, last = scenes_of(dataset, SAMPLE)[1]
    rows = [
        {"frame_index": 25 * second, "pts_seconds": float(second), "unsafe": unsafe}
        for second in range(12)
        for unsafe in [0.9 if first <= 25 * second < last else 0.3]
    ]
    assert {row["unsafe"] for row in rows} == {0.3, 0.9}
    add_rows(dataset, "moderation", {source: rows})
    return Dataset.open(root, create=False)


def shows_on_click(page: Page) -> None:
    """The second card alone is blurred; the first click shows it, and only that."""
    cards = page.locator("li.card")
    assert page.evaluate(BLURRED)[:5] == [False, True, False, False, False]
    assert cards.nth(1).locator(".sensitive").inner_text() == "Sensitive: click to show"
    address = page.url
    cards.nth(1).locator(".sensitive").click()
    wait_until(page, f"!{BLURRED}.includes(true)")
    assert page.locator(".sensitive").count() == 0
    assert page.url == address and page.locator("dialog[open]").count() == 0


def test_the_report_blurs_an_unsafe_shot_until_it_is_clicked(
    browser: Browser, judged: Dataset, tmp_path: Path
) -> None:
    report = write_report(judged, str(tmp_path / "report.html"))
    with opened_page(browser, Path(report.path).as_uri()) as (page, heard):
        page.locator("#tab-shots").click()
        names = page.locator(".find option").all_inner_texts()
        page.locator(".find select").select_option(
            index=next(number for number, name in enumerate(names) if SAMPLE in name)
        )
        page.locator("li.card .show").nth(4).wait_for()
        shows_on_click(page)
        assert heard.errors == []


def test_the_viewer_blurs_an_unsafe_shot_until_it_is_clicked(browser: Browser, judged: Dataset) -> None:
    with serving(Path(str(judged.root))) as viewed, opened_page(browser, viewed.url) as (page, _):
        box = page.get_by_label("Condition in SQL")
        box.fill(f"name = '{SAMPLE}'")
        box.press("Enter")
        wait_until(page, "document.querySelectorAll('li.card .picture').length === 5")
        shows_on_click(page)
