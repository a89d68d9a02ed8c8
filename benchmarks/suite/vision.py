"""Operations on pictures: what one decode saves, faces beside a plain script, duplicates, small faces."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, read_table
from benchmarks.harness import BenchmarkError, Command, Setting, SkippedError, run_in_turn, run_once, summary
from benchmarks.inputs import copy_packets, making, video
from benchmarks.suite.runs import rows_of

VISION = (
    "faces", "emotions", "face_embeddings", "objects", "poses", "text", "labels", "image_embeddings",
    "tracks", "quality", "stretches", "composition", "editability",
)  # fmt: skip
CLIPS = (
    "car-detection.mp4", "bottle-detection.mp4", "pose_squats.mp4", "dog_eating_854132.mp4", "counter.mp4",
    "internal_180_rotated.mp4",
)  # fmt: skip
HEAD_POSE = "gif/head-pose-face-detection-female-and-male.gif"
NUM_CLIPS, CLIP_SECONDS = 40, 4
STEP = "0.25"
NUM_HASHES, MAX_BITS, MAX_BYTES = 1_000_000, 10, 2_000_000_000
# Where the pictures of both sides differ by rounding, a face may be just above or below the least score.
SAME_FACES, SAME_VECTOR, SAME_PIXELS = 0.99, 0.98, 3.0


def _weights(setting: Setting, *names: str) -> None:
    if missing := [name for name in names if not (setting.models / f"{name}.onnx").is_file()]:
        raise SkippedError(f"needs {', '.join(missing)} in the folder given by --models")


def one_decode(setting: Setting) -> Measured:
    """Decode seconds that one run saves, of those that separate runs spend more than once."""
    _weights(setting, "yolox_nano", "ultraface_rfb_320", "mobilefacenet", "blazepose_landmark_lite")
    sources = [video(setting, name) for name in CLIPS]
    read: dict[str, list[float]] = defaultdict(list)
    together = setting.scratch("vision_together")
    apart = {op: setting.scratch(f"vision_{op}") for op in VISION}

    def noted(name: str) -> Callable[[str], None]:
        def check(stdout: str) -> None:
            # One thread, so that reading and computing take turns and `read` is decoding alone.
            read[name].append(json.loads(stdout)["seconds"]["read"])
            if name in VISION and rows_of(together, name) != rows_of(apart[name], name):
                raise BenchmarkError(f"the rows of {name} differ between one run and {len(VISION)}")

        return check

    policy = ("--sample", "every:1", "--threads", "1")
    # Tracks follow objects alone where faces are not asked for.
    named = {op: op if op != "tracks" else "objects,faces,tracks" for op in VISION}
    one = extract(
        setting, sources, together, "--ops", ",".join(VISION), *policy, expect=VISION, check=noted("together")
    )
    many = [
        extract(setting, sources, apart[op], "--ops", named[op], *policy, expect=[op], check=noted(op))
        for op in VISION
    ]
    once, one_by_one = run_in_turn(setting.runs, one, many)
    values = []
    for turn in range(1, setting.runs + 1):
        spent = [read[op][turn] for op in VISION]
        repeated = sum(spent) - max(spent)
        values.append((sum(spent) - read["together"][turn]) / repeated)
    return Measured(
        values,
        {
            "one_run": summary(once),
            "separate_runs": summary(one_by_one),
            "decode_seconds_one_run": read["together"][1:],
            "decode_seconds_separate": [
                sum(read[op][t] for op in VISION) for t in range(1, setting.runs + 1)
            ],
            "time_ratio": [b.seconds / a.seconds for a, b in zip(once, one_by_one, strict=True)],
        },
    )


def _face_clips(setting: Setting) -> Path:
    """A folder of clips that show one or two people, each with bytes of its own."""
    folder = setting.cache / f"faces_{NUM_CLIPS}"
    if folder.exists():
        return folder
    gif = setting.media / HEAD_POSE
    if not gif.is_file():
        raise SkippedError(f"needs {HEAD_POSE} in the folder given by --media")
    with making(folder) as unfinished:
        unfinished.mkdir()
        pair = setting.cache / "head_pose.mp4"
        _encoded(gif, pair)
        for k in range(NUM_CLIPS):
            source = (pair, video(setting, "pose_squats.mp4"))[k % 2]
            copy_packets([source], unfinished / f"{k:03d}.mp4", seconds=CLIP_SECONDS, title=str(k))
    return folder


def _encoded(source: Path, target: Path) -> None:
    """The pictures of a clip as H.264 by x264's defaults, at 1080p as cameras give them."""
    with av.open(str(source)) as given, making(target) as path, av.open(str(path), "w", format="mp4") as made:
        stream = given.streams.video[0]
        picture = made.add_stream("libx264", rate=stream.average_rate)
        picture.width, picture.height, picture.pix_fmt = 1920, 1080, "yuv420p"
        picture.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709.value
        base = 1 / Fraction(stream.average_rate or 12)
        for index, frame in enumerate(given.decode(stream)):
            pixels = cv2.resize(frame.to_ndarray(format="rgb24"), (1920, 1080), interpolation=cv2.INTER_CUBIC)
            scaled = av.VideoFrame.from_ndarray(np.asarray(pixels, np.uint8), format="rgb24")
            scaled = scaled.reformat(format="yuv420p", dst_colorspace="ITU709")
            scaled.pts, scaled.time_base = index, base
            made.mux(picture.encode(scaled))
        made.mux(picture.encode(None))


def faces_40_clips(setting: Setting) -> Measured:
    """The plain script's time over ours, run by run; both must find the same faces."""
    _weights(setting, "ultraface_rfb_320", "yunet_2022mar", "emotion_mini_xception", "mobilefacenet")
    folder, output = _face_clips(setting), setting.scratch("faces")
    theirs = setting.scratch("faces_plain").with_suffix(".json")
    ops = ("faces", "emotions", "face_embeddings")
    own = extract(
        setting, [folder], output, "--ops", ",".join(("media", *ops)), "--sample", f"every:{STEP}", expect=ops
    )
    peer: list[str | Path] = [sys.executable, "-m", "benchmarks.peers.faces_one_by_one"]
    peer += [setting.models, folder, STEP, theirs]
    shares: list[float] = []
    bare: list[float] = []

    def same(stdout: str) -> None:
        bare.append(json.loads(stdout)["bare_seconds"])
        shares.append(_same_faces(output, json.loads(theirs.read_text(encoding="utf-8"))))
        if shares[-1] < SAME_FACES:
            raise BenchmarkError(f"{shares[-1]:.1%} of the faces are the same, {SAME_FACES:.0%} wanted")

    ours, plain = run_in_turn(setting.runs, own, Command(arguments=peer, check=same))
    return Measured(
        [b.seconds / a.seconds for a, b in zip(ours, plain, strict=True)],
        {"framemill": summary(ours), "plain_script": summary(plain), "same_faces": min(shares)},
        [seconds / a.cpu_seconds for seconds, a in zip(bare[1:], ours, strict=True)],
    )


def _same_faces(output: Path, theirs: dict[str, list[list[Any]]]) -> float:
    """Share of the script's faces that have a row here with the same box, emotion and vector."""
    uris = {row["source_id"]: Path(row["uri"]).name for row in read_table(output, "media").to_pylist()}
    tables = {
        name: {(row["source_id"], row["frame_index"], row["face_index"]): row for row in rows.to_pylist()}
        for name, rows in (
            (name, read_table(output, name)) for name in ("faces", "emotions", "face_embeddings")
        )
    }
    ours = defaultdict(list)
    for key, face in tables["faces"].items():
        vector = tables["face_embeddings"][key]["vector"]
        box = np.array(list(face["box"].values()))
        ours[uris[key[0]], key[1]].append((box, tables["emotions"][key]["label"], np.array(vector)))
    same = total = 0
    for name, rows in theirs.items():
        for frame_index, _, *place, emotion, vector in rows:
            total += 1
            same += any(
                np.abs(box - place).max() <= SAME_PIXELS and label == emotion and one @ vector >= SAME_VECTOR
                for box, label, one in ours[name, frame_index]
            )
    return same / max(total, len(tables["faces"]), 1)


def million_hashes(setting: Setting) -> Measured:
    def all_found(stdout: str) -> None:
        told = json.loads(stdout)
        if told["hashes"] < 0.99 * NUM_HASHES or told["found"] != told["planted"]:
            raise BenchmarkError(f"near copies were missed: {told}")

    arguments = [sys.executable, "-m", "benchmarks.peers.million_hashes", str(NUM_HASHES), str(MAX_BITS)]
    (costs,) = run_in_turn(setting.runs, Command(arguments=arguments, check=all_found))
    if (peak := max(cost.peak_bytes for cost in costs)) > MAX_BYTES:
        raise BenchmarkError(f"{peak / 1e9:.2f} GB of memory, at most {MAX_BYTES / 1e9:.0f} wanted")
    return Measured([cost.seconds for cost in costs], {"framemill": summary(costs), "peak_bytes": peak})


def small_faces(setting: Setting) -> Measured:
    """By how much the gap between one person's likenesses and two people's widens."""
    _weights(setting, "ultraface_rfb_320", "yunet_2022mar", "mobilefacenet")
    if not (setting.media / HEAD_POSE).is_file():
        raise SkippedError(f"needs {HEAD_POSE} in the folder given by --media")
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.peers.small_faces"]
    command += [setting.models, setting.media / HEAD_POSE]
    gaps: list[dict[str, float]] = []
    run_once(Command(arguments=command, check=lambda stdout: gaps.append(json.loads(stdout))))
    return Measured([gaps[0]["full"] - gaps[0]["small"]], gaps[0])


BENCHMARKS = [
    Benchmark(
        name="vision_one_decode",
        work=f"{len(VISION)} operations on pictures in one run, six real clips, every:1, same rows",
        against="the same as separate runs: share of the repeated decode seconds that is saved",
        goal=0.9,
        unit="of 1",
        at_least=True,
        runs=1,
        run=one_decode,
    ),
    Benchmark(
        name="faces_40_clips",
        work=f"faces, emotions and face embeddings of {NUM_CLIPS} clips, every:{STEP}",
        against="a plain script with the same models, one image at a time, same rows: its time over ours",
        goal=1.5,
        unit="x",
        at_least=True,
        runs=3,
        run=faces_40_clips,
    ),
    Benchmark(
        name="million_hashes",
        work="near-duplicates of a million made hashes, 10 bits, under 2 GB",
        against="-",
        goal=60,
        unit="s",
        at_least=False,
        runs=1,
        run=million_hashes,
    ),
    Benchmark(
        name="small_faces",
        work="two people with faces of 60 pixels in a 1080p frame: similarity of one person less that of two",
        against="regions cut from the frame at a quarter of its size: our gap less that one",
        goal=0.2,
        unit="cosine",
        at_least=True,
        run=small_faces,
    ),
]
