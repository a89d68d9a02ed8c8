"""Result folders whose shots get captions from a scripted server, and what the tables then hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from framemill.cluster.cli.main import main
from framemill.cluster.results.broken import Broken
from framemill.cluster.results.checking import check_folder
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import query
from tests.cluster.corpus.scripted_model import Question, Reply, ScriptedModel
from tests.cluster.results.hand_made import make_folder


def jpeg_of(width: int, height: int) -> bytes:
    _, data = cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))
    return bytes(data)


def folder(root: Path, num_sources: int = 1, num_shots: int = 3, **more: Any) -> Dataset:
    """Sources of shots of a second, with two frames each that the table holds as pictures."""
    seconds = range(num_shots)
    scenes = [
        {"scene_index": n, "start_seconds": n, "end_seconds": n + 1, "start_frame": n * 10,
         "end_frame": n * 10 + 10, "transition": "cut" if n else "start", "score": 0.0}
        for n in seconds
    ]  # fmt: skip
    frames = [
        {"frame_index": n * 10 + 5 * half, "pts_seconds": n + half / 2, "image": jpeg_of(64, 48)}
        for n in seconds
        for half in (0, 1)
    ]
    said = [
        {"segment_index": n, "start_seconds": n, "end_seconds": n + 1, "text": f"word{n}", "language": "en",
         "origin": "speech"}
        for n in seconds
    ]  # fmt: skip
    sources = [f"s{n:02}" for n in range(num_sources)]
    tables: dict[str, dict[str, Any]] = {
        "scenes": {source: scenes for source in sources},
        "frames": {source: frames for source in sources},
        "transcript": {source: said for source in sources},
    }
    lengths = {source: float(num_shots) for source in sources}
    return make_folder(root, {**tables, **more}, durations=lengths)


def described(question: Question, number: int) -> Reply:
    if question.is_of_file:
        return Reply(json.dumps({"summary": f"All of it, {number}."}))
    return Reply(json.dumps({"caption": f"A red car, {number}.", "tags": ["car"]}))


def caption(out: Dataset, model: ScriptedModel, *more: str, name: str = "m") -> int:
    line = ["captions", str(out.root), "--address", model.address, "--model", name, *more]
    return main(line)


def rows(out: Dataset, table: str = "captions", columns: str = "*") -> list[Mapping[str, Any]]:
    found = query(out.root, f"SELECT {columns} FROM {table} ORDER BY ALL")
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def broken(out: Dataset) -> list[Broken]:
    found: list[Broken] = []
    check_folder(Dataset.open(out.root, create=False), found.append)
    return [each for each in found if each.table in ("captions", "summaries")]
