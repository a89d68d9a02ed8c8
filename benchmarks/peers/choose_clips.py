"""Rates made-up frames and chooses clips out of them; prints how long that took, as JSON.

python -m benchmarks.peers.choose_clips CANDIDATES SECONDS
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from framemill.cluster.editing.assembly import Moments, assemble, cut_grid, plan_cuts
from framemill.cluster.editing.frame_scores import score_frames

FPS = 30
FRAMES_PER_FILE = 60


def main() -> None:
    count, seconds = int(sys.argv[1]), int(sys.argv[2])
    generator = np.random.default_rng(0)
    source = np.arange(count) // FRAMES_PER_FILE
    at = (np.arange(count) % FRAMES_PER_FILE).astype(np.float64)
    shot_start = np.floor(at / 5) * 5
    measures = {
        "sharpness": generator.gamma(4, 80, count),
        "brightness": generator.uniform(0, 1, count),
        "contrast": generator.uniform(0, 0.35, count),
        "colourfulness": generator.uniform(0, 80, count),
        "entropy": generator.uniform(3, 8, count),
        "blur": generator.uniform(0.1, 0.7, count),
        "face_share": generator.uniform(0, 0.1, count),
        "face_score": generator.uniform(0.5, 1, count),
        "cut_seconds": at - shot_start,
    }
    hashes = generator.integers(0, 1 << 63, count, dtype=np.uint64)
    lively = generator.uniform(0, 1, count)
    beats = np.arange(0.5, seconds, 0.5)
    start = time.perf_counter()
    scores = score_frames(measures, (source * 1000 + shot_start).astype(np.int64), source)
    score = 0.6 * scores.score + 0.4 * lively * np.sqrt(scores.score)
    moments = Moments(source, at, shot_start, shot_start + 5, score, hashes)
    rows = np.flatnonzero(scores.usable)
    grid = cut_grid(beats, seconds)
    cuts = plan_cuts(grid, np.ones(len(grid)), seconds, 2.0)
    places = np.round(grid * FPS).astype(np.int64).tolist()
    wanted = np.round(grid[cuts] * FPS).astype(np.int64).tolist()
    clips = assemble(moments.take(rows), places, wanted, seconds * FPS, FPS, 2)
    spent = time.perf_counter() - start
    lasts = sum(clip.num_frames for clip in clips) / FPS
    print(json.dumps({"seconds": lasts, "candidates": count, "clips": len(clips), "spent_seconds": spent}))


if __name__ == "__main__":
    main()
