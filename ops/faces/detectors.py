"""Face detectors of several families: how each takes pictures, and the faces it finds in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models.arrays import array_module
from framemill.models.family_defaults import FAMILY_DEFAULTS
from framemill.models.runner import Model
from framemill.ops.chunks import Float32Array, UInt8Array
from framemill.ops.faces.decoders import (
    Candidates,
    OutputError,
    Outputs,
    decode_scrfd,
    decode_ultraface,
    decode_yunet,
)
from framemill.ops.pixels.boxes import letterbox_size
from framemill.ops.pixels.model_input import planes


@dataclass(frozen=True, slots=True)
class _Family:
    """What models of one family share.

    Attributes:
        padding: a grey in 0..255, beside frames of another shape than the model's picture.
        is_stretched: whether such a frame is stretched over the whole picture instead.
    """

    padding: int
    input_name: str
    decode: Callable[[Outputs, tuple[int, int]], Candidates]
    is_stretched: bool = False


class FaceDetector:
    """A model that finds faces, whichever its family.

    Attributes:
        size: (width, height) of the picture it takes.
    """

    def __init__(self, role: str, model: Model) -> None:
        if model.entry.family not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise ModelError(
                f"{role}: model {model.entry.name} is of family {model.entry.family!r}; known: {known}"
            )
        if model.entry.input_size is None:
            raise ModelError(
                f"{role}: model {model.entry.name} states no picture size; add it with its input size"
            )
        self.size = model.entry.input_size
        self._role = role
        self._model = model
        self._family = FAMILIES[model.entry.family]

    @property
    def sure_from(self) -> float:
        """The score from which on a face that is seen upright and large is one."""
        return self._model.entry.sure_from

    def picture_size(self, display: tuple[int, int]) -> tuple[int, int]:
        """(width, height) at which a frame of this display size fits the model as its authors lay it in."""
        return self.size if self._family.is_stretched else letterbox_size(*display, self.size)

    def candidates(self, pictures: UInt8Array, least_score: float) -> list[Candidates]:
        """Per picture, what scores at least `least_score`, in the order of the model's cells.

        Args:
            pictures: uint8 [n, h, w, 3] RGB, no larger than `size`; they lie in the top left corner.

        Raises:
            ModelError: the outputs are not those of the family.
        """
        found = []
        for outputs in self._outputs(self._batch(pictures)):
            try:
                scores, boxes, points = self._family.decode(outputs, self.size)
            except OutputError as exc:
                shapes = {name: list(values.shape) for name, values in outputs.items()}
                raise ModelError(
                    f"{self._role}: model {self._model.entry.name} gives {shapes} for one picture of "
                    f"{self.size[0]} x {self.size[1]} pixels, but the family {self._model.entry.family} "
                    f"gives {exc}; add it with its own family and input size"
                ) from exc
            keep = scores >= least_score
            found.append(Candidates(scores[keep], boxes[keep], None if points is None else points[keep]))
        return found

    def _batch(self, pictures: UInt8Array) -> Float32Array:
        family, entry = self._family, self._model.entry
        usual = FAMILY_DEFAULTS[entry.family]
        count, high, wide = pictures.shape[:3]
        padded = pictures
        if (wide, high) != self.size:
            shape = (count, self.size[1], self.size[0], 3)
            padded = array_module(pictures).full(shape, family.padding, dtype=pictures.dtype)
            padded[:, :high, :wide, :] = pictures
        return planes(
            padded,
            entry.colour or usual["colour"],
            entry.mean or usual["mean"],
            entry.scale or usual["scale"],
        )

    def _outputs(self, batch: Float32Array) -> Iterator[Outputs]:
        """Per picture, the outputs as [rows, columns]."""
        name, runner = self._family.input_name, self._model.runner
        if self._model.entry.batching == "none":
            # Outputs of such models may have no axis for the batch, so that rows cannot be told apart.
            for row in range(batch.shape[0]):
                whole = runner.run_whole({name: batch[row : row + 1, ...]})
                yield {key: _flat(values) for key, values in whole.items()}
        else:
            whole = runner.run({name: batch})
            for row in range(batch.shape[0]):
                yield {key: _flat(values[row]) for key, values in whole.items()}


def _flat(values: npt.NDArray[Any]) -> Float32Array:
    return values.reshape(-1, values.shape[-1]).astype(np.float32, copy=False)


FAMILIES: Mapping[str, _Family] = {
    "ultraface": _Family(127, "input", decode_ultraface, is_stretched=True),
    "yunet": _Family(0, "input", decode_yunet),
    "scrfd": _Family(0, "input.1", decode_scrfd),
}
