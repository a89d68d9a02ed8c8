"""Speech on a GPU, passages of many files together.

Without a GPU this is skipped, unless FRAMEMILL_REQUIRE_GPU=1 says that there must be one.
"""

from __future__ import annotations

import json
import statistics
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.harness import Command, Setting, SkippedError, run_in_turn
from benchmarks.inputs import making
from benchmarks.made_whisper import LARGE_V3, Shape, write_whisper
from benchmarks.suite.gpu import require_gpu
from benchmarks.suite.transcripts import short_clips

BATCHES = (1, 2, 4, 8, 16, 32)
NUM_CLIPS, NUM_TOKENS = 64, 64


def random_whisper(setting: Setting, shape: Shape) -> Path:
    """A folder with a network of this shape."""
    folder = setting.cache / f"whisper_{shape.num_layers}x{shape.width}"
    if not folder.exists():
        with making(folder) as unfinished:
            unfinished.mkdir()
            write_whisper(unfinished, shape)
    return folder


def sweep(
    setting: Setting,
    shape: Shape,
    device: str,
    num_clips: int = NUM_CLIPS,
    num_tokens: int = NUM_TOKENS,
    batches: tuple[int, ...] = BATCHES,
) -> Measured:
    """The best batch's speed over that of single passages, run by run, and the curve.

    Args:
        shape: of the network. device: cuda or cpu.
        num_clips: files, a passage each. num_tokens: of each text. batches: the first is 1.
    """
    if find_spec("faster_whisper") is None:
        raise SkippedError("needs the package faster-whisper")
    curves: list[dict[str, float]] = []
    peer = [sys.executable, "-m", "benchmarks.peers.whisper_batches"]
    numbers = [str(number) for number in (num_clips, num_tokens, *batches)]
    command = Command(
        arguments=[*peer, random_whisper(setting, shape), short_clips(setting), device, *numbers],
        check=lambda stdout: curves.append(json.loads(stdout)),
    )
    run_in_turn(setting.runs, command)
    counted = curves[1:]
    return Measured(
        [max(curve.values()) / curve["1"] for curve in counted],
        {
            "seconds_of_sound_a_second": {
                batch: statistics.median(curve[batch] for curve in counted)
                for batch in counted[0]
                if all(batch in curve for curve in counted)
            }
        },
    )


def whisper(setting: Setting) -> Measured:
    require_gpu()
    return sweep(setting, LARGE_V3, "cuda")


BENCHMARKS = [
    Benchmark(
        name="gpu_whisper",
        work=f"{NUM_CLIPS} files through a Whisper of large-v3's shape, random weights, up to 32 together",
        against="one at a time, the best batch's speed over its",
        goal=4.0,
        unit="x",
        at_least=True,
        run=whisper,
    ),
]
