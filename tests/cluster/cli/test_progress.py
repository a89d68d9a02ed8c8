"""Progress: the estimate, plain lines, the live bar."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from framemill.cluster.cli.progress import (
    BarReporter,
    LineReporter,
    TimeLeft,
    at_work,
    describe,
    open_reporter,
    seconds_left,
)
from framemill.cluster.request import Snapshot


def snapshot(**changes: object) -> Snapshot:
    values: dict[str, object] = {
        "files_done": 1, "files_total": 4, "files_failed": 1, "frames": 300, "rows": 50,
        "media_seconds_done": 0.0, "media_seconds_total": 0.0, "elapsed_seconds": 10.0, "stage": "extracting",
    }  # fmt: skip
    return Snapshot(**{**values, **changes})  # type: ignore[arg-type]


def test_the_estimate_goes_by_length_where_known_else_by_files() -> None:
    assert seconds_left(snapshot()) == 30.0
    assert seconds_left(snapshot(media_seconds_done=50.0, media_seconds_total=100.0)) == 10.0
    assert seconds_left(snapshot(files_done=0)) is None
    assert seconds_left(snapshot(media_seconds_done=0.0, media_seconds_total=100.0)) is None


def test_work_that_is_planned_weighs_more_than_length_and_files() -> None:
    known = {"media_seconds_done": 50.0, "media_seconds_total": 100.0}
    assert seconds_left(snapshot(work_done=2.0, work_total=8.0, **known)) == 30.0
    assert seconds_left(snapshot(work_done=0.0, work_total=0.0, **known)) is None


def test_the_time_left_never_climbs() -> None:
    left = TimeLeft()
    shown = [left.show(snapshot(work_done=done, work_total=total)) for done, total in (
        (2.0, 8.0), (2.0, 8.4), (2.0, 20.0), (6.0, 8.0))]  # fmt: skip
    assert shown == ["30.0 s left", "30.0 s left", "more than 30.0 s left", "3.3 s left"]


def test_the_file_and_the_operation_that_take_longest_are_named() -> None:
    assert at_work(snapshot(file="/clips/talk\x1b.mp4", slowest="text")) == "talk\\x1b.mp4, mostly text"
    assert at_work(snapshot(file="/clips/talk.mp4")) == "talk.mp4"
    assert at_work(snapshot(slowest="text")) == ""


def test_one_line_tells_it_all() -> None:
    left = TimeLeft().show(snapshot())
    assert describe(snapshot(), left) == "1/4 files, 30 frames/s, 50 rows, 1 errors, 30.0 s left"
    assert TimeLeft().show(snapshot(files_done=4)) == ""
    assert "0 frames/s" in describe(snapshot(elapsed_seconds=0.0))


def test_lines_come_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    reporter = LineReporter(0, clock=lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        reporter.progress(snapshot())
    assert len(capsys.readouterr().err.splitlines()) == 2  # at 5 and at 10


def test_quiet_lines_show_errors_alone(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    reporter = LineReporter(-1, clock=lambda: now[0])
    now[0] = 100.0
    reporter.progress(snapshot())
    reporter.message(0, "normal")
    reporter.message(-1, "bad\x1b[2J")
    assert capsys.readouterr().err == "bad\\x1b[2J\n"


def test_the_bar_shows_state_and_keeps_messages_plain() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, highlight=False)
    columns = (
        TextColumn("{task.fields[stage]}", markup=False),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        reporter = BarReporter(bar, verbosity=0)
        reporter.progress(snapshot())
        reporter.message(0, "[bold]clip\x1b[2J.mp4[/bold]\nsecond line")
        reporter.message(1, "a detail")
        bar.refresh()
    shown = stream.getvalue()
    assert "extracting 1/4 files, 30 frames/s" in shown
    assert "[bold]clip\\x1b[2J.mp4[/bold]" in shown
    assert "second line" in shown
    assert "a detail" not in shown


@pytest.mark.parametrize(
    ("terminal", "term", "verbosity", "kind"),
    [
        (True, "xterm", 0, BarReporter),
        (True, "xterm", -1, LineReporter),
        (True, "dumb", 0, LineReporter),
        (False, "xterm", 0, LineReporter),
    ],
)
def test_the_bar_needs_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str, verbosity: int, kind: type
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", term)
    with open_reporter(verbosity) as reporter:
        assert isinstance(reporter, kind)
