"""Key frames of a folder of short clips, as JPEG."""

from __future__ import annotations

from pathlib import Path

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, read_table
from benchmarks.harness import BenchmarkError, Command, Setting, remove, run_in_turn, summary
from benchmarks.inputs import cut_clips

# -fps_mode passthrough keeps every key frame; -q:v 3 is close to quality 90 of libjpeg.
FFMPEG = (
    'find "$0" -name "*.mp4" -print0 | xargs -0 -P2 -I{} sh -c \'ffmpeg -v error -skip_frame nokey -i "$1" '
    '-fps_mode passthrough -q:v 3 "$2/$(basename "$1" .mp4)_%04d.jpg"\' - {} "$1"'
)


def keyframes_to_jpeg(setting: Setting) -> Measured:
    clips = cut_clips(setting)
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


def pictures(output: Path) -> int:
    """How many JPEGs the frames table holds."""
    images = read_table(output, "frames")["image"]
    return int(len(images) - images.null_count)


BENCHMARKS = [
    Benchmark(
        name="keyframes_to_jpeg",
        work="key frames to JPEG, a folder of 40 clips",
        against="ffmpeg -skip_frame nokey per file, two at a time: its time over ours",
        goal=1.4,
        unit="x",
        at_least=True,
        run=keyframes_to_jpeg,
        programs=("ffmpeg", "xargs"),
    )
]
