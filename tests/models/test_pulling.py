"""Several models that are fetched together, and what a person sees of it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from framemill.errors import ModelError
from framemill.models import download as downloads
from framemill.models import pulling, store
from framemill.models.download import OnProgress
from framemill.models.folders import ModelFile, digest_files
from framemill.models.pulling import absent, in_lines, name_of_all, pull_models
from framemill.models.registry import DEFAULTS, ModelEntry
from tests.models.scripted_server import Page, ScriptedServer, serving
from tests.small_models import SMALL

SIZES = {"a": 900_000, "b": 300_000, "c": 10}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.001)
    monkeypatch.delenv("FRAMEMILL_MODEL_MIRROR", raising=False)
    monkeypatch.delenv("FRAMEMILL_OFFLINE", raising=False)
    with serving() as served:
        served.pages = {f"/{name}": Page(content(name), headers={"ETag": f'"{name}"'}) for name in SIZES}
        yield served


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))


def content(name: str) -> bytes:
    return name.encode() * SIZES[name]


def entry(name: str, url: str = "http://127.0.0.1:1") -> ModelEntry:
    digest = hashlib.sha256(content(name)).hexdigest()
    return replace(
        DEFAULTS["vad"],
        name=name,
        sha256=digest,
        num_bytes=SIZES[name],
        urls=(f"{url}/{name}",),
        package_file="",
    )


def test_all_are_fetched_and_their_bytes_are_one_sum(server: ScriptedServer) -> None:
    entries = [entry(name, server.url) for name in SIZES]
    told: list[tuple[int, int, str]] = []
    found = pull_models(entries, lambda *state: told.append(state))
    assert list(found) == list(SIZES)
    for name, path in found.items():
        assert isinstance(path, Path) and path.read_bytes() == content(name)
    assert {total for _, total, _ in told} == {sum(SIZES.values())}
    done = [done for done, _, _ in told]
    assert done == sorted(done) and done[-1] == sum(SIZES.values())
    # Nothing is asked for again.
    assert absent(entries) == []
    server.asked.clear()
    assert pull_models(entries) == found and server.asked == []


def test_one_that_serves_two_roles_is_fetched_once(server: ScriptedServer) -> None:
    twice = [entry("a", server.url), replace(entry("a", server.url), role="objects")]
    assert [each.name for each in absent(twice)] == ["a"]
    assert list(pull_models(twice)) == ["a"]
    assert server.asked == [("GET", "/a")]


def test_what_fails_is_told_and_the_others_are_there(server: ScriptedServer) -> None:
    del server.pages["/b"]
    found = pull_models([entry(name, server.url) for name in SIZES])
    assert isinstance(found["b"], ModelError) and f"{server.url}/b cannot be fetched" in str(found["b"])
    assert isinstance(found["a"], Path) and isinstance(found["c"], Path)


def test_a_transfer_goes_on_where_an_interrupt_ended_it(server: ScriptedServer) -> None:
    class Interrupt(Exception):
        pass

    def interrupt(done: int, total: int, retry: str) -> None:
        raise Interrupt

    with pytest.raises(Interrupt):
        pull_models([entry("a", server.url)], interrupt)
    (partial,) = (store.cache_folder() / "models").iterdir()
    kept = partial.stat().st_size
    assert 0 < kept < SIZES["a"]
    told: list[int] = []
    found = pull_models([entry("a", server.url)], lambda done, total, retry: told.append(done))
    assert isinstance(found["a"], Path) and found["a"].read_bytes() == content("a")
    assert told[0] > kept and server.asked == [("GET", "/a")] * 2


def test_several_are_fetched_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(len(SIZES), timeout=10)

    def pull(wanted: ModelEntry, on_progress: OnProgress) -> Path:
        together.wait()
        return Path(wanted.name)

    monkeypatch.setattr(pulling, "pull", pull)
    assert pull_models(map(entry, SIZES)) == {name: Path(name) for name in SIZES}


def test_when_one_ends_unforeseen_the_others_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def pull(wanted: ModelEntry, on_progress: OnProgress) -> Path:
        if wanted.name == "a":
            raise ZeroDivisionError
        try:
            while True:
                on_progress(1, 2, "")
                time.sleep(0.001)
        finally:
            ended.set()

    monkeypatch.setattr(pulling, "pull", pull)
    with pytest.raises(ZeroDivisionError):
        pull_models([entry("a"), entry("b")])
    assert ended.wait(10)


def test_the_bytes_of_a_folder_are_counted_over_all_its_files(server: ScriptedServer) -> None:
    files = tuple(
        ModelFile(name, hashlib.sha256(content(name)).hexdigest(), SIZES[name]) for name in ("c", "b", "a")
    )
    size = sum(SIZES.values())
    folder = replace(
        entry("a"), files=files, sha256=digest_files(files), num_bytes=size, urls=(f"{server.url}/",)
    )
    told: list[tuple[int, int, str]] = []
    assert isinstance(pull_models([folder], lambda *state: told.append(state))["a"], Path)
    done = [done for done, _, _ in told]
    assert done == sorted(done) and told[0][:2] == (10, size) and told[-1][:2] == (size, size)


def test_a_retry_names_its_model_where_there_are_several(server: ScriptedServer) -> None:
    first = replace(entry("a"), urls=(f"{server.url}/gone", f"{server.url}/a"))
    notes: list[str] = []
    pull_models([first, entry("b", server.url)], lambda done, total, retry: notes.append(retry))
    (note,) = filter(None, notes)
    assert note.startswith("a: ") and f"trying {server.url}/a" in note


def test_a_download_is_reported_at_each_fifth_and_at_each_retry() -> None:
    lines: list[str] = []
    on_progress = in_lines(name_of_all([SMALL["objects"]]), lines.append)
    for megabytes in (0, 1, 2, 3):
        on_progress(megabytes * 1_000_000, 10_000_000, "")
    on_progress(3_000_000, 10_000_000, "the server sent 3000000 bytes of 10000000; trying again in 0.5 s")
    on_progress(4_000_000, 10_000_000, "")
    name = "fetching model yolox_nano:"
    assert lines == [
        f"{name} 0.0 of 10.0 MB",
        f"{name} 2.0 of 10.0 MB",
        f"{name} the server sent 3000000 bytes of 10000000; trying again in 0.5 s",
        f"{name} 4.0 of 10.0 MB",
    ]
