"""Clips with known shot boundaries, and a plain PyAV reader of `Signals` to feed the operation with.

Shots are spans of real footage that hold no cut, joined by cuts, dissolves and fades; flashes and fast
pans are mixed in as distractors. Everything is encoded by libx264 with its own defaults (key frames at
most 250 apart, at scene cuts otherwise), as a user's files would be.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import FrameIndex, Int64Array, ShardInfo, Signals, UInt8Array
from framemill.ops.operation import Op, Partial

CLIP_SIZE = (320, 180)
CLIP_FPS = 25

# File -> spans of frames, half-open, that were looked at and hold one continuous shot each.
FOOTAGE: dict[str, tuple[tuple[int, int], ...]] = {
    "bottle-detection.mp4": ((0, 400),),
    "car-detection.mp4": ((0, 377),),
    "one-by-one-person-detection.mp4": ((0, 400),),
    "dog_eating_854132.mp4": ((0, 345),),
    "bigbuckbunny.mp4": ((0, 132),),
    "video_big_buck_bunny.mp4": ((0, 44), (44, 137), (137, 240)),
    "sample.avi": ((18, 96),),
    "nasa_13013_hdr.mp4": ((0, 124), (206, 325)),
    "testvideo.mp4": ((60, 175), (250, 330), (425, 525), (565, 660)),
    "internal_180_rotated.mp4": ((0, 149),),
    "sample_h265.mp4": ((0, 120),),
}
QUICK_FOOTAGE = ("video_big_buck_bunny.mp4", "car-detection.mp4", "dog_eating_854132.mp4", "sample.avi")


@dataclass(frozen=True)
class Boundary:
    """A known change of shot: the frames from `first` to `last` inclusive are all right answers."""

    first: int
    last: int
    kind: str


# Files whose boundaries were looked at, frame by frame. shared/media's README names those of testvideo at 30,
# 180 and 394 and of fades; the fade at 211 belongs to the cut to black at 180.
LABELLED: dict[str, tuple[Boundary, ...]] = {
    "testvideo.mp4": (
        Boundary(30, 30, "cut"),
        Boundary(180, 180, "cut"),
        Boundary(393, 394, "fade"),
        Boundary(532, 557, "dissolve"),
    ),
    "fades.mp4": (Boundary(84, 84, "fade"), Boundary(167, 167, "fade")),
    "counter.mp4": (Boundary(10, 10, "cut"), Boundary(20, 20, "cut")),
    "video_big_buck_bunny.mp4": (Boundary(44, 44, "cut"), Boundary(137, 137, "cut")),
    "nasa_13013_hdr.mp4": (Boundary(125, 150, "dissolve"), Boundary(202, 202, "cut")),
    "bbb_642x642_30fps_vp9.webm": (Boundary(6, 6, "cut"),),
    "bottle-detection.mp4": (),
    "car-detection.mp4": (),
    "one-by-one-person-detection.mp4": (),
    "dog_eating_854132.mp4": (),
    "bigbuckbunny.mp4": (),
    "internal_180_rotated.mp4": (),
    "sample.avi": (),
    "pose_squats.mp4": (),
}


def load_footage(folder: Path, names: Sequence[str] = tuple(FOOTAGE)) -> list[UInt8Array]:
    """One RGB array [n, 180, 320, 3] per cut-free span of the named files."""
    shots: list[UInt8Array] = []
    for name in names:
        spans = FOOTAGE[name]
        pictures: list[UInt8Array] = []
        with av.open(str(folder / name)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                if len(pictures) >= spans[-1][1]:
                    break
                small = frame.reformat(*CLIP_SIZE, format="rgb24", interpolation="AREA")
                pictures.append(small.to_ndarray())
        shots += [np.stack(pictures[start:end]) for start, end in spans]
    return shots


def _pan(picture: UInt8Array, length: int, rng: random.Random) -> UInt8Array:
    """A fast camera sweep over one still picture."""
    width, height = CLIP_SIZE
    wide = cv2.resize(picture, (width * 3, height * 3), interpolation=cv2.INTER_CUBIC)
    x, y = rng.uniform(0, 2 * width), rng.uniform(0, 2 * height)
    speed_x, speed_y = rng.choice((-1, 1)) * rng.uniform(8, 24), rng.choice((-1, 1)) * rng.uniform(0, 6)
    out = []
    for _ in range(length):
        left, top = round(x), round(y)
        out.append(wide[top : top + height, left : left + width])
        if not 0 <= x + speed_x <= 2 * width:
            speed_x = -speed_x
        if not 0 <= y + speed_y <= 2 * height:
            speed_y = -speed_y
        x, y = x + speed_x, y + speed_y
    return np.stack(out)


def _shot(shots: list[UInt8Array], which: int, length: int, rng: random.Random, distract: bool) -> UInt8Array:
    source = shots[which]
    start = rng.randrange(max(1, len(source) - length))
    if distract and rng.random() < 0.2:
        return _pan(source[start], length, rng)
    taken = source[start : start + length].copy()
    if len(taken) < length:  # run back and forth rather than jump
        bounce = np.concatenate([source, source[::-1]])
        taken = np.concatenate([bounce] * (length // len(bounce) + 1))[:length].copy()
    if distract and length >= 40 and rng.random() < 0.35:
        at, lasts = rng.randrange(12, length - 15), rng.choice((1, 2, 3))
        lit = taken[at : at + lasts].astype(np.float32)
        taken[at : at + lasts] = np.clip(lit * 0.35 + rng.uniform(120, 165), 0, 255).astype(np.uint8)
    return taken


def _blend(a: npt.NDArray[Any], b: npt.NDArray[Any], weight: float) -> UInt8Array:
    return np.rint(a * (1 - weight) + b * weight).astype(np.uint8)


def compose(
    shots: list[UInt8Array], num_shots: int, seed: int, kinds: Sequence[str], distract: bool = True
) -> tuple[list[UInt8Array], list[Boundary]]:
    """Frames and boundaries of a film of `num_shots` random shots joined by transitions out of `kinds`.

    A cut is right at its first new frame, a dissolve anywhere from its first mixed frame to its last, a
    fade at the start of the rise out of black or white (where shared/media's README puts it as well).
    """
    rng = random.Random(seed)
    frames: list[UInt8Array] = []
    truth: list[Boundary] = []
    last_which = -1
    for number in range(num_shots):
        which = rng.choice([i for i in range(len(shots)) if i != last_which])
        last_which = which
        kind = rng.choice(kinds) if number else "start"
        room = len(frames) - (truth[-1].last if truth else 0) - 12  # what a transition may take
        if kind in ("dissolve", "fade") and room < 30:
            kind = "cut"
        length = rng.choice((rng.randrange(12, 25), rng.randrange(25, 70), rng.randrange(60, 140)))
        if kind in ("dissolve", "fade") or number == 0:
            length = max(length, 60)
        shot = list(_shot(shots, which, length, rng, distract))
        if kind == "cut":
            truth.append(Boundary(len(frames), len(frames), "cut"))
        elif kind == "dissolve":
            steps = rng.randrange(8, 30)
            tail = frames[-steps:]
            mixed = [_blend(tail[i], shot[i], (i + 1) / (steps + 1)) for i in range(steps)]
            truth.append(Boundary(len(frames) - steps, len(frames) - 1, "dissolve"))
            frames[-steps:] = mixed
            shot = shot[steps:]
        elif kind == "fade":
            colour = np.full_like(shot[0], 255 if rng.random() < 0.25 else 0)
            out_steps, hold, in_steps = rng.randrange(6, 20), rng.randrange(1, 12), rng.randrange(6, 20)
            for i in range(out_steps):
                at = len(frames) - out_steps + i
                frames[at] = _blend(frames[at], colour, (i + 1) / (out_steps + 1))
            frames += [colour] * hold
            truth.append(Boundary(len(frames) - 1, len(frames), "fade"))
            for i in range(in_steps):
                shot[i] = _blend(colour, shot[i], (i + 1) / (in_steps + 1))
        frames += shot
    return frames, truth


def encode(path: Path, frames: Sequence[UInt8Array], options: dict[str, str] | None = None) -> None:
    """Writes RGB frames as H.264; without options libx264's own defaults hold (CRF 23, medium)."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(CLIP_FPS), options=options or {"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = 250
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def read_index(path: Path) -> FrameIndex:
    """The presented frames, from the packets alone."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rows = sorted(
            (p.pts, p.is_keyframe, p.size) for p in container.demux(stream) if p.size and p.pts is not None
        )
        base = float(stream.time_base or 0)
    pts = np.array([r[0] for r in rows], np.int64)
    return FrameIndex(
        pts=pts,
        pts_seconds=(pts - (pts[0] if len(pts) else 0)) * base,
        is_key=np.array([r[1] for r in rows], np.bool_),
        packet_bytes=np.array([r[2] for r in rows], np.int64),
    )


def shard_of(
    index: FrameIndex, start: int = 0, end: int | None = None, at: int = 0, of: int = 1
) -> ShardInfo:
    """A shard over frames [start, end) of the source behind `index`."""
    end = len(index) if end is None else end
    duration = float(index.pts_seconds[-1]) + 0.04 if len(index) else 0.0
    return ShardInfo(index, start, end, at, of, *CLIP_SIZE, duration)


def _thin(plane: UInt8Array, limit: int) -> UInt8Array:
    step = 1
    while -(-max(plane.shape) // step) > limit:
        step *= 2
    return np.ascontiguousarray(plane[::step, ::step])


def read_signals(
    path: Path, index: FrameIndex, chosen: Int64Array | None, size: int = 32
) -> Iterator[Signals]:
    """Chunks of `size` frames of a whole source, or of the frames in `chosen`.

    What is chosen is decoded from its key frame onwards, as the real reader does; nothing else is.
    """
    rows: list[tuple[int, UInt8Array, UInt8Array, UInt8Array]] = []
    for at, frame in _decode(path, index, chosen):
        frame = frame.reformat(format="yuv420p")
        height, width = frame.height, frame.width
        planes = []
        for number, plane in enumerate(frame.planes):
            raw = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            planes.append(_thin(raw, 128 if number else 256))
        assert planes[0].shape <= (height, width)
        rows.append((at, planes[0], planes[1], planes[2]))
        if len(rows) == size:
            yield _signals(index, rows)
            rows = []
    if rows:
        yield _signals(index, rows)


def _decode(path: Path, index: FrameIndex, chosen: Int64Array | None) -> Iterator[tuple[int, Any]]:
    where = {int(p): i for i, p in enumerate(index.pts)}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if chosen is None:
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                if frame.pts in where:
                    yield where[frame.pts], frame
            return
        keys = np.flatnonzero(index.is_key)
        groups = np.searchsorted(keys, chosen, side="right") - 1
        for group in np.unique(groups):
            wanted = chosen[groups == group]
            container.seek(int(index.pts[keys[group]]), stream=stream)
            for frame in container.decode(stream):
                at = where.get(frame.pts, -1)
                if at in wanted:
                    yield at, frame
                if at >= wanted[-1]:
                    break


def _signals(index: FrameIndex, rows: list[tuple[int, UInt8Array, UInt8Array, UInt8Array]]) -> Signals:
    at = np.array([r[0] for r in rows], np.int64)
    planes = [np.stack([r[i] for r in rows]) for i in (1, 2, 3)]
    return Signals(at, index.pts_seconds[at], index.is_key[at], *planes)


def decoded_share(index: FrameIndex, chosen: Int64Array | None) -> float:
    """Which part of the frames a decoder must go through to deliver `chosen`."""
    if chosen is None:
        return 1.0
    keys = np.flatnonzero(index.is_key)
    groups = np.searchsorted(keys, chosen, side="right") - 1
    return sum(int(chosen[groups == g][-1] - keys[g]) + 1 for g in np.unique(groups)) / len(index)


def slice_signals(signals: Signals, start: int, end: int) -> Signals:
    """Rows [start, end) of `signals`."""
    return Signals(*(getattr(signals, name)[start:end] for name in Signals.__slots__))


def run_op(op: Op, index: FrameIndex, chunks: Iterator[Signals] | Sequence[Signals]) -> list[dict[str, Any]]:
    """The rows of a source processed in one piece, with early stop honoured."""
    extractor = op.open(shard_of(index))
    for chunk in chunks:
        extractor.feed(chunk, {})
        if extractor.done:
            break
    partial: Partial = extractor.finish()
    return op.merge([partial]).to_pylist()


def match(found: Sequence[int], truth: Sequence[Boundary], tolerance: int = 1) -> tuple[int, int, int]:
    """(hits, false alarms, misses): each boundary takes one detection within `tolerance` frames of it."""
    free = sorted(found)
    hits = 0
    for boundary in truth:
        near = [f for f in free if boundary.first - tolerance <= f <= boundary.last + tolerance]
        if near:
            free.remove(near[0])
            hits += 1
    return hits, len(found) - hits, len(truth) - hits


def f1_score(hits: int, false_alarms: int, misses: int) -> float:
    """Harmonic mean of precision and recall; 1 where there is nothing to find and nothing was found."""
    total = 2 * hits + false_alarms + misses
    return 2 * hits / total if total else 1.0
