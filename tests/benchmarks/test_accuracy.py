"""The table of comparisons with references: its writer, and how boxes are matched, on stand-ins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy.boxes import Agreement, Found
from benchmarks.accuracy.scenes import LENGTHS, compared, even, fades, uneven
from benchmarks.accuracy.speech import equal_words
from benchmarks.accuracy.table import END, START, Comparison, render, replaced, skipped
from benchmarks.accuracy.text import matched
from benchmarks.harness import Setting, SkippedError
from tests.ops.shots.scene_clips import Boundary, encode


def found(*boxes: tuple[float, float, float, float, float], label: int = 0) -> Found:
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    return Found(rows[:, :4], rows[:, 4], np.full(len(rows), label, np.int64))


def test_the_table_stands_between_its_markers_and_names_versions() -> None:
    rows = [
        Comparison(family="a", reference="b|c", compared="d", num_rows=3, figure="e", goal="f", met=False),
        skipped("g", "x.onnx not at hand"),
    ]
    page = replaced(f"before\n{START}\nold\n{END}\nafter\n", render(rows, ["numpy"]))
    assert page.startswith(f"before\n{START}\n\n| family |") and page.endswith(f"{END}\nafter\n")
    assert r"| a | b\|c | d | 3 | e | f | **no** |" in page
    assert "| g |  |  |  | not measured: x.onnx not at hand |  |  |" in page
    assert f"numpy {np.__version__}" in page and "old" not in page


@pytest.mark.parametrize("page", ["", START, f"{END} {START}", f"{START}{END}{START}{END}"])
def test_a_page_without_its_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        replaced(page, "table")


def test_rows_agree_within_a_pixel_and_a_hundredth() -> None:
    agreement = Agreement(least_score=0.5)
    agreement.add(found((0, 0, 10, 10, 0.9)), found((0, 0, 10.5, 10, 0.905)))
    assert (agreement.num_rows, agreement.share) == (1, 1.0)
    agreement.add(found((0, 0, 10, 10, 0.9)), found((0, 0, 12, 10, 0.9)))
    agreement.add(found((0, 0, 10, 10, 0.9)), found((0, 0, 10, 10, 0.8)))
    assert agreement.share == pytest.approx(1 / 3) and agreement.alone == 0


def test_what_only_one_finds_counts_unless_it_is_at_the_limit() -> None:
    agreement = Agreement(least_score=0.5)
    agreement.add(found((0, 0, 10, 10, 0.9)), found((0, 0, 10, 10, 0.9), label=1))
    assert agreement.alone == 2 and agreement.share == 0
    agreement.add(found((0, 0, 10, 10, 0.505)), found())
    assert agreement.alone == 2


def test_a_family_that_cannot_be_compared_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks.accuracy import objects

    def absent(setting: Setting) -> list[Comparison]:
        raise SkippedError("weights not at hand")

    monkeypatch.setattr(objects, "measure", absent)
    (row,) = accuracy.measured(["objects"], Setting(tmp_path, tmp_path, tmp_path, 1, 1))
    assert row.family == "objects" and row.figure == "not measured: weights not at hand"


@pytest.mark.parametrize("name", accuracy.FAMILIES)
def test_every_family_says_what_is_absent(name: str, tmp_path: Path) -> None:
    rows = accuracy.measured([name], Setting(tmp_path, tmp_path, tmp_path, 1, 1))
    assert rows and all(row.figure.startswith("not measured: ") and row.met is None for row in rows)


def test_words_of_both_count_in_their_order() -> None:
    assert equal_words(["a", "b", "c"], ["a", "b", "c"]) == 3
    assert equal_words(["a", "b", "c"], ["a", "c"]) == 2
    assert equal_words(["a", "b"], ["b", "a"]) == 1
    assert equal_words([], ["a"]) == 0


def test_a_line_is_compared_with_the_nearest() -> None:
    near, far = np.zeros((4, 2)), np.full((4, 2), 100.0)
    rows = [{"text": "one", "polygon": [1.0] * 8}, {"text": "two", "polygon": [99.0] * 8}]
    assert matched(rows, [("two", far), ("on", near)]) == [(False, 1.0), (True, 1.0)]
    assert matched(rows, []) == []


@pytest.mark.parametrize("join", [even, uneven])
@pytest.mark.parametrize("level", [0, 255])
def test_films_go_through_their_colour_where_their_boundaries_are(join: Any, level: int) -> None:
    rng = np.random.default_rng(level)
    shots = [np.full((90, 8, 8, 3), value, np.uint8) for value in rng.integers(60, 200, 3)]
    frames, truth = fades(shots, join, level, 1)
    assert [boundary.last - boundary.first + 1 for boundary in truth] == list(LENGTHS)
    for boundary in truth:
        inside = [abs(int(frames[at][0, 0, 0]) - level) for at in range(boundary.first, boundary.last + 1)]
        outside = [abs(int(frames[at][0, 0, 0]) - level) for at in (boundary.first - 1, boundary.last + 1)]
        assert min(inside) < 30 < min(outside)


def test_scenes_are_held_against_known_boundaries(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    pictures = np.kron(rng.integers(0, 255, (2, 9, 16, 3), np.uint8), np.ones((1, 8, 8, 1), np.uint8))
    encode(tmp_path / "cut.mp4", list(np.repeat(pictures, 50, axis=0)), {"preset": "ultrafast"})
    at = Boundary(50, 50, "cut")
    right = compared("made", [(tmp_path / "cut.mp4", [at])], None)
    assert right.met and right.num_rows == 1 and right.figure.startswith("F1 1.000")
    seen_elsewhere = compared("made", [(tmp_path / "cut.mp4", [at])], lambda path: [20])
    assert seen_elsewhere.met and "by transnetv2: F1 0.000" in seen_elsewhere.figure
    wrong = compared("made", [(tmp_path / "cut.mp4", [Boundary(50, 50, "fade")])], None)
    assert not wrong.met and "kind right 0.0%" in wrong.figure
