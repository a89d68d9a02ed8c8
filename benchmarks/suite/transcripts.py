"""Transcripts beside faster-whisper: many short files, and a long one."""

from __future__ import annotations

import json
import sys
import wave
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, read_table
from benchmarks.harness import BenchmarkError, Command, Cost, Setting, SkippedError, run_once, summary
from benchmarks.inputs import making
from framemill.ops.chunks import Float32Array

MODEL = "whisper_words"
SAMPLE_RATE = 16_000
NUM_CLIPS = 100
LONG_SECONDS = 30 * 60
# Of all words; where both decode the same passage the words are the same.
SAME_WORDS = 0.97


def _recordings(setting: Setting) -> list[tuple[str, Float32Array]]:
    """(kind, samples) of the English recordings of the recogniser's words."""
    folder = setting.media / "audio" / MODEL
    if not folder.is_dir() or not (setting.models / MODEL).is_dir():
        raise SkippedError(f"needs {MODEL} in the folders given by --media and --models")
    clips = json.loads((folder / "transcripts.json").read_text("utf-8"))["clips"]
    found = []
    for clip in clips:
        if clip["language"] == "en":
            with av.open(str(folder / clip["file"])) as container:
                resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
                frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
                frames += resampler.resample(None)
            found.append((clip["kind"], np.concatenate([frame.to_ndarray().ravel() for frame in frames])))
    return found


def _write(path: Path, samples: Float32Array) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())


def short_clips(setting: Setting) -> Path:
    """A hundred files of 2 to 10 s: one to three recordings with pauses, each at a loudness of its own."""
    folder = setting.cache / "spoken_clips"
    if folder.exists():
        return folder
    generator = np.random.default_rng(5)
    short = [samples for kind, samples in _recordings(setting) if kind == "short"]
    with making(folder) as unfinished:
        unfinished.mkdir()
        number = 0
        while number < NUM_CLIPS:
            parts = []
            for _ in range(generator.integers(1, 4)):
                parts.append(short[generator.integers(len(short))])
                parts.append(np.zeros(generator.integers(2_000, 12_000), np.float32))
            samples = np.concatenate(parts) * np.float32(generator.uniform(0.4, 1.0))
            if 2 <= len(samples) / SAMPLE_RATE <= 10:
                _write(unfinished / f"clip_{number:03}.wav", samples)
                number += 1
    return folder


def long_file(setting: Setting) -> Path:
    """A folder with one file of half an hour: all recordings over and over, with pauses."""
    folder = setting.cache / "spoken_half_hour"
    if folder.exists():
        return folder
    generator = np.random.default_rng(6)
    recordings = [samples for _, samples in _recordings(setting)]
    parts: list[Float32Array] = []
    while sum(map(len, parts)) < LONG_SECONDS * SAMPLE_RATE:
        parts.append(recordings[generator.integers(len(recordings))])
        parts.append(np.zeros(generator.integers(4_000, 40_000), np.float32))
    with making(folder) as unfinished:
        unfinished.mkdir()
        _write(unfinished / "half_hour.wav", np.concatenate(parts)[: LONG_SECONDS * SAMPLE_RATE])
    return folder


def _words(output: Path) -> dict[str, list[str]]:
    """Words of each file by its name, as our tables hold them."""
    names = {row["source_id"]: Path(row["uri"]).name for row in read_table(output, "media").to_pylist()}
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for row in sorted(read_table(output, "transcript").to_pylist(), key=lambda row: row["segment_index"]):
        found[names[row["source_id"]]] += [word["text"] for word in row["words"]]
    return found


def _num_different(some: Sequence[str], others: Sequence[str]) -> int:
    """Words to insert, delete or replace (Levenshtein)."""
    row = np.arange(len(others) + 1)
    for index, word in enumerate(some, 1):
        cost = np.minimum(row[1:] + 1, row[:-1] + np.array([word != other for other in others], int))
        row = np.concatenate([[index], cost])
        # Insertions run along the row: each cell is at most one more than the one before it.
        row = np.minimum.accumulate(row - np.arange(len(row))) + np.arange(len(row))
    return int(row[-1])


def ours(setting: Setting, source: Path, output: Path, language: str) -> Command:
    """`framemill extract` of transcripts; an empty language is detected."""
    options = ["--ops", "media,transcript", "--model", f"transcript={MODEL}"]
    if language != "auto":
        options += ["--set", f"transcript.language={language}"]
    return extract(setting, [source], output, *options, expect=["transcript"])


def _against_peer(
    source: Callable[[Setting], Path], language: str, mode: str
) -> Callable[[Setting], Measured]:
    def measure(setting: Setting) -> Measured:
        """faster-whisper's time over ours, run by run; the words must be the same."""
        if find_spec("faster_whisper") is None:
            raise SkippedError("needs the package faster-whisper")
        folder, output = source(setting), setting.scratch("transcripts")
        own = ours(setting, folder, output, language)
        shares: list[float] = []

        def same_words(stdout: str) -> None:
            theirs, found = json.loads(stdout), _words(output)
            different = sum(_num_different(words, found[name]) for name, words in theirs.items())
            total = sum(map(len, theirs.values()))
            shares.append(1 - different / total)
            if shares[-1] < SAME_WORDS:
                raise BenchmarkError(
                    f"{different} of {total} words differ, {SAME_WORDS:.0%} must be the same"
                )

        peer = [sys.executable, "-m", "benchmarks.peers.faster_whisper_per_file"]
        arguments: list[str | Path] = [
            *peer,
            setting.models / MODEL,
            folder,
            language,
            mode,
            str(setting.cores),
        ]
        theirs = Command(arguments=arguments, check=same_words)
        costs = _in_turn(setting, own, theirs)
        return Measured(
            [their.seconds / mine.seconds for mine, their in costs],
            {**_described(costs, "faster_whisper"), "same_words": min(shares)},
        )

    return measure


def auto_language(setting: Setting) -> Measured:
    """Our time with the language detected over that with a fixed one, run by run."""
    folder = short_clips(setting)
    detected = ours(setting, folder, setting.scratch("transcripts_auto"), "auto")
    fixed = ours(setting, folder, setting.scratch("transcripts_fixed"), "en")
    costs = _in_turn(setting, detected, fixed)
    return Measured([auto.seconds / given.seconds for auto, given in costs], _described(costs, "fixed"))


def _in_turn(setting: Setting, first: Command, second: Command) -> list[tuple[Cost, Cost]]:
    """Costs of both, run after run; the first round is not counted."""
    return [(run_once(first), run_once(second)) for _ in range(setting.runs + 1)][1:]


def _described(costs: Sequence[tuple[Cost, Cost]], other: str) -> dict[str, Any]:
    return {"framemill": summary([a for a, _ in costs]), other: summary([b for _, b in costs])}


BENCHMARKS = [
    Benchmark(
        name="transcripts_short_auto",
        work="transcripts of 100 clips of 2 to 10 s, language detected",
        against="faster-whisper per file, one process, 97% of the words the same: its time over ours",
        goal=2.0,
        unit="x",
        at_least=True,
        run=_against_peer(short_clips, "auto", "sequential"),
    ),
    Benchmark(
        name="transcripts_short_given",
        work="transcripts of 100 clips of 2 to 10 s, language given",
        against="faster-whisper per file, one process, 97% of the words the same: its time over ours",
        goal=1.3,
        unit="x",
        at_least=True,
        runs=3,
        run=_against_peer(short_clips, "en", "sequential"),
    ),
    Benchmark(
        name="transcripts_long",
        work="transcript of a file of 30 minutes",
        against="faster-whisper's BatchedInferencePipeline, 97% of the words the same: its time over ours",
        goal=1.0,
        unit="x",
        at_least=True,
        runs=3,
        run=_against_peer(long_file, "auto", "batched"),
    ),
    Benchmark(
        name="transcripts_auto_language",
        work="transcripts of 100 clips of 2 to 10 s, language detected",
        against="the same with the language given: time over time",
        goal=1.05,
        unit="x",
        at_least=False,
        runs=3,
        run=auto_language,
    ),
]
