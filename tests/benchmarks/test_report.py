"""Result files, the page made of them, and ratios that must not fall."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from benchmarks import report
from benchmarks.benchmark import Benchmark, Measured
from benchmarks.harness import Setting
from benchmarks.pictures import draw_ratios
from benchmarks.registry import suites

SVG = "{http://www.w3.org/2000/svg}"


def _benchmark(name: str, goal: float, at_least: bool, unit: str = "x") -> Benchmark:
    return Benchmark(
        name=name, work=f"work of {name}", against="a peer", goal=goal, unit=unit, at_least=at_least,
        run=_unused,
    )  # fmt: skip


def _unused(setting: Setting) -> Measured:
    raise AssertionError(setting)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results, ratios and the page are written."""
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# By hand\n\n{report.START}\n\nold\n\n{report.END}\n\nAfter.\n")
    (tmp_path / "regressions.json").write_text("{}")
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "REGRESSIONS", tmp_path / "regressions.json")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "PICTURES", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("at_least", "then", "now", "is_worse"),
    [(True, 2.0, 1.81, False), (True, 2.0, 1.79, True), (False, 1.0, 1.09, False), (False, 1.0, 1.11, True)],
)
def test_a_ratio_worse_by_more_than_a_tenth_is_told(
    home: Path, at_least: bool, then: float, now: float, is_worse: bool
) -> None:
    benchmark = _benchmark("one", 1.0, at_least)
    report.accept(report.save(benchmark, Measured([then]), 2, 1.0))
    told = report.worse_than_stored(report.save(benchmark, Measured([now]), 2, 1.0), 0.1)
    assert bool(told) == is_worse
    assert not told or told.startswith("one: ")


@pytest.mark.parametrize(
    ("at_least", "now", "is_worse"),
    [(True, 1.61, False), (True, 1.59, True), (False, 2.49, False), (False, 2.51, True)],
)
def test_no_median_is_worse_that_single_runs_fell_to_when_it_was_accepted(
    home: Path, at_least: bool, now: float, is_worse: bool
) -> None:
    benchmark = _benchmark("one", 1.0, at_least)
    report.accept(report.save(benchmark, Measured([1.6, 2.0, 2.5]), 2, 1.0))
    told = report.worse_than_stored(report.save(benchmark, Measured([now]), 2, 1.0), 0.1)
    assert bool(told) == is_worse


def test_what_was_not_measured_is_not_worse(home: Path) -> None:
    report.accept(report.save(_benchmark("one", 1.0, True), Measured([2.0]), 2, 1.0))
    record = report.save(_benchmark("one", 1.0, True), "needs a | and\na line", 2, 1.0)
    assert "not measured: needs a / and a line" in report.line(record)
    assert report.worse_than_stored(record, 0.1) is None


def test_seconds_are_not_kept_as_what_must_not_fall(home: Path) -> None:
    report.accept(report.save(_benchmark("one", 1.0, True, "s"), Measured([2.0]), 2, 1.0))
    assert json.loads((home / "regressions.json").read_text()) == {}


def test_the_page_has_a_table_a_suite_between_what_is_written_by_hand(home: Path) -> None:
    suite = ModuleType("suite", "Things beside others.")
    done = _benchmark("done", 1.5, True)
    missing = _benchmark("missing", 1.5, True)
    suite.BENCHMARKS = [done, missing, _benchmark("never", 1.0, True)]  # type: ignore[attr-defined]
    report.save(done, Measured([1.4, 2.0, 3.0], shares=[0.7, 0.8, 0.9]), 2, 61.0)
    report.save(missing, "needs a | thing", 2, 0.1)
    report.write_page([suite])
    lines = (home / "benchmarks.md").read_text().splitlines()
    assert lines[0] == "# By hand"
    assert lines[-1] == "After."
    assert "old" not in lines
    assert "### Things beside others" in lines
    assert ("| work of done | a peer | at least 1.5 x | **2** x (1.4 to 3, 3 runs) | yes | 80% |") in lines
    assert any("not measured: needs a / thing" in line for line in lines)
    assert json.loads((home / "results" / "done.json").read_text())["took_seconds"] == 61.0
    before = (home / "benchmarks.md").read_text()
    report.write_page([suite])
    assert (home / "benchmarks.md").read_text() == before


def test_ratios_are_drawn_on_one_axis_in_their_order(tmp_path: Path) -> None:
    some = [
        {"name": "slow_one", "values": [0.5, 1.0], "goal": 2.0, "reached": False},
        {"name": "fast_one", "values": [4.0], "goal": 2.0, "reached": True},
    ]
    draw_ratios(tmp_path / "ratios.svg", "Ratios", some)
    drawn = ElementTree.parse(tmp_path / "ratios.svg")
    dots = [float(dot.attrib["cx"]) for dot in drawn.iter(f"{SVG}circle")]
    words = [text.text for text in drawn.iter(f"{SVG}text")]
    assert dots == sorted(dots)
    assert words.index("slow one") < words.index("fast one")
    goals = [path.attrib["d"].split()[0] for path in drawn.iter(f"{SVG}path") if "v14" in path.attrib["d"]]
    assert len(set(goals)) == 1


def test_the_page_is_the_one_that_the_stored_results_give(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", report.HOME / "results")
    page = report.HOME.parent / "docs" / "benchmarks.md"
    (home / "benchmarks.md").write_text(page.read_text())
    report.write_page(suites())
    assert (home / "benchmarks.md").read_text() == page.read_text()
    for picture in home.glob("*.svg"):
        assert picture.read_text() == (page.parent / "pictures" / picture.name).read_text(), picture.name
