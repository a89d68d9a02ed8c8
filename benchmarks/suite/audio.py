"""Sound beside the plain way to measure it, beside pictures, and over hours."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract
from benchmarks.harness import (
    BenchmarkError,
    Command,
    Cost,
    Setting,
    SkippedError,
    run_in_turn,
    run_once,
    summary,
)
from benchmarks.inputs import copy_packets, film, looped, making
from benchmarks.suite.transcripts import MODEL, long_file

MUSIC_SECONDS = 600
MUSIC = ("music_vibe_ace.ogg", "music_hungarian_dance_5.ogg", "trumpet_90bpm.ogg")
RATE = 44_100
FILM_SECONDS = 600
LONG_SECONDS = 3 * 3600
MB = 1e6
BESIDE = ("audio_levels", "speech", "sounds")


def music(setting: Setting) -> Path:
    """Ten minutes of real music as stereo FLAC at 44.1 kHz."""
    target = setting.cache / f"music_{MUSIC_SECONDS}s.flac"
    if target.exists():
        return target
    sources = [setting.media / "audio" / name for name in MUSIC]
    if not all(source.is_file() for source in sources):
        raise SkippedError("needs the music in the folder given by --media")
    with making(target) as path, av.open(str(path), "w", format="flac") as made:
        stream = made.add_stream("flac", rate=RATE, layout="stereo")
        num_samples = 0
        while num_samples < MUSIC_SECONDS * RATE:
            for source in sources:
                resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE, frame_size=4096)
                with av.open(str(source)) as given:
                    for frame in given.decode(audio=0):
                        for piece in resampler.resample(frame):
                            piece.pts, piece.time_base = num_samples, Fraction(1, RATE)
                            num_samples += piece.samples
                            made.mux(stream.encode(piece))
        made.mux(stream.encode(None))
    return target


def _measure(operation: str, kind: str, package: str) -> Callable[[Setting], Measured]:
    def measure(setting: Setting) -> Measured:
        """The peer's CPU seconds over those of the operation, run by run; decoding counts for neither."""
        if find_spec(package) is None:
            raise SkippedError(f"needs the package {package}")
        source = music(setting)
        sides: list[list[float]] = []
        commands = []
        for module in (("benchmarks.sound_operation", operation), ("benchmarks.peers.sound_measures", kind)):
            seconds: list[float] = []
            sides.append(seconds)
            commands.append(
                Command(
                    arguments=[sys.executable, "-m", *module, source],
                    check=lambda stdout, seconds=seconds: seconds.append(_told(stdout)),  # type: ignore[misc]
                )
            )
        run_in_turn(setting.runs, *commands)
        own, peer = (seconds[1:] for seconds in sides)
        return Measured(
            [b / a for a, b in zip(own, peer, strict=True)],
            {"framemill_seconds": statistics.median(own), f"{package}_seconds": statistics.median(peer)},
        )

    return measure


def _told(stdout: str) -> float:
    answer = json.loads(stdout)
    if not answer["rows"]:
        raise BenchmarkError("nothing was measured")
    return float(answer["seconds"])


def beside_pictures(setting: Setting) -> Measured:
    """What sound adds to a run over pictures, over the bare decode and inference, run by run."""
    yamnet = setting.models / "yamnet.onnx"
    if find_spec("faster_whisper") is None or not yamnet.is_file():
        raise SkippedError(
            "needs the package faster-whisper, and yamnet.onnx in the folder given by --models"
        )
    import faster_whisper

    vad = Path(faster_whisper.__file__).with_name("assets") / "silero_vad_v6.onnx"
    clip = looped(setting, film(setting, 1920, 1080).path, FILM_SECONDS)
    output = setting.scratch("beside")
    alone = extract(setting, [clip], output, "--ops", "frames", expect=["frames"])
    both = extract(
        setting, [clip], output, "--ops", ",".join(("frames", *BESIDE)), expect=["frames", *BESIDE]
    )
    bare: list[float] = []

    def count(stdout: str) -> None:
        answer = json.loads(stdout)
        bare.append(answer["decode_seconds"] + answer["inference_seconds"])

    peer = [sys.executable, "-m", "benchmarks.peers.bare_sound"]
    limit = Command(arguments=[*peer, vad, yamnet, clip], check=count)
    costs: list[tuple[Cost, Cost]] = []
    for _ in range(setting.runs + 1):
        costs.append((run_once(alone), run_once(both)))
        run_once(limit)
    del costs[0], bare[0]
    return Measured(
        [(b.seconds - a.seconds) / least for (a, b), least in zip(costs, bare, strict=True)],
        {
            "pictures": summary([a for a, _ in costs]),
            "pictures_and_sound": summary([b for _, b in costs]),
            "bare_cpu_seconds": statistics.median(bare),
        },
    )


def long_memory(setting: Setting) -> Measured:
    """Megabytes of all processes together at their peak, above the size of the model."""
    clip = _hours(setting)
    ops = ("speech", "transcript", "audio_levels", "loudness", "beats")
    command = extract(
        setting,
        [clip],
        setting.scratch("hours"),
        *("--ops", ",".join(ops), "--model", f"transcript={MODEL}", "--set", "transcript.language=en"),
        expect=ops,
        watch_memory=True,
    )
    cost = run_once(command)  # once: it takes minutes, and memory varies little
    weights = sum(path.stat().st_size for path in (setting.models / MODEL).iterdir())
    peak = max(cost.peak_sum_bytes, cost.peak_bytes)
    if not peak:
        raise BenchmarkError("the system told no memory figures")
    return Measured([(peak - weights) / MB], {"framemill": summary([cost]), "model_bytes": weights})


def _hours(setting: Setting) -> Path:
    """Half an hour of speech as AAC, over and over."""
    target = setting.cache / "spoken_hours.mp4"
    if target.exists():
        return target
    (source,) = long_file(setting).iterdir()
    encoded = setting.cache / "spoken_half_hour.mp4"
    with (
        making(encoded) as path,
        av.open(str(source)) as given,
        av.open(str(path), "w", format="mp4") as made,
    ):
        stream = made.add_stream("aac", rate=RATE, layout="stereo")
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE, frame_size=1024)
        for frame in given.decode(audio=0):
            for piece in resampler.resample(frame):
                made.mux(stream.encode(piece))
        made.mux(stream.encode(None))
    with making(target) as path:
        copy_packets([encoded] * (LONG_SECONDS // 1800), path)
    return target


BENCHMARKS = [
    Benchmark(
        name="sound_levels",
        work="levels of 10 minutes of music, ten a second",
        against="a NumPy loop over the windows, both without decoding: its CPU seconds over ours",
        goal=10.0,
        unit="x",
        at_least=True,
        run=_measure("audio_levels", "levels", "numpy"),
    ),
    Benchmark(
        name="sound_beats",
        work="beats of 10 minutes of music",
        against="librosa's beat_track at its own rate, both without decoding: its CPU seconds over ours",
        goal=3.0,
        unit="x",
        at_least=True,
        run=_measure("beats", "beats", "librosa"),
    ),
    Benchmark(
        name="sound_loudness",
        work="EBU R128 loudness, range and true peak of 10 minutes of stereo at 44.1 kHz",
        against="pyloudnorm and SciPy's oversampling, both without decoding: its CPU seconds over ours",
        goal=3.0,
        unit="x",
        at_least=True,
        run=_measure("loudness", "loudness", "pyloudnorm"),
    ),
    Benchmark(
        name="sound_beside_pictures",
        work=f"{', '.join(BESIDE)} beside frames on key frames, 10 minutes of 1080p: time they add",
        against="bare decode of the sound and bare inference on one thread",
        goal=1.0,
        unit="x",
        at_least=False,
        run=beside_pictures,
    ),
    Benchmark(
        name="sound_memory",
        work="transcript, loudness and beats of 3 hours: peak memory of all processes above the model",
        against="-",
        goal=800.0,
        unit="MB",
        at_least=False,
        run=long_memory,
    ),
]
