"""Models that several addresses have, or a member of an archive is."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from framemill.errors import ModelError
from framemill.models import download as downloads
from framemill.models import store
from framemill.models.folders import ModelFile, digest_files
from framemill.models.probing import probe
from framemill.models.registry import DEFAULTS, ModelEntry
from framemill.models.session import open_model
from tests.models.graphs import save
from tests.models.scripted_server import Page, ScriptedServer, serving

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.001)
    with serving() as served:
        yield served


def entry(*urls: str) -> ModelEntry:
    return replace(
        DEFAULTS["vad"], name="tiny", sha256=DIGEST, num_bytes=len(CONTENT), urls=urls, package_file=""
    )


@pytest.mark.parametrize(
    "first",
    [
        Page(status=404),
        Page(status=503),
        Page(b"x" * len(CONTENT)),
        Page(CONTENT + b"more"),
        Page(b"version https://git-lfs.github.com/spec/v1\n"),
    ],
    ids=["gone", "over budget", "other bytes", "longer", "pointer"],
)
def test_the_next_address_is_tried_where_one_does_not_have_the_file(
    server: ScriptedServer, first: Page
) -> None:
    server.pages = {"/first": first, "/second": Page(CONTENT)}
    told: list[str] = []
    wanted = entry(f"{server.url}/first", f"{server.url}/second")
    path = store.find(wanted, lambda done, total, retry: told.append(retry))
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert any(f"trying {server.url}/second" in text for text in told)


def test_where_no_address_has_the_file_each_is_named(server: ScriptedServer) -> None:
    server.pages = {"/second": Page(b"other")}
    with pytest.raises(ModelError) as caught:
        store.find(entry(f"{server.url}/first", f"{server.url}/second"))
    assert f"{server.url}/first cannot be fetched" in str(caught.value) and "404" in str(caught.value)
    assert f"{server.url}/second sent 5 bytes" in str(caught.value)


def test_offline_names_one_address_and_asks_none(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    with pytest.raises(ModelError, match="FRAMEMILL_OFFLINE") as caught:
        store.find(entry(f"{server.url}/first", f"{server.url}/second"))
    assert "second" not in str(caught.value) and server.asked == []


def test_a_folder_goes_on_at_the_next_address_with_what_it_lacks(server: ScriptedServer) -> None:
    files = tuple(
        ModelFile(name, hashlib.sha256(content).hexdigest(), len(content))
        for name, content in (("config.json", b"{}"), ("model.bin", CONTENT))
    )
    server.pages = {
        "/first/config.json": Page(b"{}"),
        "/second/config.json": Page(b"{}"),
        "/second/model.bin": Page(CONTENT),
    }
    wanted = replace(
        entry(f"{server.url}/first/", f"{server.url}/second/"), files=files, sha256=digest_files(files)
    )
    assert (store.find(wanted) / "model.bin").read_bytes() == CONTENT
    assert [path for _, path in server.asked] == [
        "/first/config.json",
        "/first/model.bin",
        "/second/model.bin",
    ]


def test_a_model_whose_weights_lie_in_a_second_file_is_fetched_with_it_and_runs(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """The graph names that file, and looks for it beside itself."""
    graph = save(
        tmp_path / "model.onnx",
        [helper.make_node("Mul", ["x", "factors"], ["y"])],
        {"x": ["n", 3, 4, 4]},
        {"y": ["n", 3, 4, 4]},
        {"factors": np.full((3, 4, 4), 3, np.float32)},
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=64,
    )
    contents = {path.name: path.read_bytes() for path in (graph, tmp_path / "model.onnx_data")}
    files = tuple(
        ModelFile(name, hashlib.sha256(content).hexdigest(), len(content))
        for name, content in contents.items()
    )
    server.pages = {f"/onnx/{name}": Page(content) for name, content in contents.items()}
    wanted = replace(
        entry(f"{server.url}/onnx/"),
        files=files,
        sha256=digest_files(files),
        num_bytes=sum(map(len, contents.values())),
    )
    model, report = open_model(wanted, store.find(wanted), 1)
    assert report.provider == "cpu"
    found = model.runner.run({"x": np.ones((2, 3, 4, 4), np.float32)})["y"]
    assert (found == 3.0).all() and found.shape == (2, 3, 4, 4)
    assert {path for _, path in server.asked} == {"/onnx/model.onnx", "/onnx/model.onnx_data"}
    # A file that the entry does not list stays unread, though it lies there.
    alone = replace(wanted, files=files[:1], sha256=digest_files(files[:1]), path=str(tmp_path))
    with pytest.raises(ModelError, match="cannot be opened"):
        open_model(alone, tmp_path, 1)
    assert probe(wanted, store.find(wanted), 1).threads == 1


def archive(member: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("readme.txt", "another member")
        file.writestr(member, content)
    return packed.getvalue()


def test_a_member_of_an_archive_is_taken_and_checked_by_its_own_digest(server: ScriptedServer) -> None:
    server.pages = {"/sdk.zip": Page(archive("in/end2end.onnx", CONTENT))}
    path = store.find(entry(f"{server.url}/sdk.zip#in/end2end.onnx"))
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (archive("in/end2end.onnx", b"other"), "sent 5 bytes with sha256"),
        (archive("in/end2end.onnx", CONTENT + b"more"), "holds more than the 10240 bytes"),
        (archive("elsewhere.onnx", CONTENT), "no item named 'in/end2end.onnx'"),
        (b"no archive", "not a zip file"),
    ],
)
def test_an_archive_without_the_member_leaves_nothing(
    server: ScriptedServer, content: bytes, words: str
) -> None:
    server.pages = {"/sdk.zip": Page(content)}
    with pytest.raises(ModelError, match=words):
        store.find(entry(f"{server.url}/sdk.zip#in/end2end.onnx"))
    assert list((store.cache_folder() / "models").iterdir()) == []
