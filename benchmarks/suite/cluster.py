"""The Ray engine: beside the local one, beside the common way, over nodes, and with a node lost."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import stand_ins
from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, read_table
from benchmarks.harness import (
    BenchmarkError,
    Command,
    Setting,
    SkippedError,
    remove,
    run_in_turn,
    summary,
)
from benchmarks.inputs import cut_clips
from benchmarks.machines import Machines, machines
from benchmarks.peers.ray_frames_as_rows import COUNTED_SCORE
from benchmarks.suite.planner import many_names, require_ray

SIX = ("media", "frames", "scenes", "audio_levels", "speech", "objects")
STEP = "0.5"
# By how much of ours the rows of the common way may differ: its decoders, its pictures' sizes and its scenes
# are others than ours.
ALIKE = {"files": 0.0, "frames": 0.01, "levels": 0.01, "objects": 0.05, "scenes": 0.1, "speech": 0.1}
NODES = (1, 2, 4, 8)
CALLS, SLEEP_SECONDS, FILES_A_NODE = 2, 1.0, 60
SHORT_FILES = 20_000
JOB_SECONDS = 900


def one_node(setting: Setting) -> Measured:
    """Our time on a Ray that runs already over that of the local engine, each beyond its start.

    A start is what a run of one clip takes, the median of all turns: on Ray it varies as much as the work.
    """
    require_ray()
    clips = cut_clips(setting, 80)
    first = min(clips.iterdir())
    asked = ("--ops", ",".join(SIX))
    mirror = {"FRAMEMILL_MODEL_MIRROR": str(setting.models), "FRAMEMILL_OFFLINE": "1"}
    with machines(max(4, setting.cores), in_namespaces=False, environment=mirror) as cluster:
        commands = [
            extract(setting, [source], setting.scratch(name), *asked, *where, expect=expect)
            for name, source, where, expect in (
                ("ray", clips, ("--address", cluster.gcs), SIX),
                ("ray_start", first, ("--address", cluster.gcs), ("media",)),
                ("local", clips, (), SIX),
                ("local_start", first, (), ("media",)),
            )
        ]
        there, there_start, local, local_start = run_in_turn(setting.runs, *commands)
    starts = [statistics.median(cost.seconds for cost in side) for side in (there_start, local_start)]
    ratios = [(a.seconds - starts[0]) / (b.seconds - starts[1]) for a, b in zip(there, local, strict=True)]
    names = ("ray", "ray_start", "local", "local_start")
    sides = (there, there_start, local, local_start)
    return Measured(ratios, {name: summary(side) for name, side in zip(names, sides, strict=True)})


@cache
def _beside_frames_as_rows(setting: Setting) -> dict[str, list[dict[str, float]]]:
    """What both sides told and wrote, run by run: seconds, bytes in the store, and rows of each kind."""
    if find_spec("scenedetect") is None:
        raise SkippedError("needs PySceneDetect (make bench installs it)")
    return _beside(setting, "benchmarks.peers.ray_frames_as_rows", ALIKE)


def _beside(setting: Setting, peer: str, alike: Mapping[str, float]) -> dict[str, list[dict[str, float]]]:
    """Ours and another program in turn, over the same clips; what they tell, run by run.

    Args:
        alike: by which part of ours the peer's numbers of rows may differ.
    """
    require_ray()
    weights = setting.models / "yolox_nano.onnx"
    if not weights.is_file():
        raise SkippedError("needs yolox_nano.onnx in the folder given by --models")
    clips, output = cut_clips(setting, 80), setting.scratch("traffic")
    num_cpus = max(4, setting.cores)
    told: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}

    def note_ours(stdout: str) -> None:
        said = json.loads(stdout)
        if said.pop("cpus") != num_cpus:
            raise BenchmarkError(f"the peer has {num_cpus} CPUs, and we have others")
        told["ours"].append({**said, **_num_rows(output)})

    ours = Command(
        arguments=[
            *(sys.executable, "-m", "benchmarks.ray_traffic", clips, output),
            *(",".join(SIX), f"every:{STEP}"),
        ],
        prepare=lambda: remove(output),
        check=note_ours,
        environment={"FRAMEMILL_MODEL_MIRROR": str(setting.models), "FRAMEMILL_OFFLINE": "1"},
    )
    theirs = Command(
        arguments=[sys.executable, "-m", peer, weights, clips, STEP, str(num_cpus)],
        check=lambda stdout: told["peer"].append(json.loads(stdout)),
    )
    run_in_turn(setting.runs, ours, theirs)
    for a, b in zip(told["ours"], told["peer"], strict=True):
        for name, tolerance in alike.items():
            if abs(a[name] - b[name]) > tolerance * a[name]:
                raise BenchmarkError(f"{a[name]} {name}, the peer found {b[name]}")
    return {side: some[1:] for side, some in told.items()}


def _num_rows(output: Path) -> dict[str, int]:
    """As `benchmarks.peers.ray_frames_as_rows` counts them."""
    tables = {"files": "media", "frames": "frames", "scenes": "scenes", "levels": "audio_levels"}
    counts = {name: read_table(output, table).num_rows for name, table in tables.items()}
    counts["speech"] = read_table(output, "speech").num_rows
    scores = read_table(output, "objects")["score"].to_pylist()
    counts["objects"] = sum(score >= COUNTED_SCORE for score in scores)
    return counts


def _frames_as_rows(setting: Setting, figure: str) -> Measured:
    """The peer's figure over ours."""
    return _compared(_beside_frames_as_rows(setting), figure)


def daft_frames(setting: Setting) -> Measured:
    """Daft's time for objects alone over ours for all six operations."""
    if find_spec("daft") is None:
        raise SkippedError("needs Daft (make bench installs it)")
    return _compared(
        _beside(setting, "benchmarks.peers.daft_frames", {"files": 0.0, "frames": 0.02}), "seconds"
    )


def _compared(told: Mapping[str, Sequence[Mapping[str, float]]], figure: str) -> Measured:
    """The peer's figure over ours, run by run, with the medians of all that both told."""
    return Measured(
        [b[figure] / a[figure] for a, b in zip(told["ours"], told["peer"], strict=True)],
        {side: {key: statistics.median(t[key] for t in some) for key in some[0]}
         for side, some in told.items()},
    )  # fmt: skip


def first_row(setting: Setting) -> Measured:
    """Seconds from `ray job submit` to the first part on disk, on a cluster that has run such a job."""
    require_ray()
    clips, seconds = cut_clips(setting, 80), []
    with machines(max(4, setting.cores), in_namespaces=False) as cluster:
        for turn in range(setting.runs + 1):
            output = setting.scratch(f"first_row_{turn}")
            line = ("extract", clips, "-o", output, "--ops", "media,frames", "-q")
            started = time.perf_counter()
            with cluster.submit(*line) as job:
                while not (is_there := any(output.glob("media/*.parquet"))) and job.poll() is None:
                    time.sleep(0.01)
                elapsed = time.perf_counter() - started
                said = job.communicate(timeout=JOB_SECONDS)[0]
            if job.returncode or not is_there:
                raise BenchmarkError(f"exit code {job.returncode}: {said[-1000:]}")
            seconds += [elapsed] if turn else []
    return Measured(seconds)


def scaling(setting: Setting) -> Measured:
    """Share of the actors' time that is work, on most nodes; the details tell the others."""
    require_ray()
    values: list[float] = []
    details: dict[str, Any] = {}
    for _ in range(setting.runs):
        for num_nodes in NODES:
            folder = setting.scratch(f"scaling_{num_nodes}")
            variables = stand_ins.environment(folder, stand_ins.SLEEPING, STAND_IN_SECONDS=str(SLEEP_SECONDS))
            clips = _clips(setting, folder, FILES_A_NODE * num_nodes)
            with machines(1, *[2] * num_nodes, environment=variables) as cluster:
                _job(cluster, clips, folder / "out", "--actors", str(num_nodes), "--actor-cpus", "1.5")
            details[f"{num_nodes}_nodes"] = stand_ins.efficiency(folder, num_nodes * CALLS)
        values.append(min(details.values()))
    return Measured(values, details)


def short_files(setting: Setting) -> Measured:
    """Files a second through the whole pipeline, without any work on them."""
    require_ray()
    rates = []
    for _ in range(setting.runs):
        folder = setting.scratch("short_files")
        variables = stand_ins.environment(folder, stand_ins.NO_WORK)
        names = folder / "names.txt"
        some = sorted(many_names(setting).glob("*/*.mp4"))[:SHORT_FILES]
        names.write_text("".join(f"{name}\n" for name in some), encoding="utf-8")
        with machines(max(4, setting.cores), environment=variables) as cluster:
            _job(cluster, f"@{names}", folder / "out")
        rates.append(_commit_rate(folder / "out"))
    return Measured(rates)


def node_killed(setting: Setting) -> Measured:
    """Extra seconds of a run whose node dies in the middle, while another stands by."""
    require_ray()
    extra, details = [], []
    for _ in range(setting.runs):
        folder = setting.scratch("node_killed")
        variables = stand_ins.environment(folder, stand_ins.SLEEPING, STAND_IN_SECONDS=str(SLEEP_SECONDS))
        clips = _clips(setting, folder, FILES_A_NODE * 2)
        asked = ("--actors", "2", "--actor-cpus", "1.5")
        with machines(1, 2, 2, 2, environment=variables) as cluster:
            undisturbed = _job(cluster, clips, folder / "undisturbed", *asked)
            disturbed = _job(cluster, clips, folder / "disturbed", *asked, kill_one=True)
        rows = [_rows(folder / name) for name in ("undisturbed", "disturbed")]
        if rows[0] != rows[1]:
            raise BenchmarkError("the rows differ after a node was killed")
        extra.append(disturbed - undisturbed)
        details.append({"undisturbed": undisturbed, "disturbed": disturbed})
    return Measured(extra, {"seconds": details})


def _clips(setting: Setting, folder: Path, count: int) -> str:
    """A folder of small clips, each with bytes of its own."""
    clip = next(many_names(setting).glob("*/*.mp4")).read_bytes()
    (folder / "clips").mkdir()
    for k in range(count):
        (folder / "clips" / f"{k:05d}.mp4").write_bytes(clip + b"\0\0\0\x08free" * k)
    return str(folder / "clips")


def _job(cluster: Machines, sources: str, output: Path, *asked: str, kill_one: bool = False) -> float:
    """Seconds of a job typed on the head; with `kill_one`, the first machine at work dies midway."""
    line = ("extract", sources, "-o", output, "--ops", "media,frames", "--address", cluster.gcs, "-q")
    started = time.perf_counter()
    run = cluster.run_on(cluster.all[0], *line, *asked)
    try:
        while kill_one and run.poll() is None:
            if any(output.glob("media/*.parquet")):
                next(
                    machine for machine in cluster.all[1:] if machine.find("ray::", "ShardProcessorActor")
                ).kill()
                break
            time.sleep(0.05)
        said = run.communicate(timeout=JOB_SECONDS)[0]
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"no end after {JOB_SECONDS} s") from None
    finally:
        run.kill()
    if run.returncode:
        raise BenchmarkError(f"exit code {run.returncode}: {said[-1000:]}")
    return time.perf_counter() - started


def _commit_rate(output: Path) -> float:
    """Files a second between the first commit and the last."""
    commits = [json.loads(path.read_text()) for path in sorted(output.glob("_framemill/commits/*.json"))]
    commits = [commit for commit in commits if commit["sources"]["values"]]
    if len(commits) < 2:
        raise BenchmarkError("one commit alone tells no rate: more files are needed")
    num_files = sum(len(commit["sources"]["values"]) for commit in commits[1:])
    seconds: float = commits[-1]["created_at"] - commits[0]["created_at"]
    return num_files / seconds


def _rows(output: Path) -> list[str]:
    return sorted(
        json.dumps(row, default=str, sort_keys=True)
        for table in ("media", "frames")
        for row in read_table(output, table).to_pylist()
    )


BENCHMARKS = [
    Benchmark(
        name="ray_one_node",
        work="80 real clips, six operations, on a Ray of one node that runs already",
        against="the local engine on the same cores: its time over that one's, both beyond their start",
        goal=1.05,
        unit="x",
        at_least=False,
        runs=3,
        run=one_node,
    ),
    Benchmark(
        name="ray_frames_as_rows",
        work="80 real clips, six operations, every:0.5, on Ray",
        against="frames as rows through `map_batches`, the usual libraries, the same models, about the same "
        "rows: its time over ours",
        goal=2,
        unit="x",
        at_least=True,
        runs=3,
        run=partial(_frames_as_rows, figure="seconds"),
    ),
    Benchmark(
        name="ray_store_traffic",
        work="the same",
        against="frames as rows: its bytes in the object store over ours",
        goal=3,
        unit="x",
        at_least=True,
        runs=3,
        run=partial(_frames_as_rows, figure="store_bytes"),
    ),
    Benchmark(
        name="ray_daft",
        work="the same",
        against="objects alone by Daft's `read_video_frames` and a class UDF, a process a file: its time "
        "over ours",
        goal=1.5,
        unit="x",
        at_least=True,
        runs=1,
        run=daft_frames,
    ),
    Benchmark(
        name="ray_first_row",
        work="80 real clips, `ray job submit` on a Ray of one node that runs already: first part on disk",
        against="-",
        goal=8,
        unit="s",
        at_least=False,
        runs=3,
        run=first_row,
    ),
    Benchmark(
        name="ray_scaling",
        work="files that sleep, on 1, 2, 4 and 8 worker nodes: the least share of time that is work",
        against="ideal",
        goal=0.95,
        unit="",
        at_least=True,
        runs=1,
        run=scaling,
    ),
    Benchmark(
        name="ray_short_files",
        work="20,000 short files without any work on them, through Ray and the commits",
        against="-",
        goal=500,
        unit="files/s",
        at_least=True,
        runs=1,
        run=short_files,
    ),
    Benchmark(
        name="ray_node_killed",
        work="a node killed in the middle while another stands by: extra time, same rows",
        against="undisturbed",
        goal=30 + CALLS * SLEEP_SECONDS,
        unit="s",
        at_least=False,
        runs=1,
        run=node_killed,
    ),
]
