"""Sessions that answer as models of poses do, from nothing but the pictures they get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


class BlazePoseRunner:
    """Every point as far from the left as the crop is bright, point k at row k."""

    max_batch = 3

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (crops,) = inputs.values()
        assert crops.dtype == np.float32 and crops.shape[1:] == (256, 256, 3)
        assert crops.min() >= 0 and crops.max() <= 1
        points = np.zeros((len(crops), 39, 5), np.float32)
        points[..., 0] = 256 * crops.mean(axis=(1, 2, 3), dtype=np.float64)[:, None]
        points[..., 1] = np.arange(39)
        points[..., 3] = 2.0
        return {
            "Identity": points.reshape(len(crops), 195),
            "Identity_1": np.full((len(crops), 1), 0.9, np.float32),
            "Identity_4": np.zeros((len(crops), 117), np.float32),
        }

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


POSE_STAND_INS: dict[str, Callable[[], Any]] = {"poses": BlazePoseRunner}
