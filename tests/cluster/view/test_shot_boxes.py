"""What the viewer's table draws over stills, whichever of the tables with boxes were extracted."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.view.shot_table import read_shots
from tests.cluster.results.hand_made import make_folder
from tests.cluster.results.test_shots import FRAMES, SCENES, box, frame

SEEN: dict[str, dict[str, Any]] = {
    "faces": frame(0, face_index=0, score=0.9, box=box(1, 2, 3, 4)),
    "objects": frame(0, object_index=0, label="dog", score=0.8, box=box(5, 6, 7, 8)),
    "text": frame(0, text_index=0, text="STOP", polygon=[9, 10, 13, 10, 13, 12, 9, 12]),
}
DRAWN = {
    "faces": ("face", "face", 1.0, 2.0, 3.0, 4.0),
    "objects": ("object", "dog", 5.0, 6.0, 7.0, 8.0),
    "text": ("text", "STOP", 9.0, 10.0, 13.0, 12.0),
}


@pytest.mark.parametrize("tables", [names for k in range(4) for names in combinations(SEEN, k)])
def test_boxes_are_drawn_of_every_table_that_is_there(tmp_path: Path, tables: tuple[str, ...]) -> None:
    seen = {name: {"a": [SEEN[name]]} for name in tables}
    dataset = make_folder(tmp_path / "out", {"scenes": SCENES, "frames": {"a": FRAMES}, **seen})
    _, shots = read_shots(dataset.root, dataset.state)
    cards = [json.loads(card) for card in shots["card"].to_pylist()]
    (card,) = [one for one in cards if one["source_id"] == "a" and one["scene_index"] == 0]
    assert [tuple(one.values()) for one in card["boxes"] or []] == [DRAWN[name] for name in tables]
