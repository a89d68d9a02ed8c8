"""Previews for seeking, read as players read them: a cue names a part of a sheet."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pysubs2
import pytest

from framemill.cluster.cli.main import main
from tests.cluster.results.hand_made import make_folder

PLACE = re.compile(r"(.+)#xywh=(\d+),(\d+),(\d+),(\d+)")


def jpeg(shade: int) -> bytes:
    return cv2.imencode(".jpg", np.full((200, 100, 3), shade, np.uint8))[1].tobytes()


def make(root: Path, count: int, uri: str = "/clips/My Talk \u00e9.mp4") -> str:
    """One upright video of 100x200 with a frame a second, each brighter than the one before."""
    frames = [{"frame_index": 10 * at, "pts_seconds": at + 0.5, "image": jpeg(2 * at)} for at in range(count)]
    media = [{"uri": "", "width": 100, "height": 200, "fps": 10.0, "num_frames": 10 * count}]
    tables = {"media": {"a": media}, "frames": {"a": frames}}
    make_folder(root / "out", tables, {"a": [uri]}, durations={"a": float(count)})
    return str(root / "out")


def shown(folder: Path, place: str) -> np.ndarray:
    """The part of a sheet that a cue names."""
    name, *numbers = PLACE.fullmatch(place).groups()  # type: ignore[union-attr]
    x, y, width, height = map(int, numbers)
    sheet = cv2.imread(str(folder / unquote(name)))
    assert y + height <= sheet.shape[0] and x + width <= sheet.shape[1]
    return sheet[y : y + height, x : x + width]


def test_each_cue_shows_its_frame_in_a_cell_of_equal_size(tmp_path: Path) -> None:
    target = tmp_path / "sprites"
    assert main(["export", make(tmp_path, 105), "--format", "sprites", "-o", str(target)]) == 0
    names = {path.name for path in target.iterdir()}
    assert names == {"My_Talk_\u00e9.vtt", "My_Talk_\u00e9-001.jpg", "My_Talk_\u00e9-002.jpg"}
    cues = pysubs2.load(str(target / "My_Talk_\u00e9.vtt"))
    assert len(cues) == 105
    assert (cues[0].start, cues[0].end, cues[1].end, cues[104].end) == (0, 1500, 2500, 105_000)
    assert all(before.end == after.start for before, after in pairwise(cues))
    for at in (0, 9, 10, 57, 99, 100, 104):
        cell = shown(target, cues[at].text)
        assert cell.shape == (160, 80, 3) and abs(float(cell.mean()) - 2 * at) < 4, at


def test_a_thumbnail_each_so_many_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, target = make(tmp_path, 25), tmp_path / "sprites"
    command = ["export", root, "--format", "sprites", "-o", str(target), "--every", "10"]
    assert main(command) == 0
    cues = pysubs2.load(str(next(target.glob("*.vtt"))))
    assert [(cue.start, cue.end) for cue in cues] == [(0, 10_500), (10_500, 20_500), (20_500, 25_000)]
    assert abs(float(shown(target, cues[2].text).mean()) - 40) < 4
    assert main(["export", root, "--format", "edl", "-o", str(tmp_path / "e"), "--every", "10"]) == 2
    assert "--every is for sprites" in capsys.readouterr().err
    assert main(["export", root, "--format", "sprites", "-o", str(tmp_path / "s"), "--of", "highlights"]) == 2
    assert "--of is for shots-csv" in capsys.readouterr().err
