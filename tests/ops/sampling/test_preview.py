"""The first impression: a few small pictures, no two alike, the best first."""

from __future__ import annotations

import cv2
import numpy as np
import pyarrow as pa

from framemill.ops.operation import NoOptions, Partial
from framemill.ops.sampling.preview import LIKENESS_BITS, LONG_SIDE, NUM_PICTURES, Preview
from tests.ops.stand_ins import ArrayFrames


def varied(count: int, width: int = 640, height: int = 360) -> ArrayFrames:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (count, 9, 16, 3), dtype=np.uint8)
    return ArrayFrames(coarse.repeat(height // 9, 1).repeat(width // 16, 2))


def test_the_best_frames_carry_small_pictures() -> None:
    op = Preview(NoOptions(), {})
    frames = varied(12)
    whole = op.merge([Partial(op.run(frames, {}))])
    in_pieces = op.merge([Partial(op.run(frames.slice(a, b), {})) for a, b in ((0, 5), (5, 12))])
    assert whole.equals(in_pieces)
    ranked = whole.filter(pa.compute.is_valid(whole["rank"])).sort_by("rank").to_pylist()
    assert [row["rank"] for row in ranked] == list(range(NUM_PICTURES))
    scores = [row["frame_score"] for row in ranked]
    assert scores == sorted(scores, reverse=True)
    for row in ranked:
        picture = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (180, LONG_SIDE, 3)
    assert whole["image"].null_count == 12 - NUM_PICTURES


def test_frames_that_look_alike_share_one_picture() -> None:
    op = Preview(NoOptions(), {})
    still = ArrayFrames(varied(1).pixels.repeat(8, 0))
    rows = op.merge([Partial(op.run(still, {}))])
    assert rows["rank"].to_pylist() == [0] + [None] * 7
    assert LIKENESS_BITS > 0
