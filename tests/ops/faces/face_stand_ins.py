"""Sessions that answer as models of faces do, from nothing but the pictures they get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


class UltraFaceRunner:
    """One face in the middle, as sure as the picture is bright."""

    max_batch = 4

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        pictures = inputs["input"]
        assert pictures.dtype == np.float32 and pictures.shape[1:] == (3, 240, 320)
        scores = np.zeros((len(pictures), 4420, 2), np.float32)
        boxes = np.zeros((len(pictures), 4420, 4), np.float32)
        scores[:, 7, 1] = 0.8 + 0.1 * pictures.mean(axis=(1, 2, 3))
        boxes[:, 7] = 0.4, 0.3, 0.6, 0.5
        return {"scores": scores, "boxes": boxes}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class YunetRunner:
    """One face in the middle, with points where its priors have them; takes one picture at a time."""

    max_batch = 1
    num_calls = 0

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("its outputs have no axis for a batch")

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        assert inputs["input"].shape == (1, 3, 120, 160)
        self.num_calls += 1
        loc = np.zeros((1076, 14), np.float32)
        # The map of stride 32 has 3 x 5 cells of two priors after 900 + 140 rows; cell 7 is centred at
        # (80, 48). The points form a little face around it, in tenths of a side of 64.
        loc[1040 + 2 * 7, 4:] = -2, -1, 2, -1, 0, 1, -1.5, 3, 1.5, 3
        conf = np.zeros((1076, 2), np.float32)
        conf[1040 + 2 * 7, 1] = 1
        return {"loc": loc, "conf": conf, "iou": np.full((1076, 1), 0.81, np.float32)}


class EmotionRunner:
    """The brighter the face, the happier."""

    max_batch = 2

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        faces = inputs["input_1"]
        assert faces.dtype == np.float32 and faces.shape[1:] == (64, 64, 1)
        bright = (faces.mean(axis=(1, 2, 3)) + 1) / 2
        chances = np.zeros((len(faces), 7), np.float32)
        chances[:, 3], chances[:, 4] = bright, 1 - bright
        return {"predictions": chances}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class EmbeddingRunner:
    """Means of the picture's quarters and colours."""

    max_batch = 3

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        faces = inputs["input0"]
        assert faces.dtype == np.float32 and faces.shape[1:] == (3, 112, 112)
        quarters = faces.reshape(len(faces), 3, 2, 56, 2, 56).mean(axis=(3, 5))
        return {"output0": quarters.reshape(len(faces), 12)}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class EyeRunner:
    """The brighter the eye, the more open."""

    max_batch = 3

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        ((_, eyes),) = inputs.items()
        assert eyes.dtype == np.float32 and eyes.shape[1:] == (3, 32, 32)
        bright = eyes.mean(axis=(1, 2, 3)) + 0.5
        return {"19": np.stack([1 - bright, bright], axis=1)[..., None, None].astype(np.float32)}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


FACE_STAND_INS: dict[str, Callable[[], Any]] = {
    "faces": UltraFaceRunner,
    "face_landmarks": YunetRunner,
    "emotions": EmotionRunner,
    "face_embeddings": EmbeddingRunner,
    "eyes": EyeRunner,
}
