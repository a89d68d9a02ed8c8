"""What the figures of adaptive sampling rest on: planted events, and the picture of the curve."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.pictures import draw_curve
from benchmarks.planted import APART_SECONDS, FPS, LASTING, Planted, _place


def test_an_event_is_found_by_a_time_within_it() -> None:
    clip = Planted(Path("x.mp4"), ((1.0, 1.4), (3.0, 3.2), (5.0, 6.0)))
    assert clip.recall([]) == 0.0
    assert clip.recall([1.0, 1.4, 2.9]) == pytest.approx(1 / 3)
    assert clip.recall([0.99, 3.2, 5.96, 5.99, 1.36]) == pytest.approx(2 / 3)


def test_events_are_whole_frames_far_from_each_other() -> None:
    for seed in range(20):
        events = _place(np.random.default_rng(seed), 60.0, 10, LASTING)
        edges = np.array(events)
        assert len(events) == 10 and edges.min() >= APART_SECONDS - 1 / FPS and edges.max() <= 60
        lasts = edges[:, 1] - edges[:, 0]
        assert LASTING[0] - 1 / FPS <= lasts.min() and lasts.max() <= LASTING[1] + 1 / FPS
        assert (edges[1:, 0] - edges[:-1, 1]).min() >= APART_SECONDS - 2 / FPS
        assert np.allclose(edges * FPS, np.rint(edges * FPS))


def test_a_curve_is_drawn_from_left_to_right_and_upwards(tmp_path: Path) -> None:
    path = tmp_path / "curve.svg"
    draw_curve(path, "Found", [10, 20, 40], {"ours": [0.2, 0.5, 1.0], "theirs": [0.1, 0.2, 0.4]})
    drawn = ElementTree.fromstring(path.read_text())
    lines = [line.attrib["points"].split() for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) == 2
    points = np.array([[float(v) for v in point.split(",")] for point in lines[0]])
    assert (np.diff(points[:, 0]) > 0).all() and (np.diff(points[:, 1]) < 0).all()
    texts = {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Found", "ours", "theirs", "frames per clip"} <= texts
