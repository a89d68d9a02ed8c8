"""Pictures of stretches of shots, for operations that look at several frames at once, such as video models.

Scenes are known only at the end of a source, when its frames are gone. So the pictures are those that
`frames` stores (its option `images`), and no file is opened for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from framemill.errors import UsageError
from framemill.ops.chunks import UInt8Array


@dataclass(frozen=True, slots=True)
class ShotPictures:
    """Some frames of a stretch of a shot.

    Attributes:
        scene_index: of the shot. start_seconds, end_seconds: of the stretch.
        pictures: uint8 [count, height, width, 3], R G B in 0..255, in time order.
    """

    scene_index: int
    start_seconds: float
    end_seconds: float
    pictures: UInt8Array


def pictures_of_shots(
    scenes: pa.Table,
    frames: pa.Table,
    count: int,
    size: tuple[int, int],
    *,
    seconds: float = math.inf,
    crop: bool = False,
) -> Iterator[ShotPictures]:
    """As many pictures of each stretch of each shot as a network takes, in time order.

    Args:
        scenes, frames: the rows of these operations for one source, in any order.
        count: pictures of each stretch, >= 1, spread evenly and away from its ends; where fewer frames were
            sampled there, some come twice in a row. A stretch without any is left out.
        size: (width, height) of the pictures in pixels.
        seconds: a longer shot is divided into equal stretches of at most this length.
        crop: whether to keep the proportions and cut off what is too wide or too high, instead of stretching.

    Raises:
        UsageError: `frames` holds no pictures.
    """
    if frames["image"].null_count:
        raise UsageError(
            "frames holds no pictures, of which this operation is made: run again with `images`, and with "
            "`retry_failed` where this stands in errors"
        )
    times = frames["pts_seconds"].to_numpy()
    order = np.argsort(times)
    times = times[order]
    for scene in scenes.sort_by("start_seconds").to_pylist():
        start, end = scene["start_seconds"], scene["end_seconds"]
        edges = np.linspace(start, end, max(1, math.ceil((end - start) / seconds)) + 1)
        for first, last in pairwise(edges):
            low, high = np.searchsorted(times, [first, last])
            if low < high:
                places = low + ((np.arange(count) + 0.5) * (high - low) / count).astype(np.int64)
                rows = order[places].tolist()
                decoded = {row: _decode(frames["image"][row].as_py(), size, crop) for row in set(rows)}
                pictures = np.stack([decoded[row] for row in rows])
                yield ShotPictures(scene["scene_index"], float(first), float(last), pictures)


def _decode(jpeg: bytes, size: tuple[int, int], crop: bool) -> UInt8Array:
    import cv2

    coded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert coded is not None, "`frames` wrote it"
    picture = cv2.cvtColor(coded, cv2.COLOR_BGR2RGB)
    if crop:
        height, width = picture.shape[:2]
        scale = min(width / size[0], height / size[1])
        wide, high = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        left, top = (width - wide) // 2, (height - high) // 2
        picture = picture[top : top + high, left : left + wide]
    found: UInt8Array = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return found
