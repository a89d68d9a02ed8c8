"""Whether a picture stands still: whether two pictures differ by more than coding noise anywhere.

A mean over the whole picture would hide a digit that changes, so the difference is measured around each
pixel. Coding errors are largest at sharp edges, so the allowed difference grows with the contrast there.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from framemill.ops.at_first_use import cv2
from framemill.ops.chunks import UInt8Array

# Measured: in still slides coded as H.264 at crf 23 the mean over 5 x 5 pixels changes by up to 17 steps at
# contrast 220, and by less between a full stop and a comma of 12 pixels, or O and Q of 10. Other changes of
# a character (3 to 8, 0 to 8, c to e, l to i, 1 to 7) are seen from 10 pixels and contrast 60 up.
WINDOW = 5
CONTRAST_WINDOW = 17
LEAST_CHANGE = 4.0  # steps of 0..255, where there is no contrast at all
CHANGE_PER_CONTRAST = 0.07


class StillPicture:
    """A picture that others are compared with.

    Args:
        luma: uint8 [h, w]; a view is kept as it is.
    """

    __slots__ = ("_allowed", "luma")

    def __init__(self, luma: UInt8Array) -> None:
        self.luma = luma
        self._allowed: UInt8Array | None = None

    def shows(self, luma: UInt8Array) -> bool:
        """Whether `luma`, uint8 [h, w], is the same picture but for coding noise.

        True where the mean absolute difference over WINDOW x WINDOW pixels is nowhere more than
        LEAST_CHANGE + CHANGE_PER_CONTRAST * contrast, the contrast being the brightest less the darkest of
        the CONTRAST_WINDOW x CONTRAST_WINDOW pixels around.
        """
        if luma.shape != self.luma.shape:
            return False
        change = cv2.absdiff(self.luma, luma)
        if not cv2.countNonZero(change):
            return True
        mean = cv2.blur(change, (WINDOW, WINDOW))
        return not cv2.countNonZero(cv2.subtract(mean, self._most_change()))

    def _most_change(self) -> UInt8Array:
        if self._allowed is None:
            around = np.ones((CONTRAST_WINDOW, CONTRAST_WINDOW), np.uint8)
            contrast = cv2.morphologyEx(self.luma, cv2.MORPH_GRADIENT, around)
            allowed = cv2.convertScaleAbs(contrast, alpha=CHANGE_PER_CONTRAST, beta=LEAST_CHANGE)
            self._allowed = cast(UInt8Array, allowed)
        return self._allowed
