"""The report as a person meets it, in a browser."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import query
from tests.browser import Heard, opened_page, wait_until
from tests.cluster.view.folders import BOX, LATE, SAMPLE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

VIEWS = ("overview", "shots", "transcript", "text", "people", "twins")
LOADED = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"

VIDEO = "document.querySelector('video')"
SOUGHT = f"{VIDEO}?.readyState > 1 && !{VIDEO}.seeking && {VIDEO}.currentTime > 0.01"


@pytest.fixture
def opened(browser: Browser, report_url: str) -> Iterator[tuple[Page, Heard]]:
    with opened_page(browser, report_url) as found:
        yield found
        assert found[1].errors == []


@pytest.fixture
def page(opened: tuple[Page, Heard]) -> Page:
    return opened[0]


def turn_to(page: Page, view: str) -> None:
    page.locator(f"#tab-{view}").click()


def sample(page: Page, name: str = SAMPLE, shots: int = 5) -> Locator:
    """The section of one clip, alone on the page of shots."""
    page.locator(".find select").select_option(index=1 + names(page).index(name))
    section = page.locator("section.file")
    section.locator("li.card .show").nth(shots - 1).wait_for()
    return section


def names(page: Page) -> list[str]:
    return [name.strip("\u2068\u2069") for name in page.locator(".find option").all_inner_texts()[1:]]


def scenes_of(folder: Dataset, name: str) -> list[tuple[Any, ...]]:
    sql = "SELECT start_seconds, start_frame, end_frame FROM scenes JOIN sources USING (source_id)"
    return query(folder.root, f"{sql} WHERE uri LIKE '%{name}' ORDER BY start_seconds").rows


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_all_pages_fit_and_their_pictures_load(
    browser: Browser, report_url: str, width: int, scheme: str
) -> None:
    with opened_page(browser, report_url, width, scheme) as (page, heard):
        for view in VIEWS:
            turn_to(page, view)
            wait_until(
                page, LOADED if view in ("transcript", "text") else f"document.images.length > 0 && {LOADED}"
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert page.locator("#tab-twins").get_attribute("aria-selected") == "true"
        assert heard.errors == []
        assert {url.split("#")[0] for url in heard.requests} == {report_url}


def test_a_click_on_the_third_shot_goes_to_its_first_frame(page: Page, folder: Dataset) -> None:
    start, first, last = scenes_of(folder, SAMPLE)[2]
    card = sample(page).locator("li.card").nth(2)
    card.locator(".show").click()
    wait_until(page, SOUGHT)
    assert page.evaluate(f"{VIDEO}.currentTime") == pytest.approx(start, abs=1 / 25)
    assert page.locator("[role=slider]").get_attribute("aria-valuenow") == f"{start:.2f}"
    assert f"frames {first}\u2013{last - 1}" in card.inner_text()
    codes = [f"00:00:{frame // 25:02}:{frame % 25:02}" for frame in (first, last)]
    assert card.locator(".codes span:not(.arrow)").all_inner_texts() == codes


def test_a_click_on_the_timeline_goes_there(page: Page) -> None:
    tracks = sample(page).locator(".tracks")
    edges = tracks.bounding_box()
    assert edges is not None
    tracks.click(position={"x": edges["width"] * 0.5, "y": 30})
    wait_until(page, SOUGHT)
    assert page.evaluate(f"{VIDEO}.currentTime") == pytest.approx(6.0, abs=1 / 25)


def test_times_count_from_the_first_frame_of_a_file_that_begins_late(page: Page) -> None:
    tracks = sample(page, LATE, 1).locator(".tracks")
    tracks.focus()
    tracks.press("ArrowRight")
    wait_until(page, SOUGHT)
    assert page.evaluate(f"{VIDEO}.currentTime") == pytest.approx(2 + 1, abs=1 / 25)
    assert tracks.get_attribute("aria-valuenow") == "1.00"


def test_boxes_stand_where_the_table_says(page: Page) -> None:
    card = sample(page).locator("li.card").first
    picture = card.locator("img").bounding_box()
    edges = card.locator("rect.object").evaluate(
        "box => { const held = box.getBBox(), to = box.getScreenCTM();"
        "const from = new DOMPoint(held.x, held.y).matrixTransform(to);"
        "const until = new DOMPoint(held.x + held.width, held.y + held.height).matrixTransform(to);"
        "return [from.x, from.y, until.x, until.y]; }"
    )
    assert picture is not None
    scale = picture["width"] / 320
    assert scale * 180 == pytest.approx(picture["height"], abs=1)
    wanted = [
        picture["x"] + BOX["x0"] * scale,
        picture["y"] + BOX["y0"] * scale,
        picture["x"] + BOX["x1"] * scale,
        picture["y"] + BOX["y1"] * scale,
    ]
    assert edges == pytest.approx(wanted, abs=1)


@pytest.mark.parametrize(
    ("query_text", "shots"), [("MILLING", [5]), ("third shot", [3, 4]), ("stopwatch", [3]), ("nowhere", [])]
)
def test_search_finds_words_text_and_labels(page: Page, query_text: str, shots: list[int]) -> None:
    page.keyboard.press("/")
    page.keyboard.type(query_text)
    if not shots:
        page.locator(".empty").wait_for()
        return
    page.locator("mark", has_text=query_text).first.wait_for()
    wait_until(page, f"document.querySelectorAll('.card .number').length === {len(shots)}")
    assert [int(text) for text in page.locator(".card .number").all_inner_texts()] == shots
    assert {text.lower() for text in page.locator("mark").all_inner_texts()} == {query_text.lower()}


def test_what_is_hostile_stays_text(page: Page) -> None:
    for view in VIEWS:
        turn_to(page, view)
    turn_to(page, "text")
    said = page.locator(".line bdi").all_inner_texts()
    assert any("</script><script>window.hacked = 1</script>" in text for text in said)
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script:not([type='application/json'])").count() == 0
    assert any(name.startswith("<img src=x onerror=hacked()>") for name in names(page))
    turn_to(page, "overview")
    # What turns the direction of letters is inside an element of its own.
    assert (
        page.evaluate(
            "[...document.querySelectorAll('main *')].filter(node => [...node.childNodes].some(child =>"
            "child.nodeType === 3 && child.data.includes('\\u202e') && !node.closest('bdi'))).length"
        )
        == 0
    )


def test_ticked_shots_are_copied_as_csv_and_edl(page: Page, folder: Dataset) -> None:
    section = sample(page)
    for number in (2, 4):
        section.get_by_label(f"Tick shot {number}").check()
    page.get_by_role("button", name="Copy as CSV").click()
    rows = list(csv.DictReader(io.StringIO(page.locator("dialog textarea").input_value())))
    scenes = scenes_of(folder, SAMPLE)
    assert [(int(row["shot"]), int(row["start_frame"])) for row in rows] == [
        (number, scenes[number - 1][1]) for number in (2, 4)
    ]
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Copy as EDL").click()
    edl = page.locator("dialog textarea").input_value().splitlines()
    events = [line.split() for line in edl if line[:3].isdigit()]
    _, first, last = scenes[1]
    assert (events[0][0], *events[0][2:4]) == ("001", "V", "C") and len(events[0][1]) == 8
    assert events[0][4] == f"00:00:{first // 25:02}:{first % 25:02}"
    assert events[1][6] == f"01:00:{(last - first) // 25:02}:{(last - first) % 25:02}"
    assert "FCM: NON-DROP FRAME" in edl


def test_a_click_on_a_word_goes_to_where_it_is_said(page: Page) -> None:
    turn_to(page, "transcript")
    page.get_by_role("button", name="milling").click()
    wait_until(page, SOUGHT)
    assert page.evaluate(f"{VIDEO}.currentTime") == pytest.approx(9.0, abs=1 / 25)


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.locator("#tab-overview").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tab-shots").get_attribute("aria-selected") == "true"
    section = sample(page)
    section.locator(".show").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.locator(".tray b").inner_text() == "1 shot ticked"
    assert section.get_by_label("Tick shot 2").is_checked()
    section.locator("[role=slider]").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert section.locator("[role=slider]").get_attribute("aria-valuenow") == "11.00"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
