"""Frames that stay on a GPU, each figure as a share of a limit measured in the same run.

Without a GPU these are skipped, unless FRAMEMILL_REQUIRE_GPU=1 says that there must be one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract
from benchmarks.harness import (
    REPOSITORY,
    Command,
    Setting,
    SkippedError,
    run_in_turn,
    run_once,
    summary,
    time_until,
)
from benchmarks.inputs import copy_packets, film, making

FILES, FEW = 500, 64
BATCH, SECONDS = 32, 5
SIZES = ((640, 360), (1280, 720), (1920, 1080))
SAMPLING_SECONDS = 0.1


def require_gpu() -> None:
    from framemill.models.cuda import find_gpus

    if find_gpus():
        return
    if os.environ.get("FRAMEMILL_REQUIRE_GPU", "0") not in ("", "0"):
        raise RuntimeError(
            "FRAMEMILL_REQUIRE_GPU is set, but there is no usable NVIDIA GPU; ask framemill doctor"
        )
    raise SkippedError("no usable NVIDIA GPU")


def clips(setting: Setting, count: int) -> Path:
    """A folder of 10-second clips of 1080p H.264, each with bytes of its own."""
    folder = setting.cache / f"gpu_clips_{count}"
    if not folder.exists():
        source = film(setting, 1920, 1080).path
        with making(folder) as unfinished:
            unfinished.mkdir()
            for k in range(count):
                copy_packets([source], unfinished / f"{k:03d}.mp4", 10 * k % 50, 10, title=str(k))
    return folder


def limit(setting: Setting, folder: Path, told: list[float]) -> Command:
    """The decoder's limit (`benchmarks.peers.gpu_limit`): every frame once, in order, by ffmpeg if it can."""
    return peer(setting, told, folder, "gpu", setting.cores, module="gpu_limit")


def peer(setting: Setting, told: list[float], *words: object, module: str = "gpu_paths") -> Command:
    """A bare path; its frames a second are added to `told`."""

    def note(stdout: str) -> None:
        found = json.loads(stdout)
        told.append(found["frames"] / found["seconds"])

    arguments = [sys.executable, "-m", f"benchmarks.peers.{module}", *map(str, words)]
    return Command(
        arguments=arguments, check=note, environment={"FRAMEMILL_MODEL_MIRROR": str(setting.models)}
    )


def objects(setting: Setting, folder: Path, output: Path, decoder: str, told: list[float]) -> Command:
    """A whole run of the detector over every frame; its frames a second are added to `told`."""

    def note(stdout: str) -> None:
        found = json.loads(stdout)
        told.append(found["frames"] / found["elapsed_seconds"])

    command = extract(setting, [folder], output, *OBJECTS, expect=["objects"], check=note)
    return Command(
        arguments=command.arguments,
        prepare=command.prepare,
        check=command.check,
        environment={**command.environment, "FRAMEMILL_DECODER": decoder},
    )


OBJECTS = ("--ops", "objects", "--sample", "all")


def decode(setting: Setting) -> Measured:
    require_gpu()
    folder = clips(setting, FEW)
    bare: list[float] = []
    ours: list[float] = []
    sides = limit(setting, folder, bare), peer(setting, ours, "reader", folder, "gpu", setting.cores)
    run_in_turn(setting.runs, *sides)
    weighed = {f"{height}p": weigh(film(setting, width, height).path, setting) for width, height in SIZES}
    return Measured(
        [o / b for o, b in zip(ours[1:], bare[1:], strict=True)],
        {
            "limit_frames_per_second": bare[1:],
            "reader_frames_per_second": ours[1:],
            # What `framemill.actors.dali_rules` estimates: frames and pixels from which on a device pays.
            "seconds_by_frames": weighed,
            "least_frames": {size: least_frames(found) for size, found in weighed.items()},
            "least_pixels": {
                f"{height}p": (least_frames(weighed[f"{height}p"]) or 0) * width * height
                for width, height in SIZES
            },
        },
    )


def weigh(path: Path, setting: Setting, device: str = "gpu") -> dict[str, dict[str, float]]:
    """Seconds of our reader for few and for many frames of a file, on the device and on the host."""
    words = ["weigh", path, device, setting.runs]
    arguments = [sys.executable, "-m", "benchmarks.peers.gpu_paths", *map(str, words)]
    done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


def least_frames(found: Mapping[str, Mapping[str, float]]) -> int | None:
    """The number of frames from which on the device was always the faster; None where it never was."""
    least = None
    for count in sorted(map(int, found), reverse=True):
        if found[str(count)]["device"] >= found[str(count)]["host"]:
            break
        least = count
    return least


def detect(setting: Setting) -> Measured:
    require_gpu()
    folder, output = clips(setting, FEW), setting.scratch("gpu_objects")
    model = setting.models / "yolox_nano.onnx"
    decoding: list[float] = []
    inference: list[float] = []
    whole: list[float] = []
    run_in_turn(
        setting.runs,
        limit(setting, folder, decoding),
        peer(setting, inference, "inference", model, BATCH, SECONDS),
        objects(setting, folder, output, "dali", whole),
    )
    return Measured(
        [w / min(d, i) for w, d, i in zip(whole[1:], decoding[1:], inference[1:], strict=True)],
        {"decode": decoding[1:], "inference": inference[1:], "whole": whole[1:]},
    )


def against_host(setting: Setting) -> Measured:
    require_gpu()
    folder = clips(setting, FEW)
    told: dict[str, list[float]] = {"dali": [], "pyav": []}
    sides = [objects(setting, folder, setting.scratch(f"gpu_{d}"), d, t) for d, t in told.items()]
    device, host = run_in_turn(setting.runs, *sides)
    return Measured(
        [h.seconds / d.seconds for d, h in zip(device, host, strict=True)],
        {"device": summary(device), "host": summary(host), "frames_per_second": told},
    )


def first_row(setting: Setting) -> Measured:
    require_gpu()
    clip = next(iter(sorted(clips(setting, FEW).iterdir())))
    output = setting.scratch("gpu_first_row")
    command = extract(setting, [clip], output, *OBJECTS)
    run_once(command)  # builds what is kept

    def published() -> bool:
        return any((output / "objects").glob("part-*.parquet"))

    return Measured([time_until(command, published) for _ in range(setting.runs)])


def idle(setting: Setting) -> Measured:
    """Share of samples in which no kernel and no decoder was at work, from the first busy one to the last."""
    require_gpu()
    folder, output = clips(setting, FILES), setting.scratch("gpu_idle")
    values = []
    for _ in range(setting.runs):
        samples = watched(lambda: run_once(objects(setting, folder, output, "dali", [])))
        busy = [at for at, is_busy in enumerate(samples) if is_busy]
        inside = samples[busy[0] : busy[-1] + 1] if busy else [False]
        values.append(1 - sum(inside) / len(inside))
    return Measured(values)


def watched(work: Callable[[], object]) -> list[bool]:
    """Whether the device was busy, several times a second while `work` ran."""
    samples: list[bool] = []
    ended = threading.Event()
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,utilization.decoder", "--format=csv,noheader,nounits"]

    def watch() -> None:
        while not ended.wait(SAMPLING_SECONDS):
            line = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
            samples.append(any(int(part) for part in line.split(",") if part.strip().isdigit()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        work()
    finally:
        ended.set()
        thread.join()
    return samples


BENCHMARKS = [
    Benchmark(
        name="gpu_decode",
        work=f"every frame of {FEW} files of 1080p H.264 through the reader, on one GPU",
        against="the decoder's limit by ffmpeg, each frame once and in order: frames a second",
        goal=0.85,
        unit="x",
        at_least=True,
        run=decode,
    ),
    Benchmark(
        name="gpu_objects",
        work="the same files decoded, resized and searched by YOLOX-nano, a whole run",
        against="the slower of bare decoding and bare inference: frames a second",
        goal=0.85,
        unit="x",
        at_least=True,
        run=detect,
    ),
    Benchmark(
        name="gpu_against_host",
        work="the same run with frames that stay on the GPU",
        against="frames decoded by PyAV and copied to the GPU: its time over ours",
        goal=2.0,
        unit="x",
        at_least=True,
        run=against_host,
    ),
    Benchmark(
        name="gpu_first_row",
        work="objects in one 10-second 1080p clip, engine kept: first part on disk",
        against="-",
        goal=5.0,
        unit="s",
        at_least=False,
        run=first_row,
    ),
    Benchmark(
        name="gpu_idle",
        work=f"objects in every frame of {FILES} files: share of time in which the GPU does nothing",
        against="-",
        goal=0.15,
        unit="x",
        at_least=False,
        run=idle,
    ),
]
