"""Starting: what a short clip and a question wait for, beside the imports that no such run can do without."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, time_until_rows
from benchmarks.harness import (
    BenchmarkError,
    Command,
    Setting,
    run_in_turn,
    run_once,
    summary,
)
from benchmarks.inputs import film_clips
from benchmarks.suite.runs import DEFAULTS

# What a run decodes, computes and writes with.
IMPORTS = Command(arguments=[sys.executable, "-c", "import av, numpy, cv2, pyarrow"])


def one_clip(setting: Setting) -> Measured:
    """Times of a whole run over those of importing alone."""
    (clip,) = film_clips(setting, 1, 5).iterdir()
    ours = extract(setting, [clip], setting.scratch("one_clip"), expect=DEFAULTS)
    whole, alone = run_in_turn(setting.runs, ours, IMPORTS)
    return Measured(
        [a.seconds / b.seconds for a, b in zip(whole, alone, strict=True)],
        {
            "framemill": summary(whole),
            "imports": summary(alone),
            "cpu_ratio": statistics.median(
                a.cpu_seconds / b.cpu_seconds for a, b in zip(whole, alone, strict=True)
            ),
        },
    )


def one_clip_first_row(setting: Setting) -> Measured:
    """Times until the first part of rows has its name over those of importing alone."""
    (clip,) = film_clips(setting, 1, 5).iterdir()
    output = setting.scratch("one_clip_first_row")
    ours = extract(setting, [clip], output)
    turns = [(time_until_rows(ours, output), run_once(IMPORTS).seconds) for _ in range(setting.runs + 1)][1:]
    first, alone = ([turn[side] for turn in turns] for side in (0, 1))
    return Measured(
        [a / b for a, b in turns],
        {"first_row_seconds": statistics.median(first), "imports_seconds": statistics.median(alone)},
    )


def _framemill(*words: str, check: Callable[[str], None] = lambda stdout: None) -> Command:
    return Command(arguments=[sys.executable, "-m", "framemill", *words], check=check)


def answers(setting: Setting) -> Measured:
    """Seconds of the slowest of the commands that a person waits for."""
    (clip,) = film_clips(setting, 1, 5).iterdir()
    output = setting.scratch("answers")
    run_once(extract(setting, [clip], output, expect=DEFAULTS))

    def told_rows(stdout: str) -> None:
        if not json.loads(stdout)[0]["n"]:
            raise BenchmarkError(f"sql tells of no scenes: {stdout}")

    asked = {
        "help": _framemill("--help"),
        "ops": _framemill("ops"),
        "status": _framemill("status", str(output)),
        "sql": _framemill("sql", str(output), "SELECT count(*) AS n FROM scenes", "--json", check=told_rows),
    }
    costs = run_in_turn(setting.runs, *asked.values())
    return Measured(
        [max(cost.seconds for cost in turn) for turn in zip(*costs, strict=True)],
        {name: summary(of_one) for name, of_one in zip(asked, costs, strict=True)},
    )


BENCHMARKS = [
    Benchmark(
        name="one_clip",
        work="one 5-second 720p clip, default operations, whole process",
        against="`import av, numpy, cv2, pyarrow` in a process of its own: its time over that",
        goal=2.8,
        unit="x",
        at_least=False,
        run=one_clip,
    ),
    Benchmark(
        name="one_clip_first_row",
        work="the same: first part of rows on disk",
        against="the same imports: its time over that",
        goal=1.4,
        unit="x",
        at_least=False,
        run=one_clip_first_row,
    ),
    Benchmark(
        name="answers",
        work="`--help`, `ops`, `status`, `sql` over one file: the slowest of them",
        against="-",
        goal=0.5,
        unit="s",
        at_least=False,
        run=answers,
    ),
]
