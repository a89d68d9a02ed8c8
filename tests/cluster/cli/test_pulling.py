"""`framemill models pull`: what it fetches for operations, and what `extract` says where that is missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from framemill.cluster.cli.main import main
from framemill.models import registry, store
from tests.actors.clips import moving, write_clip
from tests.models.scripted_server import Page, ScriptedServer, serving

Capture = pytest.CaptureFixture[str]


def content(name: str) -> bytes:
    return name.encode() * 1000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """Has every model that has an address, as a file of its own bytes."""
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("FRAMEMILL_MODEL_MIRROR", raising=False)
    monkeypatch.delenv("FRAMEMILL_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    with serving() as served:
        entries = tuple(
            replace(
                entry,
                urls=(f"{served.url}/{entry.name}",),
                files=(),
                sha256=hashlib.sha256(content(entry.name)).hexdigest(),
                num_bytes=len(content(entry.name)),
            )
            if entry.urls
            else entry
            for entry in registry.KNOWN
        )
        defaults: Mapping[str, registry.ModelEntry] = {entry.role: entry for entry in reversed(entries)}
        monkeypatch.setattr(registry, "_known", lambda: entries)
        monkeypatch.setattr(registry, "_defaults", lambda: defaults)
        served.pages = {f"/{entry.name}": Page(content(entry.name)) for entry in entries}
        yield served


def run(capsys: Capture, *words: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def fetched(server: ScriptedServer) -> set[str]:
    return {path.removeprefix("/") for _, path in server.asked}


def test_what_operations_need_is_fetched_with_what_they_come_after(
    server: ScriptedServer, capsys: Capture
) -> None:
    code, out, err = run(capsys, "models", "pull", "--for", "objects,emotions", "--json")
    names = {"dfine_n", "hsemotion_enet_b0_8", "yunet_2023mar"}
    assert code == 0 and fetched(server) == names
    for record in json.loads(out):
        assert Path(record["path"]).read_bytes() == content(record["name"])
    # The sizes are summed before, and how far it is comes in lines where there is no terminal.
    lines = err.splitlines()
    assert lines[0].startswith("to fetch, ") and "dfine_n (7.0 kB)" in lines[0]
    assert lines[1].startswith("fetching 3 models: ") and lines[-1].endswith("0.0 of 0.0 MB")
    # The second time all is there.
    server.asked.clear()
    code, _, err = run(capsys, "models", "pull", "--for", "objects,emotions")
    assert (code, err, server.asked) == (0, "", [])


@pytest.mark.parametrize(("quality", "name"), [("fast", "yolox_nano"), ("best", "dfine_m")])
def test_a_quality_fetches_its_models(
    server: ScriptedServer, capsys: Capture, quality: str, name: str
) -> None:
    assert run(capsys, "models", "pull", "--for", "objects", "--quality", quality)[0] == 0
    assert fetched(server) == {name}


def test_settings_count_as_for_a_run(
    server: ScriptedServer, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("framemill.toml").write_text(
        'quality = "best"\nsample = "adaptive"\ncascade = ["faces"]\n[model]\nobjects = "dfine_s"\n'
        "[set.face_quality]\neyes = false\n"
    )
    monkeypatch.setenv("FRAMEMILL_BUDGET", "20")
    assert run(capsys, "models", "pull", "--for", "objects,transcript,face_quality")[0] == 0
    assert fetched(server) == {"dfine_s", "whisper_large_v3", "yunet_2023mar"}


@pytest.mark.parametrize(
    ("words", "settings", "names"),
    [
        ((), "", {"siglip2_base", "siglip2_base_text"}),
        (("--quality", "fast"), "", {"clip_vit_b32", "clip_vit_b32_text"}),
        ((), '[model]\nimage_embeddings = "clip_vit_b32"\n', {"clip_vit_b32", "clip_vit_b32_text"}),
    ],
)
def test_what_search_needs_is_fetched(
    server: ScriptedServer, capsys: Capture, words: tuple[str, ...], settings: str, names: set[str]
) -> None:
    Path("framemill.toml").write_text(settings)
    assert run(capsys, "models", "pull", "--for", "search", *words)[0] == 0
    assert fetched(server) == names
    server.asked.clear()
    assert run(capsys, "models", "pull", "--for", "image_embeddings,search,faces", *words)[0] == 0
    assert fetched(server) == {"yunet_2023mar"}


def test_search_needs_vectors_that_understand_words(server: ScriptedServer, capsys: Capture) -> None:
    Path("framemill.toml").write_text('[model]\nimage_embeddings = "dinov2_small"\n')
    code, _, err = run(capsys, "models", "pull", "--for", "search")
    assert code == 2 and not server.asked
    assert "model dinov2_small of image_embeddings understands no words" in err and "siglip2_base" in err


def test_licences_are_asked_for_once(server: ScriptedServer, capsys: Capture) -> None:
    Path("framemill.toml").write_text(
        '[model]\nfaces = "scrfd_10g"\nface_embeddings = "arcface_w600k_r50"\naesthetics = "nima_mobilenet"\n'
    )
    asked = ("models", "pull", "--for", "face_embeddings,aesthetics")
    code, _, err = run(capsys, *asked)
    assert code == 2 and not server.asked
    for name in ("scrfd_10g", "arcface_w600k_r50", "nima_mobilenet"):
        assert f"model {name} (role " in err
    assert run(capsys, *asked, "--accept-licence")[0] == 0
    names = {"scrfd_10g", "arcface_w600k_r50", "nima_mobilenet"}
    assert fetched(server) == {*names, "yunet_2023mar"}  # which finds the points of the faces


def test_one_that_cannot_be_had_does_not_keep_the_others_away(
    server: ScriptedServer, capsys: Capture
) -> None:
    server.pages["/yunet_2023mar"] = Page(status=404)
    code, out, err = run(capsys, "models", "pull", "--for", "objects,faces")
    assert (code, out) == (5, "") and f"{server.url}/yunet_2023mar cannot be fetched" in err
    assert store.locate(registry.resolve("objects")) is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "operations with --for"),
        (("dfine_n", "--for", "objects"), "name the models to fetch, or operations"),
        (("dfine_n", "--quality", "best"), "name those with --for"),
        (("--for", "object"), "did you mean 'objects'?"),
        (("--for", ","), "names no operation"),
        (("--for", "objects", "--quality", "finest"), "one of fast, balanced, best"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    server: ScriptedServer, capsys: Capture, words: tuple[str, ...], said: str
) -> None:
    code, _, err = run(capsys, "models", "pull", *words)
    assert code == 2 and said in err and not server.asked


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_clip(path, moving(12))
    return path


@pytest.mark.parametrize(
    ("words", "command", "missing"),
    [
        (
            ("--ops", "frames,objects,emotions"),
            "--for objects,emotions",
            {"dfine_n", "yunet_2023mar", "hsemotion_enet_b0_8"},
        ),
        (("--ops", "objects", "--quality", "best"), "--for objects --quality best", {"dfine_m"}),
        (("--ops", "objects", "--model", "objects=dfine_s"), "dfine_s", {"dfine_s"}),
        # Without the option the operation needs more.
        (
            ("--ops", "face_quality", "--set", "face_quality.eyes=false"),
            "yunet_2023mar",
            {"yunet_2023mar"},
        ),
    ],
)
def test_the_line_that_extract_offers_fetches_what_is_missing(
    server: ScriptedServer,
    clip: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    command: str,
    missing: set[str],
) -> None:
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    code, _, err = run(capsys, "extract", clip, "-o", "out", *words)
    (line,) = [line for line in err.splitlines() if line.startswith("Fetch what is missing: ")]
    assert code == 5 and line == f"Fetch what is missing: `framemill models pull {command}`"
    monkeypatch.delenv("FRAMEMILL_OFFLINE")
    assert run(capsys, *line.split("`framemill ")[1].removesuffix("`").split())[0] == 0
    assert fetched(server) == missing
