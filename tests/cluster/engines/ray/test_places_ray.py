"""Long files never hold every place of an actor while short ones wait, on Ray as on the local engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from benchmarks.stand_ins import in_workers
from framemill.cluster.engines.ray import pipeline
from tests.cluster.engines.local.test_places import most_long_at_once
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import extract, render_clip, statuses, tables_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
CALLS = 2  # of an actor with one CPU

# Notes when the work on a piece of a file begins and ends; long ones take a while.
NOTED = """
def stand_in():
    import os, time
    from framemill.cluster.run.shard_runner import ShardRunner
    real = ShardRunner.run
    def note(path, what):
        with open(os.path.join(os.path.dirname(path), 'notes.txt'), 'a') as file:
            file.write(f'{what} {os.path.basename(path)}\\n')
    def run(self, request):
        note(request.uri, 'begin')
        time.sleep(1.0 if '/long' in request.uri else 0.3)
        done = real(self, request)
        note(request.uri, 'end')
        return done
    ShardRunner.run = run
"""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = tmp_path_factory.mktemp("patch")
    (patch / "sitecustomize.py").write_text(in_workers(NOTED))
    with small_ray(patch):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of three pieces, two with sound alone, which is never cut, and four that are short."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(2):
        render_clip(folder / f"long{number}.mp4", seed=number, seconds=9.0, with_sound=False)
        render_clip(folder / f"long{number}.flac", seed=5 + number, seconds=9.0, with_picture=False)
    for number in range(4):
        render_clip(folder / f"short{number}.mp4", seed=9 + number, seconds=1.0, with_sound=False)
    return folder


@pytest.mark.parametrize("opened_by", ["the actors", "tasks of their own"])
@pytest.mark.parametrize("topology", ["uniform", "split"])
def test_long_files_leave_a_place_to_short_ones(
    opened_by: str, topology: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if opened_by == "tasks of their own":
        monkeypatch.setattr(pipeline, "SMALL_BYTES", -1)
    asked: dict[str, Any] = {"ops": ("media", "frames", "audio_levels"), "actors": "1"}
    if topology == "split":
        asked |= {"topology": topology, "decoders": "1"}
    summary = extract_on_ray(folder, out=divided(tmp_path / "ray"), **asked)
    assert summary.exit_code == 0 and len(statuses(tmp_path / "ray")) == 8
    before, after = most_long_at_once(folder)
    assert before <= CALLS - 1
    # Among themselves they use all there is.
    assert after == CALLS
    extract(folder, out=divided(tmp_path / "local"), ops=asked["ops"])
    assert tables_of(tmp_path / "ray") == tables_of(tmp_path / "local")
