"""Boxes of ours beside those of a reference, matched frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from framemill.ops.pixels.boxes import overlaps

PIXELS, SCORE = 1.0, 0.01
# Two boxes that overlap less are no pair.
LEAST_OVERLAP = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """What one of both finds in a frame.

    Attributes:
        boxes: float32 [n, 4], edges in display pixels. scores: float32 [n], 0..1. labels: int64 [n].
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


@dataclass(slots=True)
class Agreement:
    """How far pairs lie apart, over all frames that were added.

    Attributes:
        pixels: of each pair, the largest distance of two edges. scores: of each pair, that of the scores.
        alone: how many boxes one has and the other has not. Those whose score is within `SCORE` of the
            least one are left out: which side of the limit they fall on is no disagreement.
    """

    least_score: float
    pixels: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    alone: int = 0

    def add(self, ours: Found, theirs: Found) -> None:
        """Pairs each box of ours, best first, with the box of its label that overlaps it most."""
        free = np.ones(len(theirs.boxes), np.bool_)
        for row in np.argsort(-ours.scores, kind="stable"):
            shared = overlaps(ours.boxes[row], theirs.boxes) * (free & (theirs.labels == ours.labels[row]))
            best = int(shared.argmax()) if len(shared) else -1
            if best < 0 or shared[best] < LEAST_OVERLAP:
                self.alone += int(ours.scores[row] >= self.least_score + SCORE)
                continue
            free[best] = False
            self.pixels.append(float(np.abs(ours.boxes[row] - theirs.boxes[best]).max()))
            self.scores.append(float(abs(ours.scores[row] - theirs.scores[best])))
        self.alone += int((theirs.scores[free] >= self.least_score + SCORE).sum())

    @property
    def num_rows(self) -> int:
        return len(self.pixels) + self.alone

    @property
    def share(self) -> float:
        """Part of all rows that have a partner within `PIXELS` and `SCORE`."""
        near = (np.array(self.pixels) <= PIXELS) & (np.array(self.scores) <= SCORE)
        return float(near.sum() / max(1, self.num_rows))

    def words(self) -> str:
        if not self.pixels:
            return f"no pair, {self.alone} alone"
        return (
            f"{self.share:.1%} within 1 px and 0.01; median {np.median(self.pixels):.2f} px, largest "
            f"{max(self.pixels):.1f} px, {max(self.scores):.3f}; {self.alone} alone"
        )
