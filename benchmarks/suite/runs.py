"""Whole runs: many operations at once, many files, the same command again, the first row."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, read_table, require_nothing_computed, time_until_rows
from benchmarks.harness import (
    BenchmarkError,
    Command,
    Cost,
    Setting,
    run_in_turn,
    run_once,
    summary,
)
from benchmarks.inputs import film, film_clips, small_clips, video

SIX = ("media", "frames", "scenes", "audio_levels", "speech", "objects")
DEFAULTS = ("media", "frames", "scenes", "audio_levels", "speech")
FEW, MANY = 20, 100
# What a run of so many files costs is its start, which is taken off.
START, HUNDRED, THOUSAND, TEN_THOUSAND = 1, 100, 1000, 10_000
FEW_RUNS = 3  # of the two small ones that one large one is held against


def six_ops_one_run(setting: Setting) -> Measured:
    sources = [film(setting, 1280, 720).path, video(setting, "car-detection.mp4")]
    together = setting.scratch("six_together")
    apart = {op: setting.scratch(f"six_apart_{op}") for op in SIX}

    def same_rows(stdout: str) -> None:
        for op in SIX:
            if rows_of(together, op) != rows_of(apart[op], op):
                raise BenchmarkError(f"the rows of {op} differ between one run and six")

    one = extract(setting, sources, together, "--ops", ",".join(SIX), "--sample", "every:0.5", expect=SIX)
    six = [
        extract(
            setting,
            sources,
            apart[op],
            *("--ops", op, "--sample", "every:0.5"),
            expect=[op],
            check=same_rows if op == SIX[-1] else lambda stdout: None,
        )
        for op in SIX
    ]
    once, one_by_one = run_in_turn(setting.runs, one, six)
    return Measured(
        [b.seconds / a.seconds for a, b in zip(once, one_by_one, strict=True)],
        {"one_run": summary(once), "six_runs": summary(one_by_one)},
    )


def rows_of(output: Path, op: str) -> list[str]:
    """A table's rows in an order of their own; floats at the precision that is promised."""

    def rounded(value: object) -> object:
        return round(value, 4) if isinstance(value, float) else value

    rows = read_table(output, op).to_pylist()
    return sorted(
        json.dumps({k: rounded(v) for k, v in row.items()}, default=str, sort_keys=True) for row in rows
    )


def per_file_overhead(setting: Setting) -> Measured:
    """Milliseconds a file beyond opening it and decoding its key frames, from 20 and from 100 files.

    Of wall-clock time (with the decoding shared out over the cores) and of CPU time, the larger counts.
    """
    few, many = film_clips(setting, FEW, 2), film_clips(setting, MANY, 2)
    sides = [
        extract(setting, [folder], setting.scratch(f"overhead_{n}"), "--ops", "frames", expect=["frames"])
        for n, folder in ((FEW, few), (MANY, many))
    ]
    bare: list[float] = []
    peer = Command(
        arguments=[sys.executable, "-m", "benchmarks.peers.bare_decode", many, "keys"],
        check=lambda stdout: bare.append(json.loads(stdout)["cpu_seconds"] / MANY),
    )
    fewer, more, _ = run_in_turn(setting.runs, *sides, peer)
    wall = [(m.seconds - f.seconds) / (MANY - FEW) for f, m in zip(fewer, more, strict=True)]
    cpu = [(m.cpu_seconds - f.cpu_seconds) / (MANY - FEW) for f, m in zip(fewer, more, strict=True)]
    values = [1000 * max(w - b / setting.cores, c - b) for w, c, b in zip(wall, cpu, bare[1:], strict=True)]
    return Measured(
        values,
        {
            "wall_ms_per_file": 1000 * statistics.median(wall),
            "cpu_ms_per_file": 1000 * statistics.median(cpu),
            "bare_cpu_ms_per_file": 1000 * statistics.median(bare[1:]),
        },
    )


def many_files(setting: Setting) -> Measured:
    """Files a second of a thousand over those of a hundred, both beyond the start."""
    sides = [_small(setting, count, DEFAULTS) for count in (START, HUNDRED, THOUSAND)]
    start, hundred, thousand = run_in_turn(setting.runs, *sides)
    return _rates(THOUSAND, start, hundred, thousand)


def many_files_media(setting: Setting) -> Measured:
    """The same of ten thousand with `media` alone, once."""
    sides = [_small(setting, count, ("media",)) for count in (START, HUNDRED)]
    start, hundred = run_in_turn(FEW_RUNS, *sides)
    return _rates(TEN_THOUSAND, start, hundred, [run_once(_small(setting, TEN_THOUSAND, ("media",)))])


def _small(setting: Setting, count: int, ops: Sequence[str]) -> Command:
    folder, output = small_clips(setting, count), setting.scratch(f"many_{len(ops)}_{count}")
    return extract(setting, [folder], output, "--ops", ",".join(ops), expect=ops)


def _rates(count: int, start: Sequence[Cost], hundred: Sequence[Cost], many: Sequence[Cost]) -> Measured:
    """How many files more a second, of `count`; by the medians of the two smaller runs."""
    first, usual = (statistics.median(cost.seconds for cost in costs) for costs in (start, hundred))
    first_cpu = statistics.median(cost.cpu_seconds for cost in start)
    before = (HUNDRED - START) / (usual - first)
    return Measured(
        [(count - START) / (cost.seconds - first) / before for cost in many],
        {
            "files_a_second": before,
            "cpu_ms_per_file": [1000 * (cost.cpu_seconds - first_cpu) / (count - START) for cost in many],
            "start": summary(start),
            "hundred": summary(hundred),
            "many": summary(many),
        },
    )


def rerun_nothing(setting: Setting) -> Measured:
    clips, output = film_clips(setting, MANY, 2), setting.scratch("rerun")
    first = extract(setting, [clips], output, expect=DEFAULTS)
    again = extract(setting, [clips], output, fresh=False, check=require_nothing_computed)
    cost = run_once(first)
    (costs,) = run_in_turn(setting.runs, again)
    return Measured([c.seconds for c in costs], {"first_run": summary([cost]), "again": summary(costs)})


def first_row(setting: Setting) -> Measured:
    (clip,) = film_clips(setting, 1, 10).iterdir()
    output = setting.scratch("first_row")
    command = extract(setting, [clip], output)
    return Measured([time_until_rows(command, output) for _ in range(setting.runs + 1)][1:])


def bulk(setting: Setting) -> Measured:
    clips, output = film_clips(setting, FEW, 10), setting.scratch("bulk")
    (costs,) = run_in_turn(
        setting.runs, extract(setting, [clips], output, "--ops", ",".join(SIX), expect=SIX)
    )
    return Measured([FEW / c.seconds * 3600 for c in costs], {"framemill": summary(costs)})


def bulk_keyframes(setting: Setting) -> Measured:
    clips, output = film_clips(setting, MANY, 10), setting.scratch("bulk_keyframes")
    (costs,) = run_in_turn(
        setting.runs, extract(setting, [clips], output, "--ops", "frames", expect=["frames"])
    )
    return Measured([MANY / c.seconds for c in costs], {"framemill": summary(costs)})


BENCHMARKS = [
    Benchmark(
        name="six_ops_one_run",
        work="six operations in one run, every:0.5, two files, same rows",
        against="the six run one after another: their time over its",
        goal=1.8,
        unit="x",
        at_least=True,
        run=six_ops_one_run,
    ),
    Benchmark(
        name="per_file_overhead",
        work="frames on key frames of short 720p clips",
        against="opening and decoding alone: what is left, a file",
        goal=10,
        unit="ms",
        at_least=False,
        run=per_file_overhead,
    ),
    Benchmark(
        name="many_files",
        work="1,000 clips of 2 s at 360p, default operations: files a second beyond the start",
        against="100 of them",
        goal=0.9,
        unit="x",
        at_least=True,
        run=many_files,
        runs=3,
    ),
    Benchmark(
        name="many_files_media",
        work="10,000 clips of 2 s at 360p, `media` alone, once: files a second beyond the start",
        against="100 of them",
        goal=0.9,
        unit="x",
        at_least=True,
        run=many_files_media,
        runs=1,
    ),
    Benchmark(
        name="rerun_nothing",
        work="the same command again, 100 files, nothing computed",
        against="-",
        goal=1.5,
        unit="s",
        at_least=False,
        run=rerun_nothing,
    ),
    Benchmark(
        name="first_row",
        work="one 10-second 720p clip, default operations: first part on disk",
        against="-",
        goal=1.5,
        unit="s",
        at_least=False,
        run=first_row,
    ),
    Benchmark(
        name="bulk",
        work="10-second 720p clips, default operations and objects on key frames",
        against="-",
        goal=1000,
        unit="files/h",
        at_least=True,
        run=bulk,
    ),
    Benchmark(
        name="bulk_keyframes",
        work="10-second 720p clips, frames on key frames alone",
        against="-",
        goal=5,
        unit="files/s",
        at_least=True,
        run=bulk_keyframes,
    ),
]
