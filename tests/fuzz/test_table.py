"""`python -m tests.fuzz`: the table, its sums, what fails it, and how a guided fuzzer is driven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz import guided
from tests.fuzz.harness import TARGETS
from tests.fuzz.tally import Fault, Row, count, lines

# Drives a target as atheris does, but with bytes of its own: it ends the process where one is a finding.
STAND_IN = """
import contextlib, sys
def instrument_imports(include):
    assert include == ["framemill"] and not any(name.startswith("framemill") for name in sys.modules)
    return contextlib.nullcontext()
def Setup(arguments, target):
    global run
    assert arguments[2] == "-runs=7" and not arguments[-1].startswith("-")
    run = target
def Fuzz():
    for _ in range(7):
        run({content!r})
"""


def some(seed: int, number: int) -> Iterator[tuple[int, list[Fault]]]:
    yield number - 1, []
    yield 1, [("broken", "a row")]


def test_the_table_counts_each_kind_and_a_fault_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz, "RUNS", {"good": lambda seed, number: iter([(number, [])]), "bad": some})
    assert fuzz.main(1, 11, ["good"]) == 0
    assert fuzz.main(1, 11, []) == 1
    said = capsys.readouterr()
    assert "broken: a row" in said.out and "bad: 6 of 6" in said.err
    assert [line.split() for line in said.out.splitlines()[-3:]] == [
        ["good", "5", "0", "0", "0", "0", "0", "0"],
        ["bad", "6", "0", "0", "0", "1", "0", "0"],
        ["all", "11", "0", "0", "0", "1", "0", "0"],
    ]
    assert fuzz.main(1, 11, ["worse"]) == 2


def test_what_is_skipped_stands_in_the_table_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guided, "missing", lambda: "atheris is not installed")
    assert fuzz.main(1, 10, list(guided.KINDS)) == 0
    out = capsys.readouterr().out
    assert out.count("skipped: atheris is not installed") == len(guided.KINDS) == len(TARGETS)
    assert set(guided.KINDS) == set(TARGETS)
    assert [*lines([Row("x", skipped="why")])][1].endswith("skipped: why")
    assert count("x", 2, some(1, 2)).faults == {"broken": 1}


@pytest.mark.slow
@pytest.mark.parametrize(("target", "content"), [("subtitles", b"\x1b[31m"), ("packet index", b"no media")])
def test_a_guided_fuzzer_drives_a_target_and_its_finding_is_told(
    target: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "atheris.py"
    module.write_text(STAND_IN.replace("{content!r}", repr(content)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{guided.REPOSITORY}")
    assert guided.missing() == ""
    assert list(guided.run_kind(target, 1, 7)) == [(7, [])]
    module.write_text(STAND_IN.replace("{content!r}", "None"))
    [(number, [(fault, about)])] = guided.run_kind(target, 1, 7)
    assert (number, fault) == (7, "crashes") and "Traceback" in about and target in about
