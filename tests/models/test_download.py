"""Transfers that break off, against a server on this machine that follows a script."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from framemill.errors import ModelError
from framemill.models import download as downloads
from framemill.models import store
from framemill.models.registry import DEFAULTS, ModelEntry

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TAG = '"v1"'


class Step:
    """One answer of the server.

    Attributes:
        status: 200 becomes 206 where `ranges` and the request allow it.
        cut: bytes that are sent of those announced; None for all.
        headers: besides the length. content: what the server has.
        shift: added to the start of a range, as a server in error would.
    """

    def __init__(
        self,
        status: int = 200,
        *,
        cut: int | None = None,
        ranges: bool = True,
        headers: dict[str, str] | None = None,
        content: bytes = CONTENT,
        shift: int = 0,
    ) -> None:
        self.status = status
        self.cut = cut
        self.ranges = ranges
        self.headers = {"ETag": TAG} if headers is None else headers
        self.content = content
        self.shift = shift


class Script:
    """What the server answers, in order, the last for ever; and what it was asked."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.asked: list[tuple[str | None, str | None]] = []
        self.url = ""

    def next(self) -> Step:
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.001)
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted, condition = self.headers["Range"], self.headers["If-Range"]
            script.asked.append((wanted, condition))
            step = script.next()
            start = 0
            is_same = condition is None or condition in step.headers.values()
            partial = step.status == 200 and step.ranges and wanted is not None and is_same
            if partial:
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) + step.shift
            self.send_response(206 if partial else step.status)
            for name, value in step.headers.items():
                self.send_header(name, value)
            body = step.content[start:] if step.status == 200 else b"sorry"
            if partial:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(step.content) - 1}/{len(step.content)}"
                )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: step.cut])

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        script.url = f"http://127.0.0.1:{server.server_address[1]}/model.onnx"
        yield script
        server.shutdown()
        thread.join()


def fetch(script: Script, folder: Path, num_bytes: int = len(CONTENT)) -> tuple[bytes, list[str]]:
    """What was written, and why it was tried again."""
    retries: list[str] = []
    path = folder / "model.onnx"

    def on_progress(done: int, total: int, retry: str) -> None:
        if retry:
            retries.append(retry)

    with path.open("w+b") as file:
        digest = downloads.download(script.url, file, num_bytes, on_progress)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    return path.read_bytes(), retries


@pytest.mark.parametrize("num_bytes", [len(CONTENT), 0], ids=["known size", "unknown size"])
def test_a_transfer_goes_on_where_it_broke_off(script: Script, tmp_path: Path, num_bytes: int) -> None:
    script.steps = [Step(cut=300_000), Step(503), Step(cut=400_000), Step()]
    written, retries = fetch(script, tmp_path, num_bytes)
    assert written == CONTENT
    ranges = [(f"bytes={at}-", TAG) for at in (300_000, 300_000, 700_000)]
    assert script.asked == [(None, None), *ranges]
    assert len(retries) == 3 and "sent 300000 bytes of 1024000" in retries[0] and "503" in retries[1]


def test_a_date_proves_the_same_content_where_there_is_no_tag(script: Script, tmp_path: Path) -> None:
    date = "Mon, 02 Feb 2026 10:00:00 GMT"
    script.steps = [Step(cut=1000, headers={"ETag": 'W/"v1"', "Last-Modified": date})] * 2
    script.steps.append(Step(headers={"Last-Modified": date}))
    assert fetch(script, tmp_path)[0] == CONTENT
    assert script.asked[1:] == [("bytes=1000-", date), ("bytes=2000-", date)]


@pytest.mark.parametrize(
    ("first", "then", "asked"),
    [
        (Step(cut=1000, content=b"old" * 9000), Step(headers={"ETag": '"v2"'}), "bytes=1000-"),
        (Step(cut=1000), Step(ranges=False), "bytes=1000-"),
        (Step(cut=1000, headers={}), Step(headers={}), None),
    ],
    ids=["changed content", "no ranges", "no proof"],
)
def test_it_starts_anew_where_the_rest_may_be_of_something_else(
    script: Script, tmp_path: Path, first: Step, then: Step, asked: str | None
) -> None:
    script.steps = [first, then]
    assert fetch(script, tmp_path, 0)[0] == CONTENT
    assert [wanted for wanted, _ in script.asked] == [None, asked]


@pytest.mark.parametrize("wrong", [Step(416), Step(shift=5)], ids=["no such range", "another range"])
def test_a_server_that_mishandles_ranges_is_asked_for_all(
    script: Script, tmp_path: Path, wrong: Step
) -> None:
    script.steps = [Step(cut=1000), wrong, Step()]
    assert fetch(script, tmp_path)[0] == CONTENT
    assert [wanted for wanted, _ in script.asked] == [None, "bytes=1000-", None]


def test_attempts_are_bounded_and_counted(script: Script, tmp_path: Path) -> None:
    script.steps = [Step(503)]
    with pytest.raises(ModelError, match=rf"503: .*\(attempt {downloads.ATTEMPTS}\); try again"):
        fetch(script, tmp_path)
    assert len(script.asked) == downloads.ATTEMPTS


def test_a_server_that_never_sends_more_is_given_up(script: Script, tmp_path: Path) -> None:
    script.steps = [Step(cut=1000, ranges=False)]
    with pytest.raises(ModelError, match="sent 1000 bytes of 1024000"):
        fetch(script, tmp_path)
    assert len(script.asked) == downloads.ATTEMPTS


def test_attempts_that_bring_it_forward_do_not_count(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_PROGRESS_BYTES", 100_000)
    script.steps = [Step(cut=100_000)]
    assert fetch(script, tmp_path)[0] == CONTENT
    assert len(script.asked) == 11 > downloads.ATTEMPTS


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_will_not_change_is_asked_for_once(script: Script, tmp_path: Path, status: int) -> None:
    script.steps = [Step(status)]
    with pytest.raises(ModelError, match=str(status)):
        fetch(script, tmp_path)
    assert len(script.asked) == 1


def test_pauses_double_and_never_undercut_what_the_server_asks(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(time, "sleep", pauses.append)
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    script.steps = [Step(503), Step(503), Step(429, headers={"Retry-After": "7"})]
    script.steps += [Step(503, headers={"Retry-After": soon}), Step()]
    assert fetch(script, tmp_path)[0] == CONTENT
    assert pauses[:3] == [0.5, 1.0, 7.0] and 20 < pauses[3] <= 30


def test_a_server_that_asks_for_too_long_a_pause_is_given_up(script: Script, tmp_path: Path) -> None:
    script.steps = [Step(429, headers={"Retry-After": "3600"})]
    with pytest.raises(ModelError, match=r"429: .* and asks to wait 3600 s"):
        fetch(script, tmp_path)
    assert len(script.asked) == 1


def test_a_resumed_transfer_never_exceeds_the_size(script: Script, tmp_path: Path) -> None:
    script.steps = [Step(cut=1000), Step(content=CONTENT + b"more")]
    with pytest.raises(ModelError, match="more than the 1024000 bytes expected"):
        fetch(script, tmp_path)


def test_a_retry_does_not_follow_a_redirect_to_plain_http(script: Script, tmp_path: Path) -> None:
    script.steps = [Step(cut=1000), Step(302, headers={"Location": "http://192.0.2.1/model.onnx"})]
    with pytest.raises(ModelError, match="only https"):
        fetch(script, tmp_path)


def test_nobody_there_is_tried_again_and_then_said(script: Script, tmp_path: Path) -> None:
    script.url = "http://127.0.0.1:9/model.onnx"  # the port of nobody
    with pytest.raises(ModelError, match=rf"refused.*\(attempt {downloads.ATTEMPTS}\)"):
        fetch(script, tmp_path)


def entry(url: str) -> ModelEntry:
    return replace(DEFAULTS["objects"], name="tiny", sha256=DIGEST, num_bytes=len(CONTENT), urls=(url,))


def interrupt(script: Script, at: int) -> None:
    """A download that a person ends once `at` bytes are there."""

    def on_progress(done: int, total: int, retry: str) -> None:
        if done >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.find(entry(script.url), on_progress)


def test_a_later_run_goes_on_with_what_an_interrupted_one_left(script: Script) -> None:
    script.steps = [Step()]
    interrupt(script, 300_000)
    (partial,) = (store.cache_folder() / "models").iterdir()
    size = partial.stat().st_size
    assert 300_000 <= size < len(CONTENT) and store.locate(entry(script.url)) is None
    path = store.find(entry(script.url))
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert script.asked == [(None, None), (f"bytes={size}-", None)]


def test_what_is_whole_but_for_its_name_is_not_fetched_again(script: Script) -> None:
    script.steps = [Step()]
    interrupt(script, len(CONTENT))
    assert store.find(entry(script.url)).read_bytes() == CONTENT
    assert len(script.asked) == 1


def test_what_was_left_of_something_else_is_thrown_away(script: Script) -> None:
    script.steps = [Step(content=b"another model" * 70_000), Step()]
    interrupt(script, 1)
    path = store.find(entry(script.url))
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert [wanted is None for wanted, _ in script.asked] == [True, False, True]


def test_failures_keep_what_came_and_wrong_bytes_do_not(script: Script) -> None:
    script.steps = [Step(cut=1000), Step(403)]
    with pytest.raises(ModelError, match="403"):
        store.find(entry(script.url))
    (partial,) = (store.cache_folder() / "models").iterdir()
    assert partial.read_bytes() == CONTENT[:1000]
    script.steps = [Step(content=b"x" * len(CONTENT))]
    with pytest.raises(ModelError, match="wanted 1024000 bytes"):
        store.find(entry(script.url))
    assert list(partial.parent.iterdir()) == []


def test_a_file_that_another_process_fetches_is_left_to_it(script: Script, tmp_path: Path) -> None:
    script.steps = [Step()]
    path = tmp_path / "model.onnx"
    with downloads.resuming(path, DIGEST) as first, downloads.resuming(path, DIGEST) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first" and [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
