"""Memory of long files."""

from __future__ import annotations

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract
from benchmarks.harness import BenchmarkError, Cost, Setting, run_in_turn, summary
from benchmarks.inputs import film, looped

GB = 1e9
LONG_SECONDS, SHORT_MINUTES, LONGER_MINUTES = 7200, 5, 20


def memory(setting: Setting) -> Measured:
    """Gigabytes of all processes together at their peak."""
    clip = looped(setting, film(setting, 1920, 1080).path, LONG_SECONDS)
    ops = ("frames", "audio_levels", "speech")
    command = extract(
        setting,
        [clip],
        setting.scratch("memory"),
        *("--ops", ",".join(ops), "--sample", "keyframes"),
        expect=ops,
        watch_memory=True,
    )
    (costs,) = run_in_turn(setting.runs, command)
    return Measured([_peak(cost) / GB for cost in costs], {"framemill": summary(costs)})


def memory_slope(setting: Setting) -> Measured:
    """Peak on 20 minutes over that on 5."""
    source = film(setting, 1920, 1080).path
    sides = [
        extract(
            setting,
            [looped(setting, source, 60 * minutes)],
            setting.scratch(f"slope_{minutes}"),
            *("--ops", "scenes", "--set", "scenes.mode=exact"),
            expect=["scenes"],
            watch_memory=True,
        )
        for minutes in (SHORT_MINUTES, LONGER_MINUTES)
    ]
    short, longer = run_in_turn(setting.runs, *sides)
    return Measured(
        [_peak(b) / _peak(a) for a, b in zip(short, longer, strict=True)],
        {"5_minutes": summary(short), "20_minutes": summary(longer)},
    )


def _peak(cost: Cost) -> int:
    peak = max(cost.peak_sum_bytes, cost.peak_bytes)
    if not peak:
        raise BenchmarkError("the system told no memory figures")
    return peak


BENCHMARKS = [
    Benchmark(
        name="memory",
        work="2-hour 1080p file, frames on key frames and sound: peak memory of all processes",
        against="-",
        goal=1.5,
        unit="GB",
        at_least=False,
        runs=1,
        run=memory,
    ),
    Benchmark(
        name="memory_slope",
        work="exact scenes of 20 minutes of 1080p",
        against="the same of 5 minutes: ratio of peak memory (1.05 allows for noise)",
        goal=1.05,
        unit="x",
        at_least=False,
        runs=1,
        run=memory_slope,
    ),
]
