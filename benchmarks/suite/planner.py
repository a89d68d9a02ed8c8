"""Planning for a large cluster on one machine: how evenly work is cut, and what the driver needs for it."""

from __future__ import annotations

import heapq
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.harness import REPOSITORY, TIMEOUT_SECONDS, BenchmarkError, Setting, SkippedError
from benchmarks.inputs import making

NUM_NODES, ACTORS_A_NODE = 64, 4
NUM_FILES = 1_000_000
NUM_SOURCES = 100_000
# As many names as one file may have on usual file systems.
NAMES_A_FILE = 30_000
# Of web video: a minute in the middle, from seconds to hours, at rates from 0.5 to 8 Mbit/s.
MEDIAN_SECONDS, SPREAD, BYTES_A_SECOND = 60.0, 1.2, (60e3, 1e6)
SECONDS, GB = 1.0, 1e9


def planner(setting: Setting) -> Measured:
    """Seconds to plan; that the plan is balanced is checked."""
    require_ray()
    told = [_plan(seed) for seed in range(setting.runs)]
    worst = max(imbalance for _, imbalance, _ in told)
    if worst > 0.05:
        raise BenchmarkError(f"the last node ends {100 * worst:.1f}% after the ideal")
    return Measured(
        [seconds for seconds, _, _ in told], {"imbalance": worst, "tasks": told[0][2], "nodes": NUM_NODES}
    )


def _plan(seed: int) -> tuple[float, float, int]:
    """Seconds of planning, (end of the last node - ideal) / ideal, and the number of tasks."""
    from framemill.actors.shards import SHARD_SECONDS
    from framemill.cluster.engines.ray.messages import Source
    from framemill.cluster.engines.ray.opening import TASK_PIECES, TASK_SECONDS
    from framemill.cluster.engines.ray.pipeline import SMALL_BYTES, plan_groups
    from framemill.cluster.engines.ray.pools import plan_pool
    from framemill.cluster.request import ExtractRequest

    rng = np.random.default_rng(seed)
    seconds = np.exp(rng.normal(math.log(MEDIAN_SECONDS), SPREAD, NUM_FILES)).clip(1, 4 * 3600)
    sizes = (seconds * rng.uniform(*BYTES_A_SECOND, NUM_FILES)).astype(np.int64)
    uris = [f"/videos/{k // 1000:04d}/{k:07d}.mp4" for k in range(NUM_FILES)]
    lengths = dict(zip(uris, seconds.tolist(), strict=True))
    started = time.perf_counter()
    nodes = [{"CPU": 4.0 * ACTORS_A_NODE + 1}] * NUM_NODES
    pool = plan_pool(ExtractRequest(sources=("x",), output="out"), nodes)
    rows = [
        Source(uri=u, path=u.encode(), num_bytes=size, mtime_ns=0)
        for u, size in zip(uris, sizes.tolist(), strict=True)
    ]
    small = [row for row in rows if row.num_bytes <= SMALL_BYTES]
    groups = plan_groups(small, pool.least * pool.calls)
    planning = time.perf_counter() - started
    work = [sum(lengths[small[at].uri] for at in group) for group in groups]
    # What the first stage makes of larger files: a task for each shard, and short ones together.
    short: list[float] = []
    for row in rows:
        length = lengths[row.uri]
        if row.num_bytes <= SMALL_BYTES:
            continue
        if length > 1.5 * SHARD_SECONDS:
            num_shards = round(length / SHARD_SECONDS)
            work += [length / num_shards] * num_shards
            continue
        short.append(length)
        if sum(short) >= TASK_SECONDS or len(short) >= TASK_PIECES:
            work.append(sum(short))
            short = []
    work += [sum(short)]
    ends = simulate(work, pool.least, pool.calls)
    ideal = sum(work) / (pool.least * pool.calls)
    return planning, max(ends) / ideal - 1, len(work)


def simulate(work: Sequence[float], num_actors: int, calls: int) -> list[float]:
    """When each actor ends, if each next task goes to the actor with the fewest, as Ray's actor pool does.

    Args:
        work: seconds of each task. calls: tasks that an actor works on at once; as many again wait at it.
    """
    slots = [[0.0] * calls for _ in range(num_actors)]
    # (when the oldest of its tasks ends, actor): it is then that it takes another one.
    free = [(0.0, actor) for actor in range(num_actors) for _ in range(2 * calls)]
    heapq.heapify(free)
    for seconds in work:
        now, actor = heapq.heappop(free)
        begins = max(now, heapq.heappop(slots[actor]))
        heapq.heappush(slots[actor], begins + seconds)
        heapq.heappush(free, (begins + seconds, actor))
    return [max(ends) for ends in slots]


def driver(setting: Setting) -> Measured:
    """Seconds from the start of the command until its first rows, with a check of its memory."""
    require_ray()
    listing = many_names(setting)
    told = [_first_rows(setting, listing) for _ in range(setting.runs)]
    worst = max(peak for _, peak in told)
    if worst > GB:
        raise BenchmarkError(f"the driver took {worst / GB:.2f} GB")
    return Measured([seconds for seconds, _ in told], {"peak_bytes": worst})


def many_names(setting: Setting) -> Path:
    """A folder with 100,000 files: a few clips under many names each."""
    from benchmarks.sample_clip import render_sample

    folder = setting.cache / f"names_{NUM_SOURCES}"
    if not folder.exists():
        with making(folder) as unfinished:
            unfinished.mkdir()
            clip = unfinished / "clip.mp4"
            render_sample(clip, 3.0, 64, 64)
            for k in range(NUM_SOURCES):
                inside = unfinished / f"{k // 1000:03d}"
                inside.mkdir(exist_ok=True)
                if k % NAMES_A_FILE == 0:
                    first = inside / f"{k:06d}.mp4"
                    first.write_bytes(clip.read_bytes() + b"\0\0\0\x08free" * k)
                else:
                    os.link(first, inside / f"{k:06d}.mp4")
            clip.unlink()
    return folder


def _first_rows(setting: Setting, folder: Path) -> tuple[float, int]:
    """Seconds until the first rows, and the driver's peak memory; then it is interrupted."""
    output = setting.scratch("driver")
    line: list[str | Path] = [sys.executable, "-m", "framemill", "extract", folder, "-o", output]
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*line, "--engine", "ray", "--ops", "media,frames", "-q"],
            cwd=REPOSITORY, env={**os.environ, "RAY_AUTH_MODE": "disabled"}, stdout=said, stderr=said,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            seconds = 0.0
            while process.poll() is None and not seconds:
                if time.perf_counter() - started > TIMEOUT_SECONDS:
                    raise BenchmarkError(f"no rows after {TIMEOUT_SECONDS} s")
                if any(output.glob("media/*.parquet")):
                    seconds = time.perf_counter() - started
                    peak = _peak_bytes(process.pid)
                    process.send_signal(signal.SIGINT)
                time.sleep(0.05)
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        if not seconds:
            raise BenchmarkError(f"it ended without rows: {said.read().decode(errors='replace')[-1000:]}")
    return seconds, peak


def _peak_bytes(process: int) -> int:
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        raise SkippedError("needs Linux, which tells the memory of a process")
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def require_ray() -> None:
    """SkippedError where Ray is not installed."""
    try:
        import ray  # noqa: F401
    except ImportError:
        raise SkippedError("needs Ray: pip install 'framemill[ray]'") from None


BENCHMARKS = [
    Benchmark(
        name="planner",
        work="cutting a million files into tasks for 64 nodes, balanced within 5%",
        against="-",
        goal=60,
        unit="s",
        at_least=False,
        run=planner,
    ),
    Benchmark(
        name="driver_100k",
        work="100,000 sources on Ray: first rows, with at most 1 GB in the driver",
        against="-",
        goal=60,
        unit="s",
        at_least=False,
        runs=1,
        run=driver,
    ),
]
