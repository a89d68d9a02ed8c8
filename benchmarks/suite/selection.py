"""Choosing thumbnails, highlights and clips: how long it takes where there is much to choose from."""

from __future__ import annotations

import json
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.harness import BenchmarkError, Command, Setting, run_once, summary
from benchmarks.inputs import making
from benchmarks.made_corpus import make_corpus

NUM_CANDIDATES = 1_000_000
NUM_FILES = 10_000
FILE_SECONDS = 60
MONTAGE_SECONDS = 60
BEATS_PER_MINUTE = 120


def _candidates(setting: Setting) -> Measured:
    """Seconds to rate a million frames and to choose the clips of a minute, without reading and start-up."""

    def check(stdout: str) -> None:
        found = json.loads(stdout)
        if found["seconds"] != MONTAGE_SECONDS or found["candidates"] != NUM_CANDIDATES:
            raise BenchmarkError(
                f"chose {found} instead of {MONTAGE_SECONDS} s of {NUM_CANDIDATES} candidates"
            )
        spent.append(found["spent_seconds"])

    spent: list[float] = []
    program = [
        sys.executable,
        "-m",
        "benchmarks.peers.choose_clips",
        str(NUM_CANDIDATES),
        str(MONTAGE_SECONDS),
    ]
    command = Command(arguments=program, check=check)
    costs = [run_once(command) for _ in range(setting.runs + 1)]
    return Measured(spent[1:], {"framemill": summary(costs[1:])})


def _corpus(
    arguments: Callable[[Setting, Path], list[str | Path]], table: str
) -> Callable[[Setting], Measured]:
    def measure(setting: Setting) -> Measured:
        """Seconds of the whole command over the tables of made-up clips."""
        output = _made(setting)
        command = Command(
            arguments=[sys.executable, "-m", "framemill", *arguments(setting, output), "--limit", "1"]
            if table
            else [sys.executable, "-m", "framemill", *arguments(setting, output)],
            prepare=lambda: _forget(output, table),
        )
        costs = [run_once(command) for _ in range(setting.runs + 1)][1:]
        return Measured([cost.seconds for cost in costs], {"framemill": summary(costs)})

    return measure


def _made(setting: Setting) -> Path:
    """The made-up corpus; it is kept, since writing it takes as long as all runs."""
    folder = setting.cache / f"made_{NUM_FILES}x{FILE_SECONDS}"
    if not (folder / "done").exists():
        make_corpus(folder, NUM_FILES, FILE_SECONDS)
        (folder / "done").touch()
    return folder / "out"


def _forget(output: Path, table: str) -> None:
    """Takes the table out of the dataset, so that each run makes it."""
    from framemill.cluster.results.commits import Commit
    from framemill.cluster.results.dataset import Dataset

    if not table:
        return
    dataset = Dataset.open(output, create=False)
    with dataset.hold("forget"):
        state = dataset.state
        dataset.commit(
            Commit(
                run_id="forget",
                removed_parts=tuple((table, part.name) for part in state.parts_of(table)),
                removed_entries=tuple(entry for entry in state.entries if entry[0] == table),
            )
        )


def _music(setting: Setting) -> Path:
    """A click on every beat for a minute and a half."""
    target = setting.cache / f"clicks_{BEATS_PER_MINUTE}.wav"
    if target.exists():
        return target
    rate = 16_000
    samples = np.zeros(90 * rate)
    click = np.sin(2 * np.pi * 1000 * np.arange(800) / rate) * np.hanning(800)
    for start in range(0, len(samples) - 800, rate * 60 // BEATS_PER_MINUTE):
        samples[start : start + 800] = click
    with making(target) as path, wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 20_000).astype("<i2").tobytes())
    return target


def _montage(setting: Setting, output: Path) -> list[str | Path]:
    made = setting.scratch("montage.fcpxml")
    seconds = str(MONTAGE_SECONDS)
    return ["montage", output, "--seconds", seconds, "--music", _music(setting), "-o", made, "--quiet"]


BENCHMARKS = [
    Benchmark(
        name="choose_million",
        work="rating 1 million candidates and choosing a montage of 60 s out of them",
        against="-",
        goal=2.0,
        unit="s",
        at_least=False,
        run=_candidates,
    ),
    Benchmark(
        name="thumbnails_corpus",
        work="thumbnails of 10,000 files of a minute, from the tables",
        against="-",
        goal=10.0,
        unit="s",
        at_least=False,
        run=_corpus(lambda setting, output: ["thumbnails", output], "thumbnails"),
    ),
    Benchmark(
        name="highlights_corpus",
        work="highlights of 10,000 files of a minute, from the tables",
        against="-",
        goal=10.0,
        unit="s",
        at_least=False,
        run=_corpus(lambda setting, output: ["highlights", output], "highlights"),
    ),
    Benchmark(
        name="montage_corpus",
        work="a montage of 60 s out of 10,000 files of a minute, from the tables",
        against="-",
        goal=10.0,
        unit="s",
        at_least=False,
        run=_corpus(_montage, ""),
    ),
]
