"""The Ray engine: beside the local one, beside the common way, over nodes, and with a node lost."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import stand_ins
from benchmarks.extracting import extract, read_table
from benchmarks.harness import (
    BenchmarkError,
    Command,
    Setting,
    SkippedError,
    remove,
    run_in_turn,
    run_once,
    summary,
)
from benchmarks.inputs import cut_clips, object_corpus
from benchmarks.machines import Machines, machines
from benchmarks.registry import Benchmark, Measured
from benchmarks.suite.planner import many_names, require_ray

SIX = ("media", "frames", "scenes", "audio_levels", "speech", "objects")
STEP = "0.5"
NODES = (1, 2, 4, 8)
CALLS, SLEEP_SECONDS, FILES_A_NODE = 2, 1.0, 60
SHORT_FILES = 20_000
JOB_SECONDS = 900


def one_node(setting: Setting) -> Measured:
    """Our time on a Ray that runs already over that of the local engine, each beyond that of one clip."""
    require_ray()
    clips = cut_clips(setting, 80)
    first = min(clips.iterdir())
    asked = ("--ops", ",".join(SIX))
    with machines(max(4, setting.cores), in_namespaces=False) as cluster:
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
    ratios = [
        (a.seconds - a1.seconds) / (b.seconds - b1.seconds)
        for a, a1, b, b1 in zip(there, there_start, local, local_start, strict=True)
    ]
    names = ("ray", "ray_start", "local", "local_start")
    sides = (there, there_start, local, local_start)
    return Measured(ratios, {name: summary(side) for name, side in zip(names, sides, strict=True)})


def _beside_frames_as_rows(setting: Setting, figure: str) -> Measured:
    """The peer's figure over ours."""
    require_ray()
    weights = setting.models / "yolox_nano.onnx"
    if not weights.is_file():
        raise SkippedError("needs yolox_nano.onnx in the folder given by --models")
    corpus, num_cpus = object_corpus(setting), str(max(4, setting.cores))
    told: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    output, sampled = setting.scratch("traffic"), setting.scratch("traffic_frames")
    policy = ("--sample", f"every:{STEP}")
    run_once(extract(setting, [corpus], sampled, "--ops", "frames", *policy, expect=["frames"]))
    num_sampled = read_table(sampled, "frames").num_rows
    ours = Command(
        arguments=[
            *(sys.executable, "-m", "benchmarks.ray_traffic", corpus, output),
            *("objects", f"every:{STEP}", num_cpus),
        ],
        prepare=lambda: remove(output),
        check=lambda stdout: told["ours"].append(json.loads(stdout)),
        environment={"FRAMEMILL_MODEL_MIRROR": str(setting.models), "FRAMEMILL_OFFLINE": "1"},
    )
    peer = Command(
        arguments=[
            *(sys.executable, "-m", "benchmarks.peers.ray_frames_as_rows", weights, corpus, STEP, num_cpus)
        ],
        check=lambda stdout: told["peer"].append(json.loads(stdout)),
    )
    run_in_turn(setting.runs, ours, peer)
    pairs = list(zip(told["ours"][1:], told["peer"][1:], strict=True))
    for _, b in pairs:
        if abs(num_sampled - b["frames"]) > 0.01 * b["frames"]:
            raise BenchmarkError(f"{num_sampled} frames sampled, the peer {b['frames']}")
    return Measured(
        [b[figure] / a[figure] for a, b in pairs],
        {side: {key: statistics.median(t[key] for t in some[1:]) for key in some[0]}
         for side, some in told.items()},
    )  # fmt: skip


def frames_as_rows_time(setting: Setting) -> Measured:
    return _beside_frames_as_rows(setting, "seconds")


def frames_as_rows_traffic(setting: Setting) -> Measured:
    return _beside_frames_as_rows(setting, "store_bytes")


def scaling(setting: Setting) -> Measured:
    """Share of the mills' time that is work, on most nodes; the details tell the others."""
    require_ray()
    values: list[float] = []
    details: dict[str, Any] = {}
    for _ in range(setting.runs):
        for num_nodes in NODES:
            folder = setting.scratch(f"scaling_{num_nodes}")
            variables = stand_ins.environment(folder, stand_ins.SLEEPING, STAND_IN_SECONDS=str(SLEEP_SECONDS))
            clips = _clips(setting, folder, FILES_A_NODE * num_nodes)
            with machines(1, *[2] * num_nodes, environment=variables) as cluster:
                _job(cluster, clips, folder / "out", "--mills", str(num_nodes), "--mill-cpus", "1.5")
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
        asked = ("--mills", "2", "--mill-cpus", "1.5")
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
                next(machine for machine in cluster.all[1:] if machine.find("ray::", "RayMill")).kill()
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
        against="the local engine on the same cores: its time over that one's, both beyond that of one clip",
        goal=1.10,
        unit="x",
        at_least=False,
        run=one_node,
    ),
    Benchmark(
        name="ray_frames_as_rows",
        work="objects, every:0.5, 16 minutes of real clips on Ray",
        against="frames as rows through `map_batches`, the same model: its time over ours",
        goal=2,
        unit="x",
        at_least=True,
        run=frames_as_rows_time,
    ),
    Benchmark(
        name="ray_store_traffic",
        work="the same",
        against="frames as rows: its bytes in the object store over ours",
        goal=3,
        unit="x",
        at_least=True,
        run=frames_as_rows_traffic,
    ),
    Benchmark(
        name="ray_scaling",
        work="files that sleep, on 1, 2, 4 and 8 worker nodes: the least share of time that is work",
        against="ideal",
        goal=0.9,
        unit="",
        at_least=True,
        run=scaling,
    ),
    Benchmark(
        name="ray_short_files",
        work="20,000 short files without any work on them, through Ray and the commits",
        against="-",
        goal=500,
        unit="files/s",
        at_least=True,
        run=short_files,
    ),
    Benchmark(
        name="ray_node_killed",
        work="a node killed in the middle while another stands by: extra time, same rows",
        against="undisturbed",
        goal=30 + CALLS * SLEEP_SECONDS,
        unit="s",
        at_least=False,
        run=node_killed,
    ),
]
