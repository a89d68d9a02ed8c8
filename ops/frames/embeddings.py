"""Embeddings of frames: frames with similar content have similar vectors.

CLIP: Radford et al., arXiv:2103.00020. SigLIP: Zhai et al., arXiv:2303.15343, SigLIP 2: Tschannen et al.,
arXiv:2502.14786. DINOv2: Oquab et al., arXiv:2304.07193, DINOv3: Siméoni et al., arXiv:2508.10104.
MobileNet: Howard et al., arXiv:1704.04861. The first three have a text tower beside them, whose vectors
compare with those of pictures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.entry import ModelEntry
from framemill.models.registry import all_entries
from framemill.models.runner import Model
from framemill.ops.at_first_use import pc
from framemill.ops.chunks import Float32Array, Frames, UInt8Array
from framemill.ops.columns import FRAME_COLUMNS, column, vector_column
from framemill.ops.operation import FrameOp
from framemill.ops.pixels.framing import frame_pictures
from framemill.ops.pixels.model_input import planes

# The operation, its table and its model role.
VECTORS = "image_embeddings"
_INPUT = "pixel_values"


@dataclass(frozen=True, slots=True)
class _Family:
    """How a family prepares pictures, as its authors do, and which output is the vector.

    Attributes:
        centre: as in `frame_pictures`. as_bytes: takes uint8 [n, h, w, 3] instead of normalised planes.
        output: name of the vector's output where there are several.
        first_token: whether the vector is else the first of `last_hidden_state`.
    """

    centre: float | None
    as_bytes: bool = False
    output: str = ""
    first_token: bool = False


FAMILIES: Mapping[str, _Family] = {
    "mobilenet_embed": _Family(None, as_bytes=True),
    "clip": _Family(1.0, output="image_embeds"),
    "siglip": _Family(None, output="pooler_output"),
    "dinov2": _Family(224 / 256, output="pooler_output", first_token=True),
    "dinov3": _Family(None, output="pooler_output", first_token=True),
}


class ImageEmbeddings(FrameOp):
    """One row a frame."""

    name = "image_embeddings"
    on_device = True
    models = ("image_embeddings",)
    schema = pa.schema(
        [
            *FRAME_COLUMNS,
            column(
                "vector",
                pa.list_(pa.float32()),
                "embedding of length 1, of as many numbers as the model has (768 in the default one); "
                "compare by dot product, -1..1: the higher, the more alike two frames are",
            ),
        ]
    )

    def __init__(self, options: Any, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        entry = models["image_embeddings"].entry
        if entry.family not in FAMILIES or entry.input_size is None:
            raise ModelError(
                f"image_embeddings: model {entry.name} is of family {entry.family!r} with pictures of "
                f"{entry.input_size}; add one of {', '.join(FAMILIES)} with its picture size"
            )
        self._entry, self._size, self._family = entry, entry.input_size, FAMILIES[entry.family]

    def run(self, frames: Frames, upstream: Mapping[str, pa.Table]) -> pa.Table:
        if not len(frames):
            return self.schema.empty_table()
        vectors = self.embed(frames)
        columns = [pa.array(frames.frame_index), pa.array(frames.pts_seconds), vector_column(vectors)]
        return pa.table(columns, schema=self.schema)

    def embed(self, frames: Frames) -> Float32Array:
        """Vectors of length 1, float32 [n, d], of n >= 1 frames."""
        pictures: UInt8Array | Float32Array = frame_pictures(frames, self._size, self._family.centre)
        if not self._family.as_bytes:
            entry = self._entry
            pictures = planes(pictures, entry.colour, entry.mean, entry.scale)  # type: ignore[arg-type]
        outputs = self.loaded["image_embeddings"].runner.run({_INPUT: pictures})
        return unit_vectors(self._pick(outputs, len(frames)))

    def _pick(self, outputs: Mapping[str, npt.NDArray[Any]], count: int) -> npt.NDArray[Any]:
        family = self._family
        found = outputs.get(family.output)
        if found is None and len(outputs) == 1:
            found = next(iter(outputs.values()))
        if found is None and family.first_token:
            found = outputs.get("last_hidden_state")
        if found is not None and found.ndim == 3 and family.first_token:
            found = found[:, 0]
        if found is not None and found.ndim == 4 and found.shape[1:3] == (1, 1):
            found = found[:, 0, 0]
        if found is None or found.ndim != 2 or len(found) != count:
            shapes = {name: list(values.shape) for name, values in outputs.items()}
            raise ModelError(
                f"image_embeddings: model {self._entry.name} gives {shapes} for {count} frames, but the "
                f"family {self._entry.family} gives {family.output or 'one output'} [{count}, numbers]; "
                "add a model of that kind"
            )
        return found


def sorted_vectors(rows: pa.Table) -> tuple[pa.Table, Float32Array]:
    """Rows of this table by frame, and their vectors, float32 [n, d], n >= 1."""
    rows = rows.sort_by("frame_index").combine_chunks()
    return rows, pc.list_flatten(rows["vector"]).to_numpy().reshape(rows.num_rows, -1)


def check_space(entry: ModelEntry, image: ModelEntry, families: Collection[str]) -> None:
    """Whether a model that takes vectors of pictures goes together with the image model that gives them.

    Args:
        entry: a text tower or a head. image: the image model of the run.
        families: those of the role of `entry` that take vectors.

    Raises:
        UsageError: they do not; it names models that do.
    """
    if entry.space in ("", image.space):
        return
    others = [
        other.name
        for other in all_entries()
        if other.role == entry.role and (other.family not in families or other.space in ("", image.space))
    ]
    raise UsageError(
        f"{entry.role}: model {entry.name} takes the vectors of {entry.space}, but those of {VECTORS} are "
        f"{image.name}'s; add `models={{{VECTORS!r}: {entry.space!r}}}`, or choose "
        f"`models={{{entry.role!r}: 'NAME'}}` for one that goes with {image.name}: {', '.join(others)}"
    )


def unit_vectors(values: npt.NDArray[Any]) -> Float32Array:
    """Rows scaled to length 1, float32; a row of zeros stays one."""
    vectors: Float32Array = values.astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors
