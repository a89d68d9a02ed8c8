"""The Ray engine beside the local one, and beside the common way of using Ray Data for video."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from benchmarks.extracting import extract, read_table
from benchmarks.harness import BenchmarkError, Command, Setting, SkippedError, run_in_turn, run_once, summary
from benchmarks.inputs import film_clips, object_corpus
from benchmarks.registry import Benchmark, Measured
from benchmarks.suite.runs import SIX, rows_of

CLIPS, FEW, MANY = 40, 2, 600
ON_RAY = ("--engine", "ray", "--mills", "1")


def _on_ray(setting: Setting) -> tuple[str, ...]:
    """One mill with every core, as the local engine has."""
    try:
        import ray  # noqa: F401
    except ImportError:
        raise SkippedError("needs Ray: install the extra `ray`") from None
    return (*ON_RAY, "--mill-cpus", str(min(setting.cores, max(4, setting.cores) - 1)))


def ray_overhead(setting: Setting) -> Measured:
    """Seconds with Ray less Ray's own start (the same command over two clips), over those without."""
    clips, few = film_clips(setting, CLIPS, 10), film_clips(setting, FEW, 2)
    ray, local, start = (setting.scratch(f"ray_overhead_{name}") for name in ("ray", "local", "start"))
    options = ("--ops", ",".join(SIX), "--sample", "every:0.5")

    def same_rows(stdout: str) -> None:
        for op in SIX:
            if rows_of(ray, op) != rows_of(local, op):
                raise BenchmarkError(f"the rows of {op} differ between the engines")

    there, starts, here = run_in_turn(
        setting.runs,
        extract(setting, [clips], ray, *options, *_on_ray(setting), expect=SIX),
        extract(setting, [few], start, *options, *_on_ray(setting), expect=SIX),
        extract(setting, [clips], local, *options, expect=SIX, check=same_rows),
    )
    values = [
        (a.seconds - s.seconds) / b.seconds * CLIPS / (CLIPS - FEW * 2 / 10)
        for a, s, b in zip(there, starts, here, strict=True)
    ]
    return Measured(values, {"ray": summary(there), "start": summary(starts), "local": summary(here)})


def frames_as_rows(setting: Setting) -> Measured:
    weights = setting.models / "yolox_nano.onnx"
    if not weights.is_file():
        raise SkippedError("needs yolox_nano.onnx in the folder given by --models")
    corpus, output = object_corpus(setting), setting.scratch("frames_as_rows")
    start = setting.scratch("frames_as_rows_start")
    few = film_clips(setting, FEW, 2)
    asked = ("--ops", "objects", "--sample", "every:0.5", *_on_ray(setting))
    own = extract(setting, [corpus], output, *asked, expect=["objects"])
    alone = extract(setting, [few], start, *asked, expect=["objects"])
    answers: list[dict[str, float]] = []
    peer = Command(
        arguments=[
            *(sys.executable, "-m", "benchmarks.peers.ray_frames_as_rows"),
            *(weights, corpus, "0.5", str(max(4, setting.cores))),
        ],
        check=lambda stdout: answers.append(json.loads(stdout)),
    )
    ours, starts, _ = run_in_turn(setting.runs, own, alone, peer)
    theirs = [answer["seconds"] for answer in answers[-setting.runs :]]
    values = [t / (o.seconds - s.seconds) for t, o, s in zip(theirs, ours, starts, strict=True)]
    return Measured(
        values,
        {
            "framemill": summary(ours),
            "start": summary(starts),
            "peer_seconds": statistics.median(theirs),
            "peer_frames": answers[-1]["frames"],
            "peer_store_bytes": answers[-1]["store_bytes"],
        },
    )


def ray_short_files(setting: Setting) -> Measured:
    """Files a second beyond Ray's start, with an operation that takes next to nothing a file."""
    copies, output = _copies(setting), setting.scratch("ray_short_files")
    few, start = film_clips(setting, FEW, 2), setting.scratch("ray_short_files_start")
    asked = ("--ops", "media", *_on_ray(setting))
    many, starts = run_in_turn(
        setting.runs,
        extract(setting, [copies], output, *asked, expect=["media"]),
        extract(setting, [few], start, *asked, expect=["media"]),
    )
    values = [MANY / max(1e-3, m.seconds - s.seconds) for m, s in zip(many, starts, strict=True)]
    return Measured(values, {"ray": summary(many), "start": summary(starts)})


def _copies(setting: Setting) -> Path:
    """Many short files of different content."""
    folder = setting.scratch("short_files")
    folder.mkdir()
    (clip,) = film_clips(setting, 1, 2).iterdir()
    data = clip.read_bytes()
    for number in range(MANY):
        # A box that says nothing, behind the last one: as good a video, and another content.
        free = (8 + 4).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")
        (folder / f"{number}.mp4").write_bytes(data + free)
    return folder


def ray_rerun(setting: Setting) -> Measured:
    copies, output = _copies(setting), setting.scratch("ray_rerun")
    first = extract(setting, [copies], output, "--ops", "media", *_on_ray(setting), expect=["media"])
    run_once(first)
    before = read_table(output, "media").num_rows
    again = extract(setting, [copies], output, "--ops", "media", *_on_ray(setting), fresh=False)
    (costs,) = run_in_turn(setting.runs, again)
    if read_table(output, "media").num_rows != before:
        raise BenchmarkError("the second run added rows")
    return Measured([cost.seconds for cost in costs], {"again": summary(costs)})


BENCHMARKS = [
    Benchmark(
        name="ray_overhead",
        work=f"six operations, every:0.5, {CLIPS} real clips of 10 s, on Ray on this machine",
        against="the local engine on the same cores; beyond Ray's start",
        goal=1.10,
        unit="x",
        at_least=False,
        run=ray_overhead,
    ),
    Benchmark(
        name="frames_as_rows",
        work="objects, every:0.5, 16 minutes of real clips, on Ray",
        against="frames as rows through map_batches stages of Ray Data: its time over ours",
        goal=2.0,
        unit="x",
        at_least=True,
        run=frames_as_rows,
    ),
    Benchmark(
        name="ray_short_files",
        work=f"media of {MANY} short files on Ray, beyond its start",
        against="-",
        goal=500,
        unit="files/s",
        at_least=True,
        run=ray_short_files,
    ),
    Benchmark(
        name="ray_rerun",
        work=f"the same command again over {MANY} finished files",
        against="-",
        goal=20,
        unit="s",
        at_least=False,
        run=ray_rerun,
    ),
]
