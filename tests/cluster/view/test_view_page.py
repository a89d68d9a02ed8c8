"""The shots of `framemill view` as a person meets them, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from framemill.cluster.results.queries import query
from tests.browser import Heard, opened_page, wait_until
from tests.cluster.view.conftest import Viewed
from tests.cluster.view.folders import BOX, HOSTILE_TEXT, SAMPLE
from tests.cluster.view.test_report_page import LOADED, SOUGHT, VIDEO, scenes_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

PAGES = ("shots", "files", "people", "twins", "sql", "errors", "runs", "overview")
REFUSED = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
FOCUSED = "document.activeElement.closest('li')?.dataset.shot"


@pytest.fixture
def opened(browser: Browser, viewed: Viewed) -> Iterator[tuple[Page, Heard]]:
    with opened_page(browser, viewed.url) as (page, heard):
        page.locator("li.card .show").first.wait_for()
        yield page, heard
        assert [error for error in heard.errors if error != REFUSED] == []


@pytest.fixture
def page(opened: tuple[Page, Heard]) -> Page:
    return opened[0]


def turn_to(page: Page, name: str) -> None:
    page.locator(f".tabs a[href^='#{name}']").click()
    page.locator(f"main[data-page={name}]").wait_for()


def count(viewed: Viewed, where: str = "true") -> int:
    return int(query(viewed.dataset.root, f"SELECT count(*) FROM shots WHERE {where}").rows[0][0])


def wait_for_count(page: Page, number: int) -> None:
    wait_until(page, f"/^{number} shots?$/.test(document.querySelector('.counted b')?.textContent)")


def open_shot(page: Page, number: int, name: str = SAMPLE) -> None:
    page.locator(f".show[aria-label*='Shot {number} of {name}']").click()
    page.locator("dialog.shotview[open] .screen").wait_for()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_all_pages_fit_load_their_pictures_and_ask_nobody_else(
    browser: Browser, viewed: Viewed, width: int, scheme: str
) -> None:
    with opened_page(browser, viewed.url, width, scheme) as (page, heard):
        page.locator("li.card .show").first.wait_for()
        assert "token" not in page.url
        for name in PAGES:
            turn_to(page, name)
            has_pictures = name in ("shots", "files", "people", "twins")
            wait_until(page, f"document.images.length > 0 && {LOADED}" if has_pictures else LOADED)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        turn_to(page, "files")
        page.locator("a.poster", has_text=SAMPLE).click()
        page.locator(".timeline .lane.shot").wait_for()
        wait_until(page, LOADED)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    own = viewed.url.partition("?")[0]
    assert heard.errors == []
    assert [url for url in heard.requests if not url.startswith(own)] == []


def test_a_click_on_the_third_shot_shows_its_first_frame(page: Page, viewed: Viewed) -> None:
    start, first, last = scenes_of(viewed.dataset, SAMPLE)[2]
    open_shot(page, 3)
    wait_until(page, SOUGHT)
    assert page.evaluate(f"{VIDEO}.currentTime") == pytest.approx(start, abs=1 / 25)
    assert "/media/" in page.evaluate(f"{VIDEO}.currentSrc")
    assert f"{first}\u2013{last - 1}" in page.locator(".known .facts").inner_text()
    page.keyboard.press("ArrowRight")
    page.get_by_role("heading", name="Shot 4 of").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog.shotview[open]").wait_for(state="detached")
    wait_until(page, f"document.activeElement.ariaLabel?.includes('Shot 4 of {SAMPLE}')")


# Where a box is on the screen, where it has to be, and how old it is, all of one moment.
DRAWN = """(() => {
    const box = document.querySelector('.screen rect.object'), video = document.querySelector('video');
    if (!box) return null;
    const held = box.getBBox(), to = box.getScreenCTM(), edges = video.getBoundingClientRect();
    const place = (x, y) => new DOMPoint(x, y).matrixTransform(to);
    const [from, until] = [place(held.x, held.y), place(held.x + held.width, held.y + held.height)];
    const scale = Math.min(edges.width / video.videoWidth, edges.height / video.videoHeight);
    return { drawn: [from.x, from.y, until.x, until.y], scale, width: video.videoWidth,
        left: edges.x + (edges.width - video.videoWidth * scale) / 2,
        top: edges.y + (edges.height - video.videoHeight * scale) / 2,
        seconds: Number(box.closest('svg').dataset.seconds), now: video.currentTime, paused: video.paused };
})()"""


@pytest.mark.parametrize("width", [1400, 390])
def test_boxes_stand_where_the_table_says_over_the_playing_video(
    browser: Browser, viewed: Viewed, width: int
) -> None:
    with opened_page(browser, viewed.url, width) as (page, heard):
        page.locator("li.card .show").first.wait_for()
        open_shot(page, 1)
        page.keyboard.press("p")
        wait_until(page, f"{VIDEO}.currentTime > 1.1 && !{VIDEO}.paused")
        told = page.evaluate(DRAWN)
        assert (told["width"], told["paused"]) == (320, False)
        at = {"x0": "left", "y0": "top", "x1": "left", "y1": "top"}
        wanted = [told[side] + BOX[edge] * told["scale"] for edge, side in at.items()]
        assert told["drawn"] == pytest.approx(wanted, abs=1)
        # Of the sampled frame that is shown or the one before it; a frame may pass meanwhile.
        assert told["seconds"] <= told["now"] + 0.01
        assert told["now"] - told["seconds"] < 1.2
        page.locator(".kind.object input").uncheck()
        wait_until(page, "!document.querySelector('.screen rect.object')")
        assert heard.errors == []


def test_boxes_stand_on_the_still_of_a_file_that_does_not_play(page: Page) -> None:
    def unplayable(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        route.fulfill(response=answer, json={**told, "rows": [{**row, "url": ""} for row in told["rows"]]})

    page.route("**/api/shots*", unplayable)
    page.reload()
    open_shot(page, 2)
    page.keyboard.press("p")
    box = page.locator(".screen rect.object")
    box.wait_for()
    picture, drawn = page.locator(".screen .picture").bounding_box(), box.bounding_box()
    assert picture is not None and drawn is not None
    scale = picture["width"] / 320
    assert drawn["x"] - picture["x"] == pytest.approx(BOX["x0"] * scale, abs=1.5)  # and half a line
    assert drawn["width"] == pytest.approx((BOX["x1"] - BOX["x0"]) * scale, abs=2.5)


def test_facets_filter_and_the_way_back_forward_and_a_reload_keep_what_was_chosen(
    page: Page, viewed: Viewed
) -> None:
    everything, chosen = count(viewed), count(viewed, "list_contains(labels, 'person')")
    assert 0 < chosen < everything
    wait_for_count(page, everything)
    page.locator("[data-facet=label] label", has_text="person").click()
    wait_for_count(page, chosen)
    assert page.locator(".filter b").all_inner_texts() == ["person"]
    assert page.locator("li.card .show").count() == chosen
    few = "list_contains(labels, 'person') AND transition = 'cut'"
    cut = page.locator("[data-facet=transition] label", has_text="cut")
    cut.locator(".number", has_text=str(count(viewed, few))).wait_for()
    cut.click()
    wait_for_count(page, count(viewed, few))
    page.go_back()
    wait_for_count(page, chosen)
    page.go_back()
    wait_for_count(page, everything)
    page.go_forward()
    page.reload()
    wait_for_count(page, chosen)
    assert page.locator("[data-facet=label] label", has_text="person").locator("input").is_checked()
    page.get_by_role("button", name="Remove the filter Labels").click()
    wait_for_count(page, everything)


def test_a_condition_filters_and_what_is_wrong_with_it_is_told_at_its_box(page: Page, viewed: Viewed) -> None:
    page.get_by_role("button", name="columns").click()
    page.locator(".columns").get_by_role("button", name="num_faces", exact=True).click()
    page.keyboard.type(" = 1")
    page.keyboard.press("Enter")
    wait_for_count(page, count(viewed, "num_faces = 1"))
    page.locator("#where").fill("nonsense = 1")
    page.keyboard.press("Enter")
    error = page.locator(".where .error")
    error.get_by_text("nonsense").wait_for()
    assert page.locator("#where").get_attribute("aria-invalid") == "true"
    page.locator("#where").fill("")
    page.keyboard.press("Enter")
    wait_for_count(page, count(viewed))
    assert error.is_hidden()


def test_an_open_shot_is_in_the_address(page: Page) -> None:
    open_shot(page, 2)
    address = page.url
    page.go_back()
    page.locator("dialog.shotview[open]").wait_for(state="detached")
    page.go_forward()
    page.locator("dialog.shotview[open]").wait_for()
    page.reload()
    page.get_by_role("heading", name=f"Shot 2 of {SAMPLE}").wait_for()
    assert page.url == address
    page.get_by_role("link", name="The whole file").click()
    page.locator("main[data-page=file] .timeline").wait_for()
    assert page.locator("dialog.shotview[open]").count() == 0


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("third shot")
    page.keyboard.press("Enter")
    wait_for_count(page, 2)
    wait_until(page, f"{FOCUSED}?.endsWith('.2')")
    page.keyboard.press("ArrowRight")
    wait_until(page, f"{FOCUSED}?.endsWith('.3')")
    page.keyboard.press("Space")
    assert page.locator(".tray b").inner_text() == "1 shot ticked"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+Space")
    page.locator(".tray", has_text="2 shots ticked").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Shot 3 of").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog.shotview[open]").wait_for(state="detached")
    page.keyboard.press("?")
    page.locator("dialog.help[open]").wait_for()
    page.keyboard.press("Escape")
    wait_until(page, f"{FOCUSED}?.endsWith('.2')")


def test_what_is_hostile_stays_text(page: Page) -> None:
    page.locator("#words").fill("window.hacked")
    wait_until(page, "document.querySelector('.card mark')?.textContent === 'window.hacked'")
    page.locator("li.card .show").first.click()
    page.locator("dialog .quote").first.wait_for()
    shown: list[Any] = page.locator("dialog bdi").all_inner_texts()
    assert any(HOSTILE_TEXT.strip()[:30] in text for text in shown)
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.locator("img[src=x], main script, dialog script").count() == 0
    # What turns the direction of letters is inside an element of its own.
    turned = "child.nodeType === 3 && child.data.includes('\\u202e') && !node.closest('bdi, title')"
    everything = "[...document.querySelectorAll('main *, dialog *')]"
    assert page.evaluate(f"{everything}.some(node => [...node.childNodes].some(child => {turned}))") is False
