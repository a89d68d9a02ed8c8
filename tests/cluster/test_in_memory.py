"""Tables in memory: those of a result folder, one decode a file, and a row for whatever a file does."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from framemill.actors import shards
from framemill.cluster.in_memory import InMemoryExtraction
from framemill.cluster.request import ExtractRequest
from framemill.errors import FramemillError, ModelError, UsageError
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.extraction import OPS, extract, patch_worker, render_clip, rows_of
from tests.shared import media_dir, models_dir

__all__ = ["media_dir", "models_dir"]

Row = dict[str, Any]
# Who opens a file and who decodes it, a line each.
COUNT = """
import os, av
import framemill.actors.shard_processor as shard_processor
def note(kind, path):
    name = os.path.basename(str(getattr(path, 'name', path)))
    with open(os.environ['OPENINGS'], 'a') as log:
        log.write(kind + ' ' + name + chr(10))
real_open, real_read = av.open, shard_processor.read_shard
def av_open(file, *rest, **named):
    note('open', file)
    return real_open(file, *rest, **named)
def read_shard(path, *rest):
    note('decode', path)
    yield from real_read(path, *rest)
av.open, shard_processor.read_shard = av_open, read_shard
"""
MISBEHAVE = """
import os
import framemill.actors.shard_processor as shard_processor
real = shard_processor.read_shard
def read_shard(path, *rest):
    if 'crash' in os.path.basename(path):
        os.kill(os.getpid(), 11)
    yield from real(path, *rest)
shard_processor.read_shard = read_shard
"""


Open = Callable[..., InMemoryExtraction]


@pytest.fixture
def open_extraction() -> Iterator[Open]:
    """Opens extractions that are closed in the end."""
    opened: list[InMemoryExtraction] = []

    def start(**asked: Any) -> InMemoryExtraction:
        request = ExtractRequest(sources=(), output="", **{"ops": OPS, "threads": 2, **asked})
        opened.append(InMemoryExtraction(request))
        return opened[-1]

    yield start
    for extraction in opened:
        extraction.close()


def _by_source(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["source_id"], []).append(row)
    return found


def _assert_same(extraction: InMemoryExtraction, files: list[Path], out: Path) -> None:
    """Asks for files twice, and compares their rows with those of a folder, whatever their order."""
    for _ in range(2):
        answers = {path: extraction.ask(str(path)) for path in files}
        found = {path: answer.result(timeout=300) for path, answer in answers.items()}
        errors = [msgspec.structs.asdict(row) for one in found.values() for row in one.errors]
        assert sorted(errors, key=repr) == sorted(rows_of(out, "errors"), key=repr)
        for op in extraction.plan.ops:
            there = rows_of(out, op) if (out / op).is_dir() else []
            if op == "media":
                here = [
                    row for one in found.values() if op in one.tables for row in one.tables[op].to_pylist()
                ]
                assert there
                assert sorted(here, key=repr) == sorted(there, key=repr)
                continue
            by_source = _by_source(there)
            for path, one in found.items():
                rows = sorted(one.tables[op].to_pylist() if op in one.tables else [], key=repr)
                assert rows == sorted(by_source.get(one.source_id, []), key=repr), (op, path)


def test_rows_are_those_of_a_result_folder(clips: Path, tmp_path: Path, open_extraction: Open) -> None:
    shutil.copy(clips / "a.mp4", tmp_path / "copy.mp4")
    files = [*sorted(clips.iterdir()), tmp_path / "copy.mp4"]
    asked: dict[str, Any] = {
        "ops": (*OPS, "stretches", "quality", "loudness", "silences"),
        "sample": "every:0.5",
        "options": {"frames": {"images": True}},
    }
    extract(*files, out=tmp_path / "out", **asked)
    _assert_same(open_extraction(**asked), files, tmp_path / "out")


def test_rows_of_a_file_that_is_divided(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_extraction: Open
) -> None:
    film = render_clip(tmp_path / "film.mkv", seed=7, seconds=11.0)
    out = divided(tmp_path / "out")
    extract(film, clips / "b.mp4", out=out, sample="scenes")
    monkeypatch.setattr(shards, "SHARD_SECONDS", 2.0)
    _assert_same(open_extraction(sample="scenes"), [film, clips / "b.mp4"], out)


def test_a_file_is_opened_and_decoded_once_for_all_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_extraction: Open
) -> None:
    log = tmp_path / "openings"
    monkeypatch.setenv("OPENINGS", str(log))
    patch_worker(monkeypatch, tmp_path, COUNT)
    names = [f"{number}.mp4" for number in range(3)]
    for seed, name in enumerate(names):
        render_clip(tmp_path / name, seed=seed, seconds=2.0, with_sound=False)
    # With more threads, a file that is alone is opened again to be decoded by all of them.
    extraction = open_extraction(ops=("media", "frames", "scenes", "quality", "stretches"), threads=1)
    # Twice each, and before any is there.
    answers = [extraction.ask(str(tmp_path / name)) for name in (*names, *names)]
    assert all(len(answer.result(timeout=300).tables) == 5 for answer in answers)
    told = Counter(log.read_text().splitlines())
    assert told == {f"{kind} {name}": 1 for kind in ("open", "decode") for name in names}


def test_whatever_a_file_does_is_an_error_of_its_own(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_extraction: Open
) -> None:
    patch_worker(monkeypatch, tmp_path, MISBEHAVE)
    render_clip(tmp_path / "crash.mp4", seed=9, seconds=2.0)
    (tmp_path / "text.mp4").write_text("no media")
    good = [str(clips / "a.mp4"), (clips / "b.mp4").as_uri()]
    bad = {
        str(tmp_path / "crash.mp4"): ("quarantined", "SIGSEGV"),
        str(tmp_path / "text.mp4"): ("failed", ""),
        str(tmp_path / "absent.mp4"): ("failed", "No such file"),
        str(clips): ("unsupported", "a folder"),
        "clips/a.mp4": ("failed", "'clips/a.mp4' is a relative path"),
        "https://example.org/a.mp4": ("failed", "give a path, or an address with s3:// or gs://"),
        "file://other/a.mp4": ("failed", "a file of the machine 'other'"),
        "s3://": ("failed", "names no bucket"),
    }
    extraction = open_extraction()
    answers = {uri: extraction.ask(uri) for uri in (*good, *bad, None)}
    found = {uri: answer.result(timeout=300) for uri, answer in answers.items()}
    for uri in good:
        assert set(found[uri].tables) == set(OPS) and not found[uri].errors
    for uri, (status, said) in bad.items():
        (error,) = found[uri].errors
        assert (error.status, error.operation, found[uri].tables) == (status, "*", {}), uri
        assert said in error.message and error.uri in (uri, str(tmp_path / uri))
    assert "no file is named" in found[None].errors[0].message
    again = extraction.ask(good[0]).result(timeout=300)
    assert set(again.tables) == set(OPS), "the worker that took its place goes on"


def test_what_fails_alone_leaves_the_other_tables(tmp_path: Path, open_extraction: Open) -> None:
    (tmp_path / "darkness.py").write_text(
        "from framemill.ops.shots.scenes import Scenes\n"
        "class Broken(Scenes):\n"
        "    name = 'broken'\n"
        "    def merge(self, partials): raise ValueError('no')\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        extraction = open_extraction(ops=("media", "scenes", "darkness:Broken"))
    found = extraction.ask(str(render_clip(tmp_path / "a.mp4", seed=1, seconds=2.0))).result(timeout=300)
    assert set(found.tables) == {"media", "scenes"}
    (error,) = found.errors
    assert (error.operation, error.status, error.source_id) == ("broken", "failed", found.source_id)


def test_what_has_no_meaning_is_refused_before_any_work(open_extraction: Open) -> None:
    for asked, said in (
        ({"replace": True}, r"`replace=True` has no meaning where rows go on in memory"),
        ({"keep_bytes": 5}, r"`keep_bytes=5`"),
        ({"ops": ("people",)}, r"'people' looks at all files at once.*`framemill people`"),
        ({"ops": ("sceens",)}, r"unknown operation 'sceens'.*scenes"),
        ({"options": {"frames": {"imags": True}}}, r"frames has no option 'imags'"),
        ({"precision": "auto"}, r"`precision='auto'` measures on this machine"),
    ):
        with pytest.raises(UsageError, match=said):
            open_extraction(**asked)
    with pytest.raises(ModelError):
        open_extraction(ops=("objects",), models={"objects": "/nowhere/model.onnx"})


def test_after_the_end_nobody_waits(clips: Path, open_extraction: Open) -> None:
    extraction = open_extraction()
    assert extraction.ask(str(clips / "a.mp4")).result(timeout=300).tables
    extraction.close()
    with pytest.raises(FramemillError, match="closed"):
        extraction.ask(str(clips / "a.mp4")).result(timeout=1)


@pytest.mark.media
@pytest.mark.slow
def test_rows_of_models_are_those_of_a_result_folder(
    media_dir: Path, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_extraction: Open
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    files = [media_dir / "video" / name for name in ("bigbuckbunny.mp4", "car-detection.mp4")]
    files.append(media_dir / "audio" / "jfk.flac")
    asked: dict[str, Any] = {
        "ops": ("media", "frames", "scenes", "transcript", "objects", "tracks"),
        "models": {"transcript": "whisper_words", "objects": "yolox_nano"},
        "sample": "every:5",
    }
    extract(*files, out=tmp_path / "out", **asked)
    assert all(rows_of(tmp_path / "out", op) for op in asked["ops"]), "each has rows to compare"
    _assert_same(open_extraction(**asked), files, tmp_path / "out")
