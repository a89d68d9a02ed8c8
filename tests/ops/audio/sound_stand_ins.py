"""Models of sound without a network, for tests of operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.models.registry import label_set
from framemill.ops.audio.speakers import NUM_FRAMES, STEP, WINDOW

Arrays = Mapping[str, npt.NDArray[Any]]


class YamnetStandIn:
    """Hears speech in what is loud and music in what is not, and counts how often it is asked."""

    max_batch = 1

    def __init__(self) -> None:
        self.num_calls = 0

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("its input has no axis for a batch")

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (samples,) = inputs.values()
        assert samples.dtype == np.float32 and samples.shape == (15_600,)
        self.num_calls += 1
        level = np.float32(np.clip(np.abs(samples).mean(), 0, 1))
        scores = np.zeros((1, 521), np.float32)
        scores[0, label_set("audioset521").index("Speech")] = level
        scores[0, label_set("audioset521").index("Music")] = 1 - level
        return {"scores": scores, "embedding": np.full((1, 1024), level, np.float32)}


class PannsStandIn:
    """Hears speech in what is loud, ten seconds at 16 kHz a window."""

    max_batch = 2

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (windows,) = inputs.values()
        assert windows.dtype == np.float32 and windows.shape[1:] == (160_000,)
        level = np.clip(np.abs(windows).mean(axis=1), 0, 1)
        scores = np.zeros((len(windows), 527), np.float32)
        scores[:, label_set("audioset527").index("Speech")] = level
        return {"clip_scores": scores, "embedding": np.repeat(level[:, None], 2048, axis=1)}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("its windows go in batches")


class SegmentationStandIn:
    """Hears the first voice in what is high, the second in what is low, nobody in what is silent."""

    max_batch = 1

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("its scale depends on everything in a call: one window at a time")

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        samples = inputs["x"]
        assert samples.dtype == np.float32 and samples.shape == (1, 1, WINDOW)
        frames = samples[0, 0, 360 : 360 + NUM_FRAMES * STEP].reshape(NUM_FRAMES, STEP)
        turns = np.count_nonzero(np.diff(np.signbit(frames), axis=1), axis=1)
        likely = np.full((1, NUM_FRAMES, 7), 0.01, np.float32)
        who = np.where(np.abs(frames).max(axis=1) < 0.01, 0, np.where(turns > 10, 1, 2))
        likely[0, np.arange(NUM_FRAMES), who] = 0.94
        return {"y": np.log(likely)}


class SpeakerStandIn:
    """Takes how the spectrum varies for the voice: enough to tell a man from a woman on a clean recording."""

    max_batch = 1

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        features = inputs["feats"]
        assert features.dtype == np.float32 and features.ndim == 3 and features.shape[2] == 80
        shape = np.percentile(features, [10, 90], axis=1).transpose(1, 0, 2).reshape(len(features), -1)
        return {"embs": np.concatenate([features.std(axis=1) / 5, shape / 10], axis=1).astype(np.float32)}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


SOUND_STAND_INS: dict[str, Callable[[], Any]] = {
    "sounds": YamnetStandIn,
    "speaker_segmentation": SegmentationStandIn,
    "speaker_embeddings": SpeakerStandIn,
}
