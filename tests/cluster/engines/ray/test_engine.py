"""The Ray engine computes what the local engine computes: the same rows, statuses and exit codes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from framemill.errors import UsageError
from tests.actors.subtitled import no_decoder, write_subtitled
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import (
    OPS,
    extract,
    failures,
    num_runs,
    render_clip,
    rows_of,
    statuses,
    tables_of,
)
from tests.shared import SHARED
from tests.small_models import NAMES

pytestmark = pytest.mark.cluster
MIRROR = SHARED / "models"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with small_ray(environment={"FRAMEMILL_MODEL_MIRROR": str(MIRROR)}):
        yield


@pytest.fixture(scope="module")
def corpus(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short clips, a long one, a copy, one without picture, one cut off, and three that are no videos."""
    folder = tmp_path_factory.mktemp("corpus")
    for clip in clips.iterdir():
        shutil.copy(clip, folder)
    shutil.copy(clips / "a.mp4", folder / "copy.mp4")
    long = render_clip(folder / "long.mkv", seed=7, seconds=11.0)
    (folder / "cut.mkv").write_bytes(long.read_bytes()[: long.stat().st_size * 2 // 3])
    render_clip(folder / "sound.flac", seed=5, with_picture=False)
    (folder / "empty.mp4").touch()
    (folder / "garbage.mp4").write_bytes(bytes(range(256)) * 64)
    (folder / "garbage copy.mp4").write_bytes(bytes(range(256)) * 64)
    return folder


def _same(one: Path, other: Path) -> None:
    expected, found = tables_of(other), tables_of(one)
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert found[name] == rows, name


@pytest.mark.parametrize(
    ("sample", "ops"),
    [
        ("keyframes", ()),
        pytest.param("scenes", OPS, marks=pytest.mark.slow),
        pytest.param("every:1", OPS, marks=pytest.mark.slow),
        pytest.param("all", ("frames", "scenes"), marks=pytest.mark.slow),
    ],
)
def test_the_rows_of_the_local_engine(
    corpus: Path, tmp_path: Path, sample: str, ops: tuple[str, ...]
) -> None:
    here = extract(corpus, out=divided(tmp_path / "local"), sample=sample, ops=ops)
    there = extract_on_ray(corpus, out=divided(tmp_path / "ray"), sample=sample, ops=ops)
    counts = ("files_computed", "files_failed", "files_partial", "partial_kinds")
    for field in ("exit_code", *counts, "rows", "providers"):
        assert getattr(there, field) == getattr(here, field), field
    assert here.partial_kinds == {"cut_short": 1}
    _same(tmp_path / "ray", tmp_path / "local")
    (run,) = rows_of(tmp_path / "ray", "runs")
    assert (run["engine"], run["exit_code"]) == ("ray", 3)
    assert dict(run["rows"]) == dict(here.rows)
    again = extract_on_ray(corpus, out=tmp_path / "ray", sample=sample, ops=ops)
    assert (again.exit_code, again.files_computed, again.rows) == (3, 0, {})
    assert num_runs(tmp_path / "ray") == 1


def test_subtitles_alone_and_beside_sound_of_no_use(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    (films / "talk.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\none\n")
    no_decoder(write_subtitled(films / "film.mkv", [("subrip", "eng", [(0.5, 1.5, "two")])]))
    ops = ("media", "transcript", "audio_levels")
    asked: dict[str, Any] = {"ops": ops, "options": {"transcript": {"origin": "subtitles"}}}
    assert extract(films, out=tmp_path / "local", **asked).exit_code == 3
    assert extract_on_ray(films, out=tmp_path / "ray", **asked).exit_code == 3
    _same(tmp_path / "ray", tmp_path / "local")
    assert {row["text"] for row in rows_of(tmp_path / "ray", "transcript")} == {"one", "two"}


@pytest.mark.media
@pytest.mark.slow
@pytest.mark.parametrize("ops", [("emotions", "tracks", "text_spans")])
def test_models_on_real_video(
    media_dir: Path, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ops: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    clip = media_dir / "video" / "bigbuckbunny.mp4"
    models = {role: NAMES[role] for role in ("objects", "faces", "emotions")}
    asked: dict[str, Any] = {"sample": "every:2", "ops": ops, "models": models}
    assert extract(clip, out=divided(tmp_path / "local"), **asked).exit_code == 0
    assert extract_on_ray(clip, out=divided(tmp_path / "ray"), **asked).exit_code == 0
    _same(tmp_path / "ray", tmp_path / "local")


@pytest.mark.slow
def test_operations_added_one_after_the_other(corpus: Path, tmp_path: Path) -> None:
    out = divided(tmp_path / "ray")
    for ops in (("media", "audio_levels"), ("media", "scenes")):
        extract_on_ray(corpus, out=out, ops=ops, sample="scenes")
    final = extract_on_ray(corpus, out=out, sample="scenes")
    assert set(final.rows) == {"frames"}
    extract(corpus, out=divided(tmp_path / "local"), sample="scenes")
    assert {**tables_of(out), "errors": []} == {**tables_of(tmp_path / "local"), "errors": []}


@pytest.mark.slow
def test_files_that_change_names_and_contents(clips: Path, tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for name, clip in (("x.mp4", "a.mp4"), ("y.mp4", "b.mp4"), ("z.mkv", "c.mkv")):
        shutil.copy(clips / clip, videos / name)
    extract_on_ray(videos, out=out)
    shutil.copy(clips / "b.mp4", videos / "x.mp4")
    shutil.copy(clips / "a.mp4", videos / "y.mp4")
    (videos / "z.mkv").write_bytes(b"no video any more")
    shutil.copy(clips / "c.mkv", videos / "new name.mkv")
    changed = extract_on_ray(videos, out=out)
    assert (changed.exit_code, changed.files_computed) == (3, 4)
    extract(videos, out=tmp_path / "fresh")
    _same(out, tmp_path / "fresh")
    shutil.copy(clips / "c.mkv", videos / "z.mkv")
    assert extract_on_ray(videos, out=out).exit_code == 0
    extract(videos, out=tmp_path / "mended")
    _same(out, tmp_path / "mended")


@pytest.mark.slow
def test_other_settings_are_refused_or_replace(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract_on_ray(clips, out=out)
    with pytest.raises(UsageError, match=r"'frames'.*every:1.*`replace`"):
        extract_on_ray(clips, out=out, sample="every:1", ops=("frames",))
    replaced = extract_on_ray(clips, out=out, sample="every:1", ops=("frames",), replace=True)
    assert set(replaced.rows) == {"frames"}
    extract(clips, out=tmp_path / "fresh", sample="every:1")
    _same(out, tmp_path / "fresh")


@pytest.mark.slow
def test_failures_are_tried_again_when_asked(clips: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing of the kind" * 100)
    absent = tmp_path / "absent.mp4"
    out = tmp_path / "out"
    assert extract_on_ray(bad, absent, out=out).exit_code == 4
    os.utime(bad)  # touched, and the same bytes: still known to be bad
    again = extract_on_ray(bad, absent, clips / "a.mp4", out=out, retry_failed=False)
    assert (again.exit_code, again.files_failed) == (3, 2)
    retried = extract_on_ray(bad, absent, clips / "a.mp4", out=out, retry_failed=True)
    assert (retried.files_computed, retried.files_cached) == (2, 1)
    assert failures(out) == {("bad.mp4", "*"): "failed", ("absent.mp4", "*"): "failed"}
    assert statuses(out) == {"a.mp4": "ok"}
    assert {Path(row["uri"]).name: row["attempts"] for row in rows_of(out, "errors")}["absent.mp4"] == 3
