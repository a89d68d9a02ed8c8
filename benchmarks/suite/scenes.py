"""Scene detection: speed and quality beside PySceneDetect, and speed beside decoding alone."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.benchmark import Benchmark, Measured
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
from benchmarks.inputs import film, making, video
from benchmarks.sample_clip import plan_sample, render_sample

DETECTORS = ("detect-content", "detect-adaptive")
TOLERANCE_FRAMES = 1


@dataclass(frozen=True, slots=True)
class Labelled:
    """A clip and its true cuts, as first frames; `unclear` frames count neither way."""

    path: Path
    cuts: tuple[int, ...]
    unclear: tuple[range, ...] = ()


def ours(setting: Setting, clip: Path, mode: str) -> tuple[Command, Path]:
    """The command that detects scenes in one clip, and its output."""
    output = setting.scratch(f"scenes_{mode}_{clip.stem}")
    command = extract(
        setting, [clip], output, "--ops", "scenes", "--set", f"scenes.mode={mode}", expect=["scenes"]
    )
    return command, output


def theirs(setting: Setting, clip: Path, detector: str) -> tuple[Command, Path]:
    """The same by PySceneDetect's command line."""
    if find_spec("scenedetect") is None:
        raise SkippedError("needs PySceneDetect (make bench installs it)")
    output = setting.scratch(f"{detector}_{clip.stem}")
    listed = output / "scenes.csv"

    def exists(stdout: str) -> None:
        if not listed.is_file():
            raise BenchmarkError(f"PySceneDetect wrote no {listed}")

    arguments: list[str | Path] = [sys.executable, "-m", "scenedetect", "-q", "-i", clip, detector]
    arguments += ["list-scenes", "-o", output, "-f", "scenes.csv"]
    return Command(arguments=arguments, prepare=partial(remove, output), check=exists), listed


def speed(setting: Setting, size: tuple[int, int], mode: str) -> Measured:
    """The faster detector's time over ours, run by run."""
    clip = film(setting, *size).path
    sides = [ours(setting, clip, mode)[0], *(theirs(setting, clip, detector)[0] for detector in DETECTORS)]
    bare, decode = bare_decode(clip)
    framemill, content, adaptive, _ = run_in_turn(setting.runs, *sides, decode)
    return Measured(
        [
            min(c.seconds, a.seconds) / own.seconds
            for own, c, a in zip(framemill, content, adaptive, strict=True)
        ],
        {"framemill": summary(framemill), "content": summary(content), "adaptive": summary(adaptive)},
        [seconds / own.cpu_seconds for seconds, own in zip(bare[1:], framemill, strict=True)],
    )


def bare_decode(path: Path) -> tuple[list[float], Command]:
    """A command that decodes all frames and nothing else, and its CPU seconds, run by run."""
    seconds: list[float] = []
    return seconds, Command(
        arguments=[sys.executable, "-m", "benchmarks.peers.bare_decode", path, "all"],
        check=lambda stdout: seconds.append(json.loads(stdout)["cpu_seconds"]),
    )


def beside_decode(setting: Setting) -> Measured:
    """Our time over that of decoding alone, run by run."""
    clip = film(setting, 1920, 1080).path
    decode = Command(arguments=["ffmpeg", "-v", "error", "-i", clip, "-f", "null", "-"])
    bare, alone = bare_decode(clip)
    framemill, ffmpeg, _ = run_in_turn(setting.runs, ours(setting, clip, "exact")[0], decode, alone)
    return Measured(
        [own.seconds / other.seconds for own, other in zip(framemill, ffmpeg, strict=True)],
        {"framemill": summary(framemill), "ffmpeg": summary(ffmpeg)},
        [seconds / own.cpu_seconds for seconds, own in zip(bare[1:], framemill, strict=True)],
    )


def labelled_clips(setting: Setting) -> list[Labelled]:
    """Films of real shots, a real clip labelled by hand, and rendered clips."""
    films = [film(setting, width, height) for width, height in ((640, 360), (1920, 1080))]
    clips = [Labelled(made.path, made.cuts) for made in films]
    # Something large changes near frame 394 that is called a cut by some and not by others.
    clips.append(Labelled(video(setting, "testvideo.mp4"), (30, 180), (range(385, 404),)))
    for seconds in (12, 30):
        path = setting.cache / f"sample_{seconds}s.mp4"
        if not path.exists():
            with making(path) as unfinished:
                render_sample(unfinished, seconds)
        truth = plan_sample(seconds)
        clips.append(Labelled(path, truth.cuts, (range(*truth.fade),)))
    return clips


def agreement(found: Sequence[int], clip: Labelled) -> tuple[int, int, int]:
    """(hits, false alarms, misses) at +-1 frame, each true cut found at most once."""
    left = [f for f in found if not any(f in unclear for unclear in clip.unclear)]
    hits = 0
    for cut in clip.cuts:
        near = [f for f in left if abs(f - cut) <= TOLERANCE_FRAMES]
        if near:
            left.remove(min(near, key=lambda f: abs(f - cut)))
            hits += 1
    return hits, len(left), len(clip.cuts) - hits


def f1(clips: Sequence[Labelled], find: Callable[[Path], Sequence[int]]) -> float:
    """F1 over the cuts of all clips together."""
    counts = [agreement(find(clip.path), clip) for clip in clips]
    hits, false_alarms, misses = (sum(column) for column in zip(*counts, strict=True))
    return float(2 * hits / max(2 * hits + false_alarms + misses, 1))


def our_cuts(setting: Setting, mode: str, clip: Path) -> list[int]:
    command, output = ours(setting, clip, mode)
    run_once(command)
    rows = read_table(output, "scenes").to_pylist()
    # A fade or dissolve is no cut; what PySceneDetect makes of one lies in the unclear ranges.
    return sorted(row["start_frame"] for row in rows if row["transition"] == "cut")


def their_cuts(setting: Setting, detector: str, clip: Path) -> list[int]:
    command, listed = theirs(setting, clip, detector)
    run_once(command)
    with listed.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.reader(lines) if row and row[0].isdigit()]
    return [int(row[1]) - 1 for row in rows[1:]]  # frames count from 1; the first scene begins with no cut


def quality(setting: Setting, mode: str) -> Measured:
    """Our F1 less the better F1 of the two detectors; nothing in it varies, so it is run once."""
    clips = labelled_clips(setting)
    own = f1(clips, partial(our_cuts, setting, mode))
    peers = {detector: f1(clips, partial(their_cuts, setting, detector)) for detector in DETECTORS}
    return Measured([own - max(peers.values())], {"framemill": own, **peers})


def _speed(name: str, size: tuple[int, int], mode: str, goal: float) -> Benchmark:
    return Benchmark(
        name=name,
        work=f"{mode} scenes, {size[1]}p H.264 with x264's default GOPs, 66 s",
        against="PySceneDetect detect-content and detect-adaptive: the faster one's time over ours",
        goal=goal,
        unit="x",
        at_least=True,
        run=partial(speed, size=size, mode=mode),
    )


def _quality(mode: str, goal: float) -> Benchmark:
    return Benchmark(
        name=f"{mode}_scenes_f1",
        work=f"{mode} scenes, labelled clips, +-1 frame",
        against="PySceneDetect detect-content and detect-adaptive: our F1 less the better one's",
        goal=goal,
        unit="",
        at_least=True,
        run=partial(quality, mode=mode),
    )


BENCHMARKS = [
    _speed("exact_scenes_1080p", (1920, 1080), "exact", 1.25),
    _speed("exact_scenes_360p", (640, 360), "exact", 2.0),
    _quality("exact", 0.0),
    _speed("fast_scenes", (1920, 1080), "fast", 5.0),
    _speed("fast_scenes_360p", (640, 360), "fast", 5.0),
    _quality("fast", -0.02),
    Benchmark(
        name="exact_scenes_vs_decode",
        work="exact scenes, 1080p H.264, 66 s",
        against="ffmpeg -i X -f null - (decode alone): our time over its",
        goal=1.05,
        unit="x",
        at_least=False,
        run=beside_decode,
        programs=("ffmpeg",),
    ),
]
