"""Planes of every frame as a camera sees them that moves in a known way, drawn from one large picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from framemill.ops import load_op
from framemill.ops.chunks import ShardInfo, Signals, UInt8Array
from framemill.ops.shots.camera_steps import CameraSteps
from framemill.ops.shots.motion import Motion, MotionOptions
from tests.ops.stand_ins import frame_index

FPS = 25.0
# The frame, and every which of its samples is in a plane, as the readers have it.
WIDTH, HEIGHT, STRIDE = 1280, 720, 8


@dataclass(frozen=True)
class View:
    """Where a camera looks. x, y: pixels to the right and down; zoom: a factor; roll: degrees clockwise."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.4
    roll: float = 0.0


def world(seed: int = 4) -> UInt8Array:
    """Detail of every size, as in nature, four frames large."""
    generator, size = np.random.default_rng(seed), (2 * WIDTH, 2 * HEIGHT)
    layers = [
        cv2.resize(generator.normal(0, 20, (size[1] // n, size[0] // n)), size, interpolation=cv2.INTER_CUBIC)
        for n in (8, 16, 32, 64, 128, 256)
    ]
    return np.clip(np.sum(layers, axis=0) + 128, 0, 255).astype(np.uint8)


WORLD = world()


def seen(view: View, stride: int = STRIDE, picture: UInt8Array = WORLD) -> UInt8Array:
    """Every so many samples of the frame that the camera sees."""
    angle = math.radians(view.roll)
    cos, sin = math.cos(angle) / view.zoom, math.sin(angle) / view.zoom
    x, y = WIDTH + view.x, HEIGHT + view.y
    place = np.array(
        [
            [cos * stride, -sin * stride, x - cos * WIDTH / 2 + sin * HEIGHT / 2],
            [sin * stride, cos * stride, y - sin * WIDTH / 2 - cos * HEIGHT / 2],
        ],
        np.float32,
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (WIDTH // stride, HEIGHT // stride)
    return np.asarray(cv2.warpAffine(picture, place, size, flags=flags, borderMode=cv2.BORDER_REFLECT))


def film(path: Callable[[int], View], count: int = 50, noise: float = 2.0, seed: int = 0) -> UInt8Array:
    """Planes uint8 [count, h, w] with the noise of a sensor, in levels."""
    generator = np.random.default_rng(seed)
    planes = np.stack([seen(path(n)) for n in range(count)])
    return np.clip(planes + generator.normal(0, noise, planes.shape), 0, 255).astype(np.uint8)


def held_by_hand(size: float, seed: int, count: int = 50) -> Callable[[int], View]:
    """A path that trembles at 0.4 to 5.5 times a second by so many pixels of the frame, root mean square."""
    generator, seconds = np.random.default_rng(seed), np.arange(count) / FPS
    rates = np.array([0.4, 0.7, 1.1, 1.7, 2.6, 3.9, 5.5])
    ways = []
    for _ in range(4):
        sizes, phases = rates**-0.8 * generator.uniform(0.5, 1.5, 7), generator.uniform(0, 2 * np.pi, 7)
        waves = sizes[:, None] * np.sin(2 * np.pi * rates[:, None] * seconds + phases[:, None])
        ways.append(size * waves.sum(axis=0) / np.sqrt((sizes**2).sum() / 2))
    x, y, growth, roll = ways
    return lambda n: View(x[n], 0.8 * y[n], 1.4 * math.exp(0.0005 * growth[n]), 0.03 * roll[n])


def steps_of(luma: UInt8Array, borders: Sequence[int] = (), chunk: int = 20, **info: Any) -> pa.Table:
    """Rows of `camera_steps`, of a source that is read in shards between these borders."""
    op, count = CameraSteps(CameraSteps.Options(), {}), len(luma)
    edges, index, partials = [0, *borders, count], frame_index(count, FPS), []
    size = info.pop("size", (WIDTH, HEIGHT))
    for number, (start, end) in enumerate(pairwise(edges)):
        shard = ShardInfo(index, start, end, number, len(edges) - 1, *size, count / FPS, **info)
        extractor = op.open(shard)
        # Lead-in and lead-out are fed too, and must not count.
        for first in range(max(0, start - 3), min(count, end + 3), chunk):
            at = np.arange(first, min(first + chunk, count, end + 3))
            grey = np.full((len(at), 2, 2), 128, np.uint8)
            extractor.feed(Signals(at, at / FPS, at % 5 == 0, luma[at], grey, grey), {})
        partials.append(extractor.finish())
    return op.merge(partials)


def motion_of(
    luma: UInt8Array, cuts: Sequence[int] = (), transition: str = "cut", **options: float
) -> list[dict[str, Any]]:
    """Rows of `motion`, of shots between these cuts."""
    edges = [0, *cuts, len(luma)]
    shots = [
        {"scene_index": n, "start_seconds": start / FPS, "end_seconds": end / FPS, "start_frame": start,
         "end_frame": end, "transition": transition if n else "start", "score": 0.0}
        for n, (start, end) in enumerate(pairwise(edges))
    ]  # fmt: skip
    source = ShardInfo(frame_index(len(luma), FPS), 0, len(luma), 0, 1, WIDTH, HEIGHT, len(luma) / FPS)
    scenes = pa.Table.from_pylist(shots, load_op("scenes").schema)
    table = Motion(MotionOptions(**options), {}).combine(
        {"scenes": scenes, "camera_steps": steps_of(luma)}, source
    )
    table.validate(full=True)
    assert table.schema.equals(Motion.schema, check_metadata=True)
    found: list[dict[str, Any]] = table.to_pylist()
    return found
