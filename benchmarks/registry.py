"""What is measured: each benchmark states its goal, what it runs, and what it runs against."""

from __future__ import annotations

from types import ModuleType

from benchmarks.benchmark import Benchmark


def suites() -> tuple[ModuleType, ...]:
    """The suites in the order in which they run: a docstring and a list BENCHMARKS each."""
    from benchmarks.suite import (
        adaptive,
        audio,
        clips,
        cluster,
        cores,
        gpu,
        gpu_sound,
        keyframes,
        memory,
        objects,
        planner,
        resuming,
        runs,
        scenes,
        selection,
        starting,
        text,
        transcripts,
        vision,
    )

    return (
        keyframes,
        scenes,
        objects,
        runs,
        starting,
        text,
        vision,
        transcripts,
        audio,
        selection,
        clips,
        adaptive,
        memory,
        gpu,
        gpu_sound,
        cores,
        cluster,
        planner,
        resuming,
    )


def all_benchmarks() -> dict[str, Benchmark]:
    """Every benchmark by name, in the order in which they run."""
    return {benchmark.name: benchmark for suite in suites() for benchmark in suite.BENCHMARKS}
