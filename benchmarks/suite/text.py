"""Text on screen beside RapidOCR's own pipeline on the same frames."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, read_table
from benchmarks.harness import BenchmarkError, Command, Cost, Setting, SkippedError, run_once, summary
from benchmarks.inputs import making, video

FPS = 25
SLIDE_SECONDS = 10
NUM_SLIDES = 3
# Lines that both must agree on; where frames differ by coding noise, a line may be cut a pixel apart.
SAME_LINES = 0.99
WORDS = (
    "Quarterly results 2024", "Revenue rose by 12.5 percent", "Mail: sales@example.org", "Open from 9 to 5",
    "small print: terms apply, see page 17", "Next departure 08:45", "Lisbon - Porto - Braga", "Room 4.12",
    "Questions and answers", "Thank you for watching", "Chapter 3: Methods", "width x height = 1280 x 720",
)  # fmt: skip


def _slides(setting: Setting) -> Path:
    """Half a minute of three slides of four lines over a real picture, as H.264 by x264's defaults."""
    target = setting.cache / "slides_720p.mp4"
    if target.exists():
        return target
    with av.open(str(video(setting, "car-detection.mp4"))) as container:
        scene = next(container.decode(video=0)).to_ndarray(format="rgb24")
    background = cv2.resize(scene, (1280, 720), interpolation=cv2.INTER_CUBIC)
    with making(target) as path, av.open(str(path), "w", format="mp4") as made:
        picture = made.add_stream("libx264", rate=FPS)
        picture.width, picture.height, picture.pix_fmt = 1280, 720, "yuv420p"
        for slide in range(NUM_SLIDES):
            pixels = background.copy()
            for row, words in enumerate(WORDS[4 * slide : 4 * slide + 4]):
                place, scale = (80, 130 + 160 * row), (1.8, 1.3, 1.0, 0.7)[row]
                cv2.rectangle(pixels, (60, place[1] - 70), (1220, place[1] + 30), (20, 20, 25), -1)
                cv2.putText(pixels, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (240,) * 3, 2, cv2.LINE_AA)
            for index in range(slide * SLIDE_SECONDS * FPS, (slide + 1) * SLIDE_SECONDS * FPS):
                frame = av.VideoFrame.from_ndarray(np.asarray(pixels, np.uint8), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                made.mux(picture.encode(frame))
        made.mux(picture.encode(None))
    return target


def _against_rapidocr(source: Callable[[Setting], Path], step: str) -> Callable[[Setting], Measured]:
    def measure(setting: Setting) -> Measured:
        """RapidOCR's time over ours, run by run; most lines must be the same."""
        if find_spec("rapidocr") is None:
            raise SkippedError("needs the package rapidocr with its dependencies")
        path, output, sampled = source(setting), setting.scratch("text"), setting.scratch("text_frames")
        sampling = ("--sample", f"every:{step}")
        run_once(extract(setting, [path], sampled, "--ops", "frames", *sampling, expect=["frames"]))
        indices = sorted(read_table(sampled, "frames")["frame_index"].to_pylist())
        ours = extract(setting, [path], output, "--ops", "text", *sampling, expect=["text"])
        shares: list[float] = []
        bare: list[float] = []

        def same_lines(stdout: str) -> None:
            said = json.loads(stdout)
            bare.append(said["bare_seconds"])
            wanted = {index: lines for index, lines in said["frames"]}
            found: dict[int, list[str]] = defaultdict(list)
            for row in sorted(
                read_table(output, "text").to_pylist(), key=lambda r: (r["frame_index"], r["text_index"])
            ):
                found[row["frame_index"]].append(row["text"])
            num_lines = sum(map(len, wanted.values()))
            same = sum(a == b for index in wanted for a, b in zip(wanted[index], found[index], strict=False))
            shares.append(same / max(num_lines, sum(map(len, found.values())), 1))
            if shares[-1] < SAME_LINES:
                raise BenchmarkError(f"{same} lines of {num_lines} are the same, {SAME_LINES:.0%} wanted")

        peer = [sys.executable, "-m", "benchmarks.peers.rapidocr_frames", path]
        theirs = Command(arguments=[*peer, ",".join(map(str, indices))], check=same_lines)
        costs: list[tuple[Cost, Cost]] = []
        for turn in range(setting.runs + 1):
            pair = run_once(ours), run_once(theirs)
            if turn:
                costs.append(pair)
        return Measured(
            [their.seconds / own.seconds for own, their in costs],
            {
                "framemill": summary([own for own, _ in costs]),
                "rapidocr": summary([their for _, their in costs]),
                "same_lines": min(shares),
            },
            [seconds / own.cpu_seconds for seconds, (own, _) in zip(bare[1:], costs, strict=True)],
        )

    return measure


BENCHMARKS = [
    Benchmark(
        name="text_still",
        work="text that stands still: three slides of 10 s at 720p, every:1",
        against="RapidOCR on the same frames, 99% of the lines the same: its time over ours",
        goal=2.0,
        unit="x",
        at_least=True,
        run=_against_rapidocr(_slides, "1"),
    ),
    Benchmark(
        name="text_changing",
        work="text that changes in every frame, 1080p, every:0.1",
        against="RapidOCR on the same frames, 99% of the lines the same: its time over ours",
        goal=1.0,
        unit="x",
        at_least=True,
        runs=3,
        run=_against_rapidocr(lambda setting: video(setting, "counter.mp4"), "0.1"),
    ),
]
