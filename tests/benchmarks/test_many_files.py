"""What the benchmarks of many files and many cores make of what they measured."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.harness import Cost
from benchmarks.suite.cores import _count
from benchmarks.suite.runs import _rates


def test_files_a_second_are_compared_beyond_the_start() -> None:
    start, hundred = Cost(1.02, 1.02, 0), Cost(3.0, 3.0, 0)
    found = _rates(1000, [start], [hundred], [Cost(21.0, 21.0, 0), Cost(41.0, 41.0, 0)])
    assert found.values == pytest.approx([1.0, 0.5], rel=0.01)
    assert found.details["files_a_second"] == pytest.approx(50.0)
    assert found.details["cpu_ms_per_file"] == pytest.approx([20.0, 40.0], rel=0.01)


def test_samples_of_imports_are_left_out() -> None:
    told = "main (a.py:1);run (b.py:2) 7\nmain (a.py:1);load (<frozen importlib._bootstrap>:9) 5\nread 3 x\n"
    look = subprocess.Popen(
        [sys.executable, "-c", f"print({told!r}, end='')"], stdout=subprocess.PIPE, stderr=None, text=True
    )
    assert _count(look) == 7
