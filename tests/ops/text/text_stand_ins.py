"""Sessions that answer as models of text do, from nothing but the pictures they get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.models.registry import ModelEntry, resolve

Arrays = Mapping[str, npt.NDArray[Any]]
# Its characters are in the registry; those of the default are in its file.
TEXT_ENTRIES: dict[str, ModelEntry] = {"text_recognition": resolve("text_recognition", "ppocrv2_rec_en")}


class TextDetectionRunner:
    """One line across the middle of every picture; `num_rows` counts the pictures."""

    max_batch = 4

    def __init__(self) -> None:
        self.num_rows = 0

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        pictures = inputs["x"]
        count, planes, high, wide = pictures.shape
        assert pictures.dtype == np.float32 and planes == 3 and high % 32 == 0 and wide % 32 == 0
        self.num_rows += count
        maps = np.zeros((count, 1, high, wide), np.float32)
        maps[:, :, high * 2 // 5 : high * 3 // 5, wide // 4 : wide * 3 // 4] = 0.9
        return {"maps": maps}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class TextRecognitionRunner:
    """A letter by the brightness of the line's left end, once; `num_rows` counts the lines."""

    max_batch = 4

    def __init__(self) -> None:
        self.num_rows = 0

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        lines = inputs["x"]
        assert lines.dtype == np.float32 and lines.shape[1:3] == (3, 32) and lines.shape[3] >= 320
        self.num_rows += len(lines)
        steps = np.zeros((len(lines), 5, 97), np.float32)
        steps[:, :, 0] = 0.9
        labels = 1 + (((lines[..., :40].mean(axis=(1, 2, 3)) + 1) / 2) * 90).astype(int)
        steps[np.arange(len(lines)), 1:3, labels] = 0.95
        return {"steps": steps}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class OrientationRunner:
    """Takes every line for upright."""

    max_batch = 4

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        assert inputs["x"].shape[1:] == (3, 48, 192)
        return {"turned": np.tile(np.array([[1.0, 0.0]], np.float32), (len(inputs["x"]), 1))}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


TEXT_STAND_INS: dict[str, Callable[[], Any]] = {
    "text_detection": TextDetectionRunner,
    "text_recognition": TextRecognitionRunner,
    "text_orientation": OrientationRunner,
}
