"""What the driver needs for each of many files, by a run of stand-ins in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.engines.many_files import OPS
from tests.cluster.extraction import PROJECT

# A million files of five operations each in a gigabyte, less what the libraries take.
BYTES_A_FILE = 850
CPU_SECONDS_A_FILE = 0.001


def run(folder: Path, count: int) -> dict[str, Any]:
    line = [sys.executable, "-m", "tests.cluster.engines.many_files", str(folder), str(count)]
    done = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=900)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_stand_in_run_computes_every_file_once(tmp_path: Path) -> None:
    assert (run(tmp_path, 3000)["computed"], len(OPS)) == (3000, 5)
    again = run(tmp_path, 3500)
    assert (again["computed"], again["cached"]) == (500, 3000)


@pytest.mark.slow
def test_memory_and_time_of_a_file_are_bounded(tmp_path: Path) -> None:
    few, many = 10_000, 60_000
    small = run(tmp_path / "small", few)
    first, again = run(tmp_path / "out", many), run(tmp_path / "out", many)
    assert (first["computed"], again["cached"]) == (many, many)
    # By the difference of two runs: what a commit in the making takes is in both.
    assert (first["peak_bytes"] - small["peak_bytes"]) / (many - few) < BYTES_A_FILE
    assert (first["cpu_seconds"] - small["cpu_seconds"]) / (many - few) < CPU_SECONDS_A_FILE
    assert again["peak_bytes"] - first["peak_bytes"] < 0.5 * (first["peak_bytes"] - small["peak_bytes"]) + 5e7
