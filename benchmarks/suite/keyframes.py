"""Key frames of a folder of clips, as JPEG."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, read_table
from benchmarks.harness import BenchmarkError, Command, Setting, remove, run_in_turn, summary
from benchmarks.inputs import usual_clips

# -fps_mode passthrough keeps every key frame; -q:v 3 is close to quality 90 of libjpeg.
FFMPEG = (
    'find "$0" -name "*.mp4" -print0 | xargs -0 -P2 -I{} sh -c \'ffmpeg -v error -skip_frame nokey -i "$1" '
    '-fps_mode passthrough -q:v 3 "$2/$(basename "$1" .mp4)_%04d.jpg"\' - {} "$1"'
)


def keyframes_to_jpeg(setting: Setting) -> Measured:
    clips = usual_clips(setting)
    ours, theirs = setting.scratch("keyframes"), setting.scratch("keyframes_ffmpeg")

    def empty_folder() -> None:
        remove(theirs)
        theirs.mkdir()

    def same_number(stdout: str) -> None:
        wanted, found = len(list(theirs.glob("*.jpg"))), pictures(ours)
        if not wanted or abs(found - wanted) > 0.05 * wanted:
            raise BenchmarkError(f"{found} pictures in {ours}, {wanted} in {theirs}")

    a = extract(
        setting, [clips], ours, "--ops", "frames", "--sample", "keyframes", "--images", expect=["frames"]
    )
    b = Command(arguments=["sh", "-c", FFMPEG, clips, theirs], prepare=empty_folder, check=same_number)
    framemill, ffmpeg = run_in_turn(setting.runs, a, b)
    return Measured(
        [other.seconds / own.seconds for own, other in zip(framemill, ffmpeg, strict=True)],
        {"framemill": summary(framemill), "ffmpeg": summary(ffmpeg), "pictures": pictures(ours)},
    )


def keyframes_limit(setting: Setting) -> Measured:
    """Our CPU seconds over those of decoding and encoding alone; start-up counts on our side."""
    clips, output = usual_clips(setting), setting.scratch("keyframes_usual")
    bare: list[float] = []

    def same_number(stdout: str) -> None:
        answer = json.loads(stdout)
        bare.append(answer["cpu_seconds"])
        if answer["frames"] != pictures(output):
            raise BenchmarkError(f"{pictures(output)} pictures in {output}, the peer made {answer['frames']}")

    a = extract(
        setting, [clips], output, "--ops", "frames", "--sample", "keyframes", "--images", expect=["frames"]
    )
    peer = [sys.executable, "-m", "benchmarks.peers.keyframes_as_jpeg"]
    framemill, whole = run_in_turn(
        setting.runs, a, Command(arguments=[*peer, clips, "90"], check=same_number)
    )
    pairs = list(zip(framemill, bare[1:], strict=True))  # the first round is not measured
    return Measured(
        [own.cpu_seconds / limit for own, limit in pairs],
        {
            "framemill": summary(framemill),
            "bare_with_start": summary(whole),
            "bare_cpu_seconds": statistics.median(bare[1:]),
            "pictures": pictures(output),
        },
        [limit / own.cpu_seconds for own, limit in pairs],
    )


def pictures(output: Path) -> int:
    """How many JPEGs the frames table holds."""
    images = read_table(output, "frames")["image"]
    return int(len(images) - images.null_count)


BENCHMARKS = [
    Benchmark(
        name="keyframes_to_jpeg",
        work="key frames to JPEG, 40 real clips of 5 to 140 s, 360p to 720p",
        against="ffmpeg -skip_frame nokey per file, two at a time: its time over ours",
        goal=1.6,
        unit="x",
        at_least=True,
        run=keyframes_to_jpeg,
        programs=("ffmpeg", "xargs"),
    ),
    Benchmark(
        name="keyframes_limit",
        work="key frames to JPEG, 40 real clips of 5 to 140 s, CPU seconds",
        against="PyAV decode + OpenCV JPEG alone, one thread, no start-up: our CPU seconds over its",
        goal=1.15,
        unit="x",
        at_least=False,
        run=keyframes_limit,
    ),
]
