"""Scenes on labelled files and on films whose cuts, dissolves and fades are known, by both methods.

What `scenes.method=transnetv2` finds is held against TransNetV2's published steps, too.

A boundary is found by a detection at most one frame off, or within a gradual transition; of those found, the
kind of transition must be right. What was set by a look at which of these films, docs/accuracy.md says.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.accuracy.media import present
from benchmarks.accuracy.table import Comparison
from benchmarks.harness import Setting, SkippedError
from framemill.models.registry import resolve
from framemill.models.session import open_model
from framemill.ops.chunks import UInt8Array
from framemill.ops.shots.scenes import Scenes, ScenesOptions
from tests.ops.shots.scene_clips import (
    LABELLED,
    QUICK_FOOTAGE,
    Boundary,
    compose,
    encode,
    f1_score,
    load_footage,
    match,
    read_index,
    read_signals,
    run_op,
)

SEEDS = (700, 701)
KINDS = {"cuts": ("cut",), "cuts, dissolves and fades": ("cut", "dissolve", "fade")}
LENGTHS = (4, 8, 12, 18, 24, 30)  # frames of a fade, at 25 a second
LEAST_F1, LEAST_RIGHT = 0.98, 0.95
# Labelled files that both ways around the network are compared on: with cuts, fades and a dissolve.
ALIKE = (
    *("testvideo.mp4", "fades.mp4", "counter.mp4", "video_big_buck_bunny.mp4", "nasa_13013_hdr.mp4"),
    "bbb_642x642_30fps_vp9.webm",
)
LEAST_ALIKE = 0.95
# From TransNetV2's paper (Soucek and Lokoc, arXiv:2008.04838): windows, how they overlap, and the threshold.
WINDOW, STEP, EDGE, THRESHOLD = 100, 50, 25, 0.5
Clip = tuple[Path, list[Boundary]]


def measure(setting: Setting) -> list[Comparison]:
    media = setting.media / "video"
    present(media, *LABELLED, *QUICK_FOOTAGE)
    try:
        (weights,) = present(setting.models, "transnetv2_w8.onnx")
        peer: Callable[[Path], list[int]] | None = by_network(weights)
        found = [parity([media / name for name in ALIKE], peer, published_steps(weights))]
    except SkippedError:
        peer, found = None, []  # rows of ours stand without it, and name none
    found.append(
        compared("labelled files", [(media / name, list(truth)) for name, truth in LABELLED.items()], None)
    )
    with tempfile.TemporaryDirectory() as folder:
        for group, clips in _films(load_footage(media, QUICK_FOOTAGE), Path(folder)):
            found.append(compared(group, clips, peer))
    return found


def _films(shots: list[UInt8Array], folder: Path) -> Iterator[tuple[str, list[Clip]]]:
    """Groups of films that are rendered here."""
    for group, kinds in KINDS.items():
        clips = []
        for seed in SEEDS:
            frames, truth = compose(shots, 8, seed, kinds)
            clips.append((folder / f"{len(kinds)}_{seed}.mp4", truth))
            encode(clips[-1][0], frames)
        yield f"films of {group}", clips
    for group, join in (("even fades", even), ("ffmpeg's `fadeblack` and `fadewhite`", uneven)):
        clips = []
        for level in (0, 255):
            frames, truth = fades(shots, join, level, SEEDS[0] + level)
            clips.append((folder / f"{join.__name__}_{level}.mp4", truth))
            encode(clips[-1][0], frames)
        yield f"films of {group}, {LENGTHS[0]} to {LENGTHS[-1]} frames", clips


def fades(
    shots: Sequence[UInt8Array],
    join: Callable[[UInt8Array, UInt8Array, int], UInt8Array],
    level: int,
    seed: int,
) -> tuple[list[UInt8Array], list[Boundary]]:
    """Frames and boundaries of a film whose shots are joined through a colour, one join for each length.

    Args:
        join: from the last frames of one shot, the first of the next, uint8 [n, h, w, 3] each, and the level
            of the colour to the n frames between.
    """
    rng = random.Random(seed)
    frames: list[UInt8Array] = []
    truth: list[Boundary] = []
    before = -1
    for length in (0, *LENGTHS):
        which = rng.choice([one for one in range(len(shots)) if one != before])
        before = which
        whole = np.concatenate([shots[which], shots[which][::-1]])
        shot = list(whole[rng.randrange(len(whole) // 2) :][: 40 + 2 * max(LENGTHS)])
        if length:
            between = join(np.stack(frames[-length:]), np.stack(shot[:length]), level)
            truth.append(Boundary(len(frames) - length, len(frames) - 1, "fade"))
            frames[-length:], shot = list(between), shot[length:]
        frames += shot
    return frames, truth


def even(old: UInt8Array, new: UInt8Array, level: int) -> UInt8Array:
    """As editors fade: half of the time out, half in, at an even pace."""
    count, middle = len(old), len(old) // 2
    out = [level + (old[i] - float(level)) * (1 - (i + 1) / middle) for i in range(middle)]
    back = [
        level + (new[i] - float(level)) * (i - middle + 1) / (count - middle) for i in range(middle, count)
    ]
    frames: UInt8Array = np.rint(np.stack(out + back)).astype(np.uint8)
    return frames


def uneven(old: UInt8Array, new: UInt8Array, level: int) -> UInt8Array:
    """As ffmpeg's `xfade` does: out in a fifth of the time, in during the rest, and both mixed."""
    found = []
    for i, (before, after) in enumerate(zip(old, new, strict=True)):
        left = 1 - i / len(old)
        going = level + (before - float(level)) * _smooth(0.8, 1, left)
        coming = level + (after - float(level)) * (1 - _smooth(0.2, 1, left))
        found.append(left * going + (1 - left) * coming)
    frames: UInt8Array = np.rint(np.stack(found)).astype(np.uint8)
    return frames


def _smooth(low: float, high: float, at: float) -> float:
    share = min(max((at - low) / (high - low), 0.0), 1.0)
    return share * share * (3 - 2 * share)


def compared(group: str, clips: Sequence[Clip], peer: Callable[[Path], list[int]] | None) -> Comparison:
    """The row of some clips with known boundaries."""
    op = Scenes(ScenesOptions(), {})
    ours, theirs = np.zeros(3, int), np.zeros(3, int)
    num_right = num_found = 0
    for path, truth in clips:
        index = read_index(path)
        rows = run_op(op, index, read_signals(path, index, None))[1:]
        ours += match([row["start_frame"] for row in rows], truth)
        for boundary in truth:
            near = [r for r in rows if boundary.first - 1 <= r["start_frame"] <= boundary.last + 1]
            num_found += bool(near)
            num_right += bool(near) and near[0]["transition"] == boundary.kind
        if peer is not None:
            theirs += match(peer(path), truth)
    score, right = f1_score(*ours.tolist()), num_right / max(1, num_found)
    beside = "" if peer is None else f"; by transnetv2: F1 {f1_score(*theirs.tolist()):.3f}"
    return Comparison(
        family="scenes",
        reference="known boundaries" + ("" if peer is None else ", the method transnetv2 beside"),
        compared=f"`scenes`, {group}, {len(clips)} files",
        num_rows=sum(len(truth) for _, truth in clips),
        figure=f"F1 {score:.3f}, {ours[1]} false, {ours[2]} missed; kind right {right:.1%}{beside}",
        goal=f"F1 at least {LEAST_F1}, kind right on {LEAST_RIGHT:.0%}",
        met=score >= LEAST_F1 and right >= LEAST_RIGHT,
    )


def by_network(path: Path) -> Callable[[Path], list[int]]:
    """First frames of shots by `scenes.method=transnetv2`."""
    model, _ = open_model(resolve("shot_boundaries", path.stem), path, 1, "cpu")
    op = Scenes(ScenesOptions(method="transnetv2"), {"shot_boundaries": model})

    def starts(clip: Path) -> list[int]:
        index = read_index(clip)
        return [row["start_frame"] for row in run_op(op, index, read_signals(clip, index, None))[1:]]

    return starts


def parity(
    clips: Sequence[Path], ours: Callable[[Path], list[int]], theirs: Callable[[Path], list[int]]
) -> Comparison:
    """How many boundaries two ways around one network share, to a frame."""
    counts = np.zeros(3, int)
    for clip in clips:
        counts += match(ours(clip), [Boundary(at, at, "cut") for at in theirs(clip)])
    share = f1_score(*counts.tolist())
    return Comparison(
        family="transnetv2",
        reference="TransNetV2's published steps around the same network, on frames in RGB",
        compared=f"`scenes` by transnetv2_w8, {len(clips)} files",
        num_rows=int(counts[0] + counts[2]),
        figure=f"{counts[0]} boundaries of both within a frame; {counts[1]} alone here, {counts[2]} there",
        goal=f"{LEAST_ALIKE:.0%} of both",
        met=share >= LEAST_ALIKE,
    )


def published_steps(path: Path) -> Callable[[Path], list[int]]:
    """First frames of shots by TransNetV2."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def starts(clip: Path) -> list[int]:
        small: list[UInt8Array] = []
        with av.open(str(clip)) as container:
            for frame in container.decode(video=0):
                pixels = cv2.resize(frame.to_ndarray(format="rgb24"), (48, 27), interpolation=cv2.INTER_AREA)
                small.append(np.asarray(pixels, np.uint8))
        after = EDGE + STEP - (len(small) % STEP or STEP)
        padded = np.stack([small[0]] * EDGE + small + [small[-1]] * after)
        likely = []
        for start in range(0, len(padded) - WINDOW + 1, STEP):
            single = session.run(["single"], {"frames": padded[None, start : start + WINDOW]})[0]
            likely.append(np.asarray(single)[0, EDGE:-EDGE])
        cut = np.concatenate(likely)[: len(small)] > THRESHOLD
        # A shot begins behind a run of such frames.
        return [int(at) + 1 for at in np.flatnonzero(cut[:-1] & ~cut[1:])]

    return starts
