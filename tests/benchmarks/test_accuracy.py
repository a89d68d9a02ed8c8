"""The table of comparisons with references: its writer, and how boxes are matched, on stand-ins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy.boxes import Agreement, Found
from benchmarks.accuracy.table import END, START, Comparison, render, replaced, skipped
from benchmarks.harness import Setting, SkippedError


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
