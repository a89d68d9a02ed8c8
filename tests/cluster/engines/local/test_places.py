"""Long files never hold every place while short ones wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from framemill.cluster.results.dataset import Dataset
from tests.cluster.extraction import extract, patch_worker, render_clip, statuses

# Notes when the work on a piece of a file begins and ends.
NOTED = """
import os, time
import framemill.actors.shard_processor as shard_processor
real = shard_processor.read_shard
def note(path, what):
    with open(os.path.join(os.path.dirname(path), 'notes.txt'), 'a') as file:
        file.write(f'{what} {os.path.basename(path)}\\n')
def read_shard(path, *rest):
    note(path, 'begin')
    time.sleep(0.3)
    yield from real(path, *rest)
    note(path, 'end')
shard_processor.read_shard = read_shard
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four files of three pieces, which are the largest, and three that are short."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        render_clip(folder / f"long{number}.mp4", seed=number, seconds=9.0, with_sound=False)
    for number in range(3):
        render_clip(folder / f"short{number}.mp4", seed=9 + number, seconds=1.0, with_sound=False)
    return folder


def most_long_at_once(folder: Path) -> tuple[int, int]:
    """Pieces of long files at work at once, at most: before the last short file ended, and after."""
    lines = (folder / "notes.txt").read_text().splitlines()
    ends = [at for at, line in enumerate(lines) if line.startswith("end short")]
    at_work, most = 0, [0, 0]
    for at, line in enumerate(lines):
        at_work += {"begin": 1, "end": -1}[line.split()[0]] if " long" in line else 0
        most[at > max(ends)] = max(most[at > max(ends)], at_work)
    return most[0], most[1]


@pytest.mark.parametrize("threads", [2, 3])
def test_long_files_leave_a_place_to_short_ones(
    threads: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_worker(monkeypatch, tmp_path, NOTED)
    out = tmp_path / "out"
    Dataset.open(out, create=True, constants={"shard_seconds": 2.0})
    summary = extract(folder, out=out, ops=("media", "frames"), threads=threads)
    assert summary.exit_code == 0 and len(statuses(out)) == 7
    before, after = most_long_at_once(folder)
    assert before <= threads - 1
    # Among themselves they use all there is.
    assert after == threads
