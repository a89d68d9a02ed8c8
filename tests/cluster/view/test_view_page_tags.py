"""Tags of shots and names of people, given in the viewer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from framemill.cluster.results.queries import query
from tests.browser import opened_page, wait_until
from tests.cluster.view.conftest import Viewed
from tests.cluster.view.folders import SAMPLE
from tests.cluster.view.test_view_page import REFUSED, turn_to, wait_for_count

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def page(browser: Browser, viewed: Viewed) -> Iterator[Page]:
    with opened_page(browser, viewed.url) as (page, heard):
        page.locator("li.card .show").first.wait_for()
        yield page
        assert [error for error in heard.errors if error != REFUSED] == []


def tagged(viewed: Viewed, tag: str) -> list[int]:
    sql = f"SELECT scene_index FROM tags WHERE tag = '{tag}' ORDER BY 1"
    return [row[0] for row in query(viewed.dataset.root, sql).rows]


def tick(page: Page, number: int) -> None:
    page.locator(f".tick input[aria-label*='Tick shot {number} of {SAMPLE}']").check()


def test_ticked_shots_are_tagged_by_the_keyboard_and_found_by_their_tag(page: Page, viewed: Viewed) -> None:
    tick(page, 2)
    tick(page, 4)
    page.keyboard.press("t")
    page.locator("dialog.tags[open]").wait_for()
    page.keyboard.type("keep")
    page.keyboard.press("Enter")
    page.locator("dialog.tags .chip", has_text="keep").wait_for()
    assert tagged(viewed, "keep") == [1, 3]
    page.keyboard.press("Escape")
    page.locator(f"li.card:has(.show[aria-label*='Shot 4 of {SAMPLE}']) .chip.tag").wait_for()
    page.locator("[data-facet=tag] label", has_text="keep").click()
    wait_for_count(page, 2)
    page.locator("li.card .show").first.click()
    page.get_by_role("button", name="Take the tag away").click()
    page.get_by_role("button", name="Take the tag away").wait_for(state="detached")
    assert tagged(viewed, "keep") == [3]


def test_cards_of_a_file_s_page_show_tags_and_share_ticks_with_the_grid(page: Page, viewed: Viewed) -> None:
    tick(page, 2)
    turn_to(page, "files")
    page.locator(f"a.poster:has-text('{SAMPLE}')").first.click()
    boxes = page.locator("section.file li.card .tick input")
    boxes.nth(1).wait_for()
    assert [boxes.nth(number).is_checked() for number in range(3)] == [False, True, False]
    boxes.nth(2).check()
    page.locator(".tray", has_text="2 shots ticked").wait_for()
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_label("Add a tag").fill("both")
    page.get_by_label("Add a tag").press("Enter")
    page.locator("dialog.tags .chip", has_text="both").wait_for()
    assert tagged(viewed, "both") == [1, 2]
    page.keyboard.press("Escape")
    shown = page.locator("section.file li.card:has(.chip.tag:has-text('both'))")
    shown.nth(1).wait_for()
    assert [shown.nth(n).get_attribute("data-shot") for n in range(shown.count())] == ["1", "2"]
    page.reload()
    shown.nth(1).wait_for()
    assert [shown.nth(n).get_attribute("data-shot") for n in range(shown.count())] == ["1", "2"]


def test_a_tag_that_is_refused_is_told_at_its_box(page: Page, viewed: Viewed) -> None:
    tick(page, 1)
    page.get_by_role("button", name="Tag", exact=True).click()
    box = page.get_by_label("Add a tag")
    box.fill("x" * 100)
    box.press("Enter")
    page.locator("dialog.tags .error", has_text="64").wait_for()
    assert query(viewed.dataset.root, "SELECT count(*) FROM tags WHERE tag LIKE 'xx%'").rows == [(0,)]


def test_a_person_gets_a_name_that_stays(page: Page, viewed: Viewed) -> None:
    turn_to(page, "people")
    box = page.get_by_label("Name of person a1b2c3")
    box.fill("Anna <b>")
    box.press("Enter")
    page.get_by_text("saved").wait_for()
    page.reload()
    page.get_by_label("Name of person a1b2c3").wait_for()
    assert page.get_by_label("Name of person a1b2c3").input_value() == "Anna <b>"
    turn_to(page, "shots")
    page.locator("[data-facet=person] label", has_text="Anna <b>").click()
    wait_until(page, "document.querySelector('.filter b')?.textContent === 'Anna <b>'")
    page.locator("li.card .chip.person", has_text="Anna <b>").first.wait_for()
