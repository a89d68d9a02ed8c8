"""Clips: shots cut and encoded beside ffmpeg, copied, and a training set in one command or step by step."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract
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
from benchmarks.inputs import copy_packets, film, looped, making
from framemill.cluster.results.queries import query

NUM_FILES, FILE_SECONDS = 4, 300
# Keeps about half of the shots of the film.
SHARP = "sharpness > 100"


def _films(setting: Setting) -> Path:
    """A folder of files of five minutes, shots of real clips, each with bytes of its own."""
    folder = setting.cache / f"films_{NUM_FILES}x{FILE_SECONDS}"
    if not folder.exists():
        source = looped(setting, film(setting, 1280, 720).path, FILE_SECONDS)
        with making(folder) as unfinished:
            unfinished.mkdir()
            for number in range(NUM_FILES):
                copy_packets([source], unfinished / f"{number}.mp4", title=str(number))
    return folder


def _shots(setting: Setting) -> tuple[Path, int]:
    """A result folder that knows the shots of these files, made once, and how many there are."""
    out = setting.cache / "films_shots"
    if not out.exists():
        with making(out) as unfinished:
            run_once(
                extract(setting, [_films(setting)], unfinished, "--ops", "media,scenes", expect=["scenes"])
            )
    return out, int(query(str(out), "SELECT count(*) FROM scenes").rows[0][0])


def _clips(out: Path, target: Path, *options: str, check: Callable[[dict[str, int]], None]) -> Command:
    """`framemill clips`, every shot in whole unless `options` say otherwise."""
    line: list[str | Path] = [sys.executable, "-m", "framemill", "clips", out, "-o", target, "--json", "-q"]
    return Command(
        arguments=[*line, *options],
        prepare=partial(remove, target),
        check=lambda stdout: check(json.loads(stdout)),
    )


WHOLE = ("--trim", "0", "--min-seconds", "0.01", "--max-seconds", "3600")


def encoded(setting: Setting) -> Measured:
    """The time of ffmpeg, started for each shot as PySceneDetect does, over ours."""
    out, count = _shots(setting)
    target, theirs = setting.scratch("clips_encoded"), setting.scratch("clips_ffmpeg")

    def all_encoded(told: dict[str, int]) -> None:
        if told["num_clips"] != count or told["num_copied"]:
            raise BenchmarkError(f"{told['num_clips']} of {count} clips, {told['num_copied']} copied")

    def all_there(stdout: str) -> None:
        if (there := len(list(theirs.glob("*.mp4")))) != count:
            raise BenchmarkError(f"ffmpeg made {there} of {count} clips")

    peer = Command(
        arguments=[sys.executable, "-m", "benchmarks.peers.split_video", out, theirs],
        prepare=partial(remove, theirs),
        check=all_there,
    )
    own = _clips(out, target, *WHOLE, "--reencode", check=all_encoded)
    ours, ffmpeg = run_in_turn(setting.runs, own, peer)
    return Measured(
        [theirs.seconds / mine.seconds for mine, theirs in zip(ours, ffmpeg, strict=True)],
        {"framemill": summary(ours), "ffmpeg": summary(ffmpeg), "clips": count},
    )


def copied(setting: Setting) -> Measured:
    """Megabytes a second of clips that are copied, start-up, plan and digests included."""
    out, count = _shots(setting)
    written = 0

    def noted(told: dict[str, int]) -> None:
        nonlocal written
        if told["num_copied"] < 0.9 * count:
            raise BenchmarkError(f"{told['num_copied']} of {count} clips were copied: this measures encoding")
        written = told["num_bytes"]

    (costs,) = run_in_turn(setting.runs, _clips(out, setting.scratch("clips_copied"), *WHOLE, check=noted))
    return Measured([written / 1e6 / cost.seconds for cost in costs], {"framemill": summary(costs)})


def one_command(setting: Setting) -> Measured:
    """The time of the steps one by one, over that of one command.

    One by one: split into files, measure and embed them, then drop blurred and doubled ones, write shards.
    """
    if not (setting.models / "mobilenet_v1_embed.onnx").is_file():
        raise SkippedError("needs mobilenet_v1_embed in the folder given by --models")
    source = film(setting, 1280, 720).path
    kept: dict[str, int] = {}

    def noted(side: str) -> Callable[[dict[str, int]], None]:
        def check(told: dict[str, int]) -> None:
            if not told["num_clips"]:
                raise BenchmarkError(f"{side}: no clip is kept")
            kept[side] = told["num_clips"]

        return check

    names = ("one", "shards", "split", "files", "measured", "written")
    one, shards, split, files, measured, written = (setting.scratch(f"set_{name}") for name in names)
    every = ("--sample", "every:0.5")
    chosen = {"where": SHARP, "dedupe": "embedding", "format": "webdataset"}
    asked = [word for name, value in chosen.items() for word in ("--set", f"clips.{name}={value}")]
    ops = "media,scenes,frames,image_embeddings"
    together = extract(
        setting, [source], one, "--ops", ops, *every, "--clips", "shots", "--clips-to", str(shards), *asked,
        expect=["scenes", "frames", "image_embeddings", "clips"],
        check=lambda stdout: noted("one command")(json.loads(stdout)["clips"]),
    )  # fmt: skip
    steps = [
        extract(setting, [source], split, "--ops", "media,scenes", expect=["scenes"]),
        _clips(split, files, check=noted("split")),
        extract(setting, [files], measured, "--ops", "media,scenes,frames", *every, expect=["frames"]),
        extract(setting, [files], measured, "--ops", "image_embeddings", *every, fresh=False),
        _clips(
            measured, written, *(word for name, value in chosen.items() for word in (f"--{name}", value)),
            check=noted("step by step"),
        ),
    ]  # fmt: skip

    def afresh() -> None:
        remove(shards)
        remove(one)

    together = Command(
        arguments=together.arguments, prepare=afresh, check=together.check, environment=together.environment
    )
    once, apart = run_in_turn(setting.runs, together, steps)
    return Measured(
        [b.seconds / a.seconds for a, b in zip(once, apart, strict=True)],
        {"one_command": summary(once), "steps": summary(apart), "clips": kept},
    )


BENCHMARKS = [
    Benchmark(
        name="clips_encoded",
        work="shots of 20 minutes of real clips at 720p cut and encoded, x264 veryfast",
        against="ffmpeg for each shot, as PySceneDetect's split-video runs it, same shots, encoder and "
        "preset: its time over ours",
        goal=1.3,
        unit="x",
        at_least=True,
        runs=1,
        run=encoded,
        programs=("ffmpeg",),
    ),
    Benchmark(
        name="clips_copied",
        work="the same shots by stream copy",
        against="-",
        goal=100,
        unit="MB/s",
        at_least=True,
        run=copied,
    ),
    Benchmark(
        name="clips_one_command",
        work="split, filter, embed, drop doubles, write WebDataset: a minute of shots in one command",
        against="the same step by step, each over the files of the one before: their time over its",
        goal=1.5,
        unit="x",
        at_least=True,
        runs=3,
        run=one_command,
    ),
]
