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


class RtmposeRunner:
    """Point k in column 10 + k, and in the row that the crop's brightness tells."""

    max_batch = 3

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (crops,) = inputs.values()
        assert crops.dtype == np.float32 and crops.shape[1:] == (3, 256, 192)
        simcc_x, simcc_y = np.zeros((len(crops), 17, 384)), np.zeros((len(crops), 17, 512))
        bright = (crops.mean(axis=(1, 2, 3), dtype=np.float64) * 40).astype(int) % 512
        for point in range(17):
            simcc_x[:, point, 10 + point] = 0.9
            simcc_y[np.arange(len(crops)), point, bright] = 0.8
        return {"simcc_x": simcc_x.astype(np.float32), "simcc_y": simcc_y.astype(np.float32)}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class RtmoRunner:
    """Somebody where the detector of the contract suite sees one, and others by the frame's brightness."""

    max_batch = 1

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("frames differ in how many people it finds: one at a time")

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (frame,) = inputs.values()
        assert frame.dtype == np.float32 and frame.shape == (1, 3, 640, 640)
        assert frame.min() >= 0 and frame.max() <= 255
        others = int(frame.mean(dtype=np.float64)) % 3
        centre, half = np.array([96, 152]) * 640 / 416, 8 * np.exp(2) * 320 / 416
        boxes = [[600, 600, 639, 639, 0.6]] * others + [[*(centre - half), *(centre + half), 0.9]]
        points = np.zeros((1, others + 1, 17, 3), np.float32)
        points[0, -1, :, 0], points[0, -1, :, 1] = centre[0] + np.arange(17), centre[1]
        points[..., 2] = 0.7
        return {"dets": np.array([boxes], np.float32), "keypoints": points}


POSE_STAND_INS: dict[str, Callable[[], Any]] = {"poses": BlazePoseRunner}
