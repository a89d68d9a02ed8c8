"""A report of more shots than a page embeds: every picture as it is shown, and what scrolling costs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from framemill.cluster.view.report import MAX_EMBEDDED, Report, write_report
from tests.browser import opened_page, wait_until
from tests.cluster.results.hand_made import make_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FILES, SHOTS = 7, 300
HEIGHT = 2_000
# Of all that are in the window: whose picture it is, and the middle of it.
_SHOWN = """[...document.querySelectorAll('.card .sprite')].flatMap(sprite => {
    const { x, y, width, height } = sprite.getBoundingClientRect();
    const inside = y >= 0 && y + height <= innerHeight;
    const named = sprite.closest('button').getAttribute('aria-label');
    return inside ? [[named, x + width / 2, y + height / 2]] : [];
})"""
_SHEETS = """[...new Set([...document.querySelectorAll('.sprite')]
    .map(sprite => /url\\("(.*)"\\)/.exec(sprite.style.backgroundImage)[1]))]"""

pytestmark = pytest.mark.slow


def colour_of(file: int, shot: int) -> tuple[int, ...]:
    """Neighbours are far apart, also in other files; no two of 343 are alike."""
    number = (file * SHOTS + shot) * 100 % 343
    return tuple(42 * (number // 7**place % 7) for place in range(3))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("many")
    tables: dict[str, dict[str, list[dict[str, Any]]]] = {"scenes": {}, "frames": {}, "media": {}}
    for file in range(FILES):
        edges = [(shot * 50, shot * 50 + 50) for shot in range(SHOTS)]
        tables["scenes"][str(file)] = [
            {
                "scene_index": shot,
                "start_seconds": first / 25,
                "end_seconds": end / 25,
                "start_frame": first,
                "end_frame": end,
                "transition": "cut" if shot else "start",
            }
            for shot, (first, end) in enumerate(edges)
        ]
        tables["frames"][str(file)] = [
            {
                "frame_index": first + 25,
                "pts_seconds": first / 25 + 1,
                "frame_score": 0.5,
                "image": jpeg(colour_of(file, shot)),
            }
            for shot, (first, _) in enumerate(edges)
        ]
        media = {"container": "mov,mp4", "video_codec": "hevc", "width": 320, "height": 180, "fps": 25.0}
        tables["media"][str(file)] = [{"uri": f"/videos/{file}.mp4", "num_frames": 50 * SHOTS, **media}]
    dataset = make_folder(folder / "out", tables, durations={str(file): 600.0 for file in range(FILES)})
    return write_report(dataset, str(folder / "many.html"))


def jpeg(colour: tuple[int, ...]) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (320, 180), colour).save(held, "JPEG")
    return held.getvalue()


@pytest.fixture
def page(browser: Browser, many: Report) -> Iterator[Page]:
    with opened_page(browser, Path(many.path).as_uri()) as (opened, heard):
        opened.set_viewport_size({"width": 1400, "height": HEIGHT})
        opened.locator("#tab-shots").click()
        opened.locator(".card .sprite").first.wait_for()
        yield opened
        assert heard.errors == []


def test_every_picture_is_that_of_its_shot(page: Page, many: Report) -> None:
    assert many.num_shots == FILES * SHOTS > MAX_EMBEDDED
    assert many.folder
    seen: set[str] = set()
    for _ in range(2 * FILES * SHOTS):
        page.wait_for_timeout(60)
        wait_until(page, f"{_SHOWN}.length > 0")
        for sheet in page.evaluate(_SHEETS):
            assert (Path(many.path).parent / sheet).is_file()
        look(page, seen)
        page.mouse.wheel(0, HEIGHT - 600)
        page.wait_for_timeout(60)
        if page.evaluate("scrollY + innerHeight >= document.documentElement.scrollHeight - 1"):
            look(page, seen)
            break
    assert len(seen) == FILES * SHOTS


def look(page: Page, seen: set[str]) -> None:
    """Compares what is on the screen with the colours that were put into the pictures."""
    shown = [one for one in page.evaluate(_SHOWN) if one[0] not in seen]
    for attempt in range(20):
        pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), int)
        wrong = {}
        for name, x, y in shown:
            _, shot, _, file, *_ = name.strip("\u2068\u2069").split()
            wanted = colour_of(int(file.strip("\u2068\u2069,").split(".")[0]), int(shot) - 1)
            found = pixels[int(y), int(x)]
            if np.abs(found - wanted).max() > 14:
                wrong[name] = (found, wanted)
        if not wrong:  # a sheet may still be on its way to the screen
            break
        assert attempt < 19, wrong
        page.wait_for_timeout(100)
    seen.update(name for name, _, _ in shown)


def test_no_task_takes_long_while_scrolling(browser: Browser, page: Page) -> None:
    """By the time that the page's thread ran, in the calmest of three passes: other work must not count."""
    page.set_viewport_size({"width": 1400, "height": 1000})
    longest = []
    for _ in range(3):
        page.reload()
        page.locator("#tab-shots").click()
        page.locator(".card .sprite").first.wait_for()
        longest.append(longest_task(browser, page))
        if longest[-1] < 50:
            break
    assert min(longest) < 50, longest


def longest_task(browser: Browser, page: Page) -> float:
    """Milliseconds of the longest task while the page is scrolled from top to bottom."""
    browser.start_tracing(page=page, categories=["toplevel", "__metadata"])
    while not page.evaluate("scrollY + innerHeight >= document.documentElement.scrollHeight - 1"):
        page.mouse.wheel(0, 600)
        page.wait_for_timeout(30)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event.get("name") == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        event["tdur"] / 1000
        for event in events
        if (event["pid"], event["tid"]) in mains and event["name"].endswith("RunTask") and "tdur" in event
    ]
    assert len(tasks) > 200
    return max(tasks)
