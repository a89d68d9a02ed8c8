"""The checker of cases sees what is wrong, and refuses descriptions that it does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from tests.cases.checking import complaints
from tests.cases.described import Case, read_cases
from tests.cases.running import Outcome, Rows

LEVELS = [20.0, 22.0, 24.0]


def jpeg(*colours: tuple[int, int, int]) -> bytes:
    """A picture of four patches in RGB: top left, top right, bottom left, bottom right."""
    picture = np.array(colours, np.uint8).reshape(2, 2, 3).repeat(32, 0).repeat(32, 1)
    return cv2.imencode(".jpg", np.ascontiguousarray(picture[:, :, ::-1]))[1].tobytes()


PATCHES = jpeg((255, 0, 0), (0, 0, 255), (0, 128, 0), (255, 255, 255))
TABLES: dict[str, Rows] = {
    "frames": [
        {
            "frame_index": i,
            "pts_seconds": i / 10,
            "box": {"left": 1.0, "top": 2.0},
            "brightness": (luma - 16) / 219,
            "image": PATCHES,
        }
        for i, luma in enumerate(LEVELS)
    ],
    "transcript": [
        {"text": "Red, lion!", "end_seconds": 2.0},
        {"text": "10\u00a0000 east", "end_seconds": 3.5},
    ],
}
MEDIA = {
    "uri": "clip",
    "status": "ok",
    "num_frames": 3,
    "duration_seconds": 3.5,
    "rotation_degrees": 90,
    "width": 64,
    "height": 48,
}
ERROR = {"operation": "*", "status": "failed", "error": "LimitError", "message": "Too wide: 30000"}


class Given(Outcome):
    """An outcome whose tables are those above."""

    def table(self, name: str) -> Rows:
        return TABLES.get(name, [])


GOOD = Given(0, [MEDIA], [], {"beside.mp4": "ok"}, 10.0, 800.0, Path("out"))


def case(expect: dict[str, Any], **given: Any) -> Case:
    plain = {"file": "clip", "kind": "k", "ops": ["frames"], "sample": "all", "why": "so", "expect": expect}
    return msgspec.convert({**plain, **given}, Case)


RIGHT = {
    "exit_code": [0, 3],
    "status": "ok",
    "num_frames": 3,
    "duration_seconds": [3.4, 3.6],
    "rotation_degrees": 90,
    "width": [60, 70],
    "height": 48,
    "tables": {
        "frames": {
            "rows": [2, 3],
            "last_end_max": 0.2,
            "rising": "pts_seconds",
            "distinct": "frame_index",
            "values": [[-1, "frame_index", 2], [1, "pts_seconds", 0.12, 0.03], [0, "box", [1, 3], 1]],
        }
    },
    "brightness_sequence": {"step": 2, "runs": [[20, 3]]},
    "quadrants": ["red", "#0000FF", "#008000", "white"],
    "words": ["Red,", "*", "east"],
    "within_seconds": 20,
    "memory_mb_max": 900,
}


def test_what_is_right_raises_no_complaint() -> None:
    subtitles = ["--set", "transcript.origin=subtitles"]
    assert complaints(case(RIGHT, args=subtitles), GOOD) == []
    heard = {"words": ["red", "lion", "10", "000", "east"]}
    assert complaints(case(heard, ops=["transcript"]), GOOD) == []


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ({"exit_code": [3, 4]}, "exit code 0"),
        ({"status": ["partial", "failed"]}, "status ok, right is partial or failed"),
        ({"num_frames": [4, 6]}, "num_frames [3]"),
        ({"duration_seconds": 3}, "duration_seconds [3.5]"),
        ({"rotation_degrees": 0}, "rotation_degrees [90]"),
        ({"width": 65}, "width [64]"),
        ({"height": [49, 90]}, "height [48]"),
        ({"tables": {"frames": {"rows": 4}}}, "frames: 3 rows"),
        ({"tables": {"scenes": {"rows": [1, 2]}}}, "scenes: 0 rows"),
        ({"tables": {"transcript": {"last_end_max": 3.4}}}, "transcript: the last row ends at 3.5"),
        ({"tables": {"frames": {"rising": "image"}}}, "frames: image of row 1"),
        ({"tables": {"frames": {"distinct": "image"}}}, "frames: image holds a value twice"),
        ({"tables": {"frames": {"values": [[1, "frame_index", 2]]}}}, "frames: frame_index of row 1 is 1"),
        ({"tables": {"frames": {"values": [[1, "pts_seconds", 0.2, 0.05]]}}}, "frames: pts_seconds of row 1"),
        ({"tables": {"frames": {"values": [[3, "frame_index", 3]]}}}, "frames: no row 3"),
        ({"tables": {"frames": {"values": [[0, "box", [1, 4], 1]]}}}, "frames: box of row 0"),
        ({"brightness_sequence": {"step": 2, "runs": [[20, 2], [30, 1]]}}, "frame 2 has a luma of 24.0"),
        ({"brightness_sequence": {"step": 2, "runs": [[20, 2]]}}, "frame 2 has a luma of 24.0"),
        ({"brightness_sequence": {"step": 2, "runs": [[21, 3]], "tolerance": 0.5}}, "frame 0 has a luma"),
        ({"quadrants": ["red", "blue", "white", "green"]}, "bottom left is"),
        ({"quadrants": ["red", "blue", "#009000", "white"]}, "bottom left is"),
        ({"words": ["Red,", "lion!", "10", "000", "east"]}, "the words are"),
        ({"words": ["Red,", "lion!", "10\u00a0000", "*", "east"]}, "the words are"),
        ({"errors_contains": "wide"}, "no row of errors holds wide"),
        ({"within_seconds": 9}, "it took 10 s"),
        ({"memory_mb_max": 700}, "a process held 800 MiB"),
    ],
)
def test_what_is_wrong_is_named(expect: dict[str, Any], said: str) -> None:
    found = complaints(case(expect, args=["--set", "transcript.origin=subtitles"]), GOOD)
    assert any(line.startswith(said) for line in found), found


def test_a_refusal_counts_where_it_is_allowed_alone() -> None:
    refused = replace(GOOD, exit_code=3, media=[], errors=[ERROR])
    allowed = {
        "exit_code": 3,
        "status": ["ok", "failed"],
        "num_frames": 3,
        "errors_contains": ["WIDE", "limit"],
    }
    assert complaints(case(allowed), refused) == []
    assert complaints(case({**allowed, "status": "ok"}), refused)
    assert complaints(case({**allowed, "errors_contains": ["wide", "tall"]}), refused)


def test_neighbours_must_come_out_ok() -> None:
    (line,) = complaints(case({}), replace(GOOD, neighbours={"beside.mp4": "partial"}))
    assert line == "beside.mp4 beside it is partial"


@pytest.mark.parametrize(
    "change",
    [
        {"experiment": 1},
        {"expect": {"staus": "ok"}},
        {"expect": {"tables": {"frames": {"row": 1}}}},
        {"expect": {"brightness_sequence": {"step": 2, "runs": [], "gap": 1}}},
        {"expect": {"words": "red lion"}},
    ],
)
def test_unknown_keys_and_other_types_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    plain = {"file": "a", "kind": "k", "ops": ["media"], "sample": "all", "why": "so", "expect": {}}
    path = tmp_path / "cases.json"
    path.write_text(json.dumps([plain]))
    assert len(read_cases(path)) == 1
    path.write_text(json.dumps([{**plain, **change}]))
    with pytest.raises(msgspec.ValidationError):
        read_cases(path)
    path.write_text(json.dumps([plain, plain]))
    with pytest.raises(ValueError, match="more than once"):
        read_cases(path)
