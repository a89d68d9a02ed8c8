"""How near what each frame shows is.

Depth Anything V2: Yang et al., arXiv:2406.09414. It tells inverse distances up to a scale and a shift of
their own for each picture: what is nearer than something else, and not how many metres off it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import Float32Array, Frames, UInt8Array
from framemill.ops.columns import FRAME_COLUMNS, column
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.framing import frame_pictures
from framemill.ops.pixels.model_input import planes

FAMILY = "depth_anything"
SIZE = (518, 518)  # width and height that all of its networks were trained with
PATCH = 14  # sides of the network's pictures are multiples of that of its patches
# Near and far are those of the nearest and the farthest places but a few, which single pixels move.
NEAR, FAR = 0.98, 0.02
_INPUT = "pixel_values"
# The longer side of a picture is at most so many times that of the entry: shapes beyond that are squeezed.
_LONGEST = 4
# Frames prepared at once where the model takes one at a time.
_SLICE = 4
_MAP_QUALITY = 90  # of JPEG; at 75 blocks show in even slopes


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthOptions:
    """Options of `depth`.

    Attributes:
        map_side: longer side of the map in pixels, 16 to 1024; 0 leaves maps out.
    """

    map_side: int = 256

    def __post_init__(self) -> None:
        if self.map_side and not 16 <= self.map_side <= 1024:
            raise UsageError(f"depth.map_side is {self.map_side}; it must be 16 to 1024, or 0 for no maps")


class Depth(FrameOp):
    """One row a frame."""

    name = "depth"
    models = ("depth",)
    on_device = True
    Options = DepthOptions
    options: DepthOptions
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column(
                "near",
                pa.float32(),
                "inverse distance that 2% of the frame exceed, without a unit: larger is nearer; the "
                "scale is the frame's own, so compare it with the two beside alone",
            ),
            column("far", pa.float32(), "inverse distance that 98% of the frame exceed, on that scale"),
            column("median", pa.float32(), "inverse distance of the middle of all, on that scale"),
            column(
                "map",
                pa.binary(),
                "JPEG in shades of grey, white at `near` and black at `far`; null with `map_side` 0",
                nullable=True,
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        self._entry = entry = models["depth"].entry
        if entry.family != FAMILY:
            raise ModelError(f"depth: model {entry.name} is of family {entry.family!r}; add one of {FAMILY}")
        self._size = entry.input_size or SIZE

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        size = picture_size((frames.width, frames.height), self._size)
        pictures = frame_pictures(frames, size, None)
        step = max(self.loaded["depth"].runner.max_batch, _SLICE)
        near: list[float] = []
        far: list[float] = []
        median: list[float] = []
        maps: list[bytes | None] = []
        for start in range(0, len(frames), step):
            found = self._look(pictures[start : min(start + step, len(frames)), ...])
            quantiles = np.quantile(found, [FAR, 0.5, NEAR], axis=(1, 2)).astype(np.float32)
            for values, value in zip((far, median, near), quantiles, strict=True):
                values += value.tolist()
            maps += [self._map(*place) for place in zip(found, near[start:], far[start:], strict=True)]
        columns = [
            pa.array(frames.frame_index),
            pa.array(frames.pts_seconds),
            *(pa.array(values, pa.float32()) for values in (near, far, median)),
            pa.array(maps, pa.binary()),
        ]
        return pa.table(columns, schema=self.schema)

    def _look(self, pictures: UInt8Array) -> Float32Array:
        """Inverse distances, float32 [n, height, width], of uint8 [n, height, width, 3] RGB."""
        entry, wanted = self._entry, pictures.shape[:3]
        outputs = self.loaded["depth"].runner.run(
            {_INPUT: planes(pictures, entry.colour, entry.mean, entry.scale)}
        )
        found: Float32Array = next(iter(outputs.values()))
        if len(outputs) != 1 or found.shape != wanted:
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"depth: model {entry.name} gives {shapes} for {wanted[0]} frames of {wanted[2]} x "
                f"{wanted[1]} pixels, but the family {FAMILY} gives one output {list(wanted)}; add another "
                "model"
            )
        if not np.isfinite(found).all():
            raise ModelError(
                f"depth: model {entry.name} gives values that are no numbers; require another provider, or "
                "compute in fp32"
            )
        return found

    def _map(self, depth: Float32Array, near: float, far: float) -> bytes | None:
        side = self.options.map_side
        if not side:
            return None
        height, width = depth.shape
        scale = side / max(height, width)
        # Where all is equally far there is nothing to tell apart.
        shade = (depth - far) * (255 / (near - far)) if near > far else np.zeros_like(depth)
        small = cv2.resize(
            np.clip(shade, 0, 255).astype(np.uint8),
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        )
        return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _MAP_QUALITY])[1].tobytes()


def picture_size(display: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the pictures for frames of `display` = (width, height).

    As the authors choose it: in the frame's own shape, with the shorter side as long as that of `size`, and
    sides that are multiples of `PATCH`.
    """
    scale = max(size[0] / display[0], size[1] / display[1])
    longest = _LONGEST * max(size) // PATCH
    width, height = (PATCH * min(max(1, round(side * scale / PATCH)), longest) for side in display)
    return width, height
