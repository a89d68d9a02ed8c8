"""The viewer's long and living lists, SQL, tags and names, in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from framemill.cluster.results.corpus_tables import uris_by_source
from tests.browser import opened_page, wait_until
from tests.cluster.view.conftest import Viewed
from tests.cluster.view.folders import SAMPLE, add_rows
from tests.cluster.view.test_report_page import scenes_of
from tests.cluster.view.test_view_page import REFUSED, turn_to, wait_for_count

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

NOT_THERE = "Failed to load resource: the server responded with a status of 404 (Not Found)"
VISIBLE = """[...document.querySelectorAll('li.card')].map(card => [card, card.getBoundingClientRect()])
    .filter(([, edges]) => edges.bottom > 0 && edges.top < innerHeight)"""
SHOWN = f"{VISIBLE}.map(([card, edges]) => [card.dataset.shot, Math.round(edges.x), Math.round(edges.y)])"
FILLED = f"{VISIBLE}.length > 8 && {VISIBLE}.every(([card]) => card.querySelector('.show'))"


@pytest.fixture
def page(browser: Browser, viewed: Viewed) -> Iterator[Page]:
    with opened_page(browser, viewed.url) as (page, heard):
        page.locator("li.card .show").first.wait_for()
        yield page
        assert [error for error in heard.errors if error not in (REFUSED, NOT_THERE)] == []


class Scripted:
    """Answers of a server with so many shots, of which some come in later."""

    def __init__(self, number: int) -> None:
        self.rows = [self.row("a", index) for index in range(number)]
        self.sequence = 1

    @staticmethod
    def row(source: str, index: int) -> dict[str, Any]:
        return {
            **{
                "source": source,
                "index": index,
                "name": f"{source}.mp4",
                "url": "",
                "still": "",
                "boxes": [],
            },
            **{"start": index, "end": index + 1, "first": index * 25, "last": index * 25 + 25, "fps": 25.0},
            **{"frame": index * 25, "at": index, "transition": "cut", "labels": [["dog", 1, 0]], "text": []},
            **{"words": "", "people": [], "tags": [], "width": 320, "height": 180, "offset": 0},
            **{"sharpness": None, "motion": None, "loudness": None},
        }

    def answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        told: dict[str, Any] = {"facets": []}
        if url.path.endswith("/shots"):
            first = int(asked["offset"])
            told = {"total": len(self.rows), "rows": self.rows[first : first + int(asked["limit"])]}
        elif url.path.endswith("/sequence"):
            index = {"ready": True, "done": 1, "total": 1}
            told = {"sequence": self.sequence, "index": index, "running": None}
        route.fulfill(body=json.dumps(told), content_type="application/json")


@pytest.fixture
def scripted(page: Page) -> Scripted:
    answers = Scripted(5000)
    page.route("**/api/**", answers.answer)
    page.reload()
    wait_until(page, "document.querySelector('.counted b')?.textContent === '5,000 shots'")
    return answers


def test_five_thousand_shots_scroll_in_a_small_document(page: Page, scripted: Scripted) -> None:
    wait_until(page, FILLED)
    page.mouse.move(800, 500)
    for _ in range(30):
        page.mouse.wheel(0, 900)
        page.wait_for_timeout(20)
    wait_until(page, f"scrollY > 10000 && {FILLED}")
    assert page.locator("li.card").count() < 120
    page.locator("li.card .show").first.focus()
    page.keyboard.press("End")
    wait_until(page, "document.activeElement.closest('li')?.ariaPosInSet === '5000'")
    wait_until(page, FILLED)
    assert page.locator("li.card").count() < 120
    page.keyboard.press("Home")
    wait_until(page, f"document.activeElement.closest('li')?.ariaPosInSet === '1' && {FILLED}")


def test_what_a_run_adds_comes_in_without_moving_what_is_looked_at(page: Page, scripted: Scripted) -> None:
    page.evaluate("scrollTo(0, 3000)")
    wait_until(page, f"{VISIBLE}.some(([card]) => card.dataset.shot === 'a.60')")
    wait_until(page, FILLED)
    before = page.evaluate(SHOWN)
    scripted.rows += [scripted.row("b", index) for index in range(7)]
    scripted.sequence += 1
    wait_until(page, "document.querySelector('.counted b').textContent === '5,007 shots'")
    assert page.evaluate(SHOWN) == before
    scripted.rows = [scripted.row("0", index) for index in range(3)] + scripted.rows
    scripted.sequence += 1
    news = page.get_by_role("button", name="3 more shots: show")
    news.wait_for()
    assert page.evaluate(SHOWN) == before
    page.evaluate("document.querySelector('.news').click()")
    wait_until(page, "document.querySelector('.counted b').textContent === '5,010 shots'")
    news.wait_for(state="hidden")
    assert page.evaluate(SHOWN) != before


def test_a_commit_shows_by_itself(page: Page, viewed: Viewed) -> None:
    source = next(s for s, uris in uris_by_source(viewed.dataset).items() if uris[0].endswith("late.webm"))
    assert page.locator("[data-facet=label] label", has_text="walrus").count() == 0
    row = {"frame_index": 0, "pts_seconds": 0.0, "label": "walrus", "label_index": 0, "score": 0.9}
    box = {"x0": 1.0, "y0": 1.0, "x1": 9.0, "y1": 9.0}
    add_rows(viewed.dataset, "objects", {source: [{**row, "object_index": 0, "box": box}]})
    page.locator("[data-facet=label] label", has_text="walrus").click()
    wait_for_count(page, 1)


def test_sql_answers_in_a_table_whose_rows_lead_to_their_shots(page: Page, viewed: Viewed) -> None:
    turn_to(page, "sql")
    box = page.get_by_label("SQL", exact=True)
    box.fill(
        "SELECT source_id, scene_index, start_frame FROM shots ORDER BY uri DESC, scene_index DESC LIMIT 2"
    )
    box.press("Control+Enter")
    page.locator("table .num").first.wait_for()
    (last,) = scenes_of(viewed.dataset, SAMPLE)[-1:]
    assert page.locator("table .num").nth(1).inner_text() == str(last[1])
    assert "2 rows in" in page.locator("#sql-told").inner_text()
    page.get_by_role("button", name="shot", exact=True).first.click()
    page.get_by_role("heading", name=f"Shot 5 of {SAMPLE}").wait_for()
    page.keyboard.press("Escape")
    box.fill("SELECT nonsense FROM shots")
    box.press("Control+Enter")
    page.locator("pre.error", has_text="nonsense").wait_for()
    page.go_back()
    wait_until(page, "document.querySelectorAll('tbody tr').length === 2")


def test_a_folder_without_vectors_says_what_would_help(page: Page) -> None:
    page.locator(f".show[aria-label*='Shot 1 of {SAMPLE}']").click()
    page.get_by_role("button", name="More like this").click()
    page.locator(".like", has_text="image_embeddings").wait_for()


def test_a_still_that_cannot_be_had_leaves_word_in_its_place(page: Page) -> None:
    page.route("**/stills/**", lambda route: route.fulfill(status=404))
    page.reload()
    page.locator("li.card .no-still", has_text="no picture").first.wait_for()
    # Each goes when its own refusal comes in.
    wait_until(page, "document.querySelectorAll('li.card img').length === 0")
    assert page.locator("li.card .no-still").count() == page.locator("li.card .show").count()
