"""The page's EDL of ticked shots is what `framemill export --format edl` writes."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from framemill.cluster.exports.formats import export_shots
from framemill.cluster.view.report import write_report
from tests.browser import opened_page
from tests.cluster.results.hand_made import make_folder
from tests.cluster.view.conftest import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NTSC = Fraction(30000, 1001)
NAME = "/clips/It's (1) 100% \u00e9!*\u00a0#a.b.mov"
CUTS = (0, 1799, 1801, 17_982, 20_000)


def make(root: Path, rate: Fraction, start: str | None, **more: Any) -> Any:
    """Two files, of which the second, whose name needs care, has shots around the minutes."""
    scenes = [
        {
            "scene_index": index, "start_frame": first, "end_frame": end, "transition": "cut",
            "start_seconds": float(first / rate), "end_seconds": float(end / rate),
        }
        for index, (first, end) in enumerate(pairwise(CUTS))
    ]  # fmt: skip
    seen = [
        (5, "dog"),
        (5, "traffic light/red"),
        (9, "dog"),
        (9, "cat"),
        (1799, "bus"),
        (19_000, "caf\u00e9\u200b"),
    ]
    objects = [
        {
            "frame_index": frame, "pts_seconds": float(frame / rate), "object_index": index, "label": label,
            "score": 0.9, "box": {"x0": 1.0, "y0": 1.0, "x1": 9.0, "y1": 9.0},
        }
        for index, (frame, label) in enumerate(seen)
    ]  # fmt: skip
    media = [
        {
            "uri": NAME, "fps": float(rate), "start_timecode": start, "video_codec": "h264",
            "num_frames": 20_000,
            "width": 64, "height": 48, "duration_seconds": float(20_000 / rate), **more,
        }
    ]  # fmt: skip
    tables = {"scenes": scenes, "objects": objects, "media": media}
    return make_folder(
        root,
        {name: {"a": [], "b": rows} for name, rows in tables.items()},
        {"a": ["/clips/A.mp4"], "b": [NAME]},
        durations={"a": 1.0, "b": float(20_000 / rate)},
    )


def page_edl(browser: Browser, path: Path) -> str:
    """What the page copies when all shots of the file are ticked."""
    with opened_page(browser, path.as_uri()) as (page, heard):
        page.locator("#tab-shots").click()
        page.locator(".find select").select_option(index=2)
        text = copied_edl(page, "section.file li.card .tick input")
        assert not heard.errors
    return text


def copied_edl(page: Page, boxes: str) -> str:
    """Ticks every shot, and copies."""
    ticks = page.locator(boxes)
    ticks.nth(len(CUTS) - 2).wait_for()
    for number in range(len(CUTS) - 1):
        ticks.nth(number).check()
    page.get_by_role("button", name="Copy as EDL").click()
    return page.locator("dialog textarea").input_value()


KINDS = [
    (NTSC, "00:59:59;28", {}),
    (NTSC, "00:59:59:28", {}),
    (Fraction(60000, 1001), None, {}),
    (Fraction(25), "23:59:58:24", {}),
    (Fraction(24), None, {"is_variable_rate": True}),
    (Fraction(25), "10:00:00:25", {}),
]


@pytest.mark.parametrize(("rate", "start", "more"), KINDS)
def test_the_page_s_edl_is_the_exporter_s(
    tmp_path: Path, browser: Browser, rate: Fraction, start: str | None, more: dict[str, Any]
) -> None:
    folder = make(tmp_path / "out", rate, start, **more)
    report = write_report(folder, str(tmp_path / "report.html"))
    (made,), _ = export_shots(tmp_path / "out", "edl", tmp_path / "edl")
    expected = Path(made.path).read_text()
    assert "GREEN   dog, cat, traffic light/red" in expected
    assert page_edl(browser, Path(report.path)) == expected


@pytest.mark.parametrize(("rate", "start", "more"), KINDS)
def test_the_viewer_s_edl_is_the_exporter_s(
    tmp_path: Path, browser: Browser, rate: Fraction, start: str | None, more: dict[str, Any]
) -> None:
    folder = make(tmp_path / "out", rate, start, **more)
    (made,), _ = export_shots(tmp_path / "out", "edl", tmp_path / "edl")
    with serving(Path(str(folder.root))) as viewed, opened_page(browser, viewed.url) as (page, heard):
        assert copied_edl(page, "li.card .tick input") == Path(made.path).read_text()
        # The stills of files that are not there.
        assert [error for error in heard.errors if "404" not in error] == []


def test_the_page_tells_what_an_edl_cannot_say(tmp_path: Path, browser: Browser) -> None:
    folder = make(tmp_path / "out", Fraction(1234, 100), None)
    report = write_report(folder, str(tmp_path / "report.html"))
    assert "needs whole frames a second" in (text := page_edl(browser, Path(report.path)))
    assert "12.340" in text
