"""python -m benchmarks [NAME...] [--list] [--runs 5] [--media DIR] [--check | --accept]"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from benchmarks import report
from benchmarks.benchmark import Benchmark, Measured
from benchmarks.harness import REPOSITORY, BenchmarkError, Setting, SkippedError
from benchmarks.registry import all_benchmarks, suites


def parse() -> argparse.Namespace:
    shared = REPOSITORY.parent / "shared"
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures side by side.")
    parser.add_argument("names", nargs="*", help="benchmarks to run; all by default")
    parser.add_argument("--runs", type=int, help="measured runs; by default 5, of long ones fewer")
    parser.add_argument("--media", type=Path, default=shared / "media", help="folder of real clips")
    parser.add_argument("--models", type=Path, default=shared / "models", help="folder of weights")
    parser.add_argument(
        "--cache", type=Path, default=REPOSITORY / "build" / "bench", help="where inputs are made"
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and do nothing")
    parser.add_argument(
        "--render", action="store_true", help="only write docs/benchmarks.md from the result files"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 if a ratio is worse than the stored one")
    parser.add_argument("--tolerance", type=float, default=0.1, help="share by which it may be worse")
    parser.add_argument("--accept", action="store_true", help="store the measured ratios")
    return parser.parse_args()


def measure(benchmark: Benchmark, setting: Setting) -> Measured | str:
    """What the benchmark found, or why it could not."""
    missing = [program for program in benchmark.programs if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    try:
        return benchmark.run(setting)
    except (SkippedError, BenchmarkError) as exc:
        return str(exc)


def main() -> int:
    chosen = parse()
    known = all_benchmarks()
    unknown = [name for name in chosen.names if name not in known]
    if unknown:
        report.say(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    if chosen.list:
        for suite in suites():
            print(f"{suite.__name__.rpartition('.')[2]}: {suite.__doc__}")
            for benchmark in suite.BENCHMARKS:
                print(f"  {benchmark.name}: {benchmark.work}; against {benchmark.against}")
        return 0
    worse = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    folders = (chosen.media.resolve(), chosen.models.resolve(), chosen.cache.resolve())
    for name in () if chosen.render else chosen.names or known:
        started = time.monotonic()
        report.say(f"{name} ...")
        setting = Setting(*folders, chosen.runs or known[name].runs, cores)
        found = measure(known[name], setting)
        record = report.save(known[name], found, cores, time.monotonic() - started)
        report.say(f"{report.line(record)} {record['took_seconds']:.0f} s")
        if chosen.accept:
            report.accept(record)
        if chosen.check and (found := report.worse_than_stored(record, chosen.tolerance)):
            worse.append(found)
    report.write_page(suites())
    for found in worse:
        report.say(f"worse than before: {found}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
