"""Prediction of boxes: a Kalman filter of constant velocity for many boxes at once.

The model is that of SORT (Bewley et al., arXiv:1602.00763) with white-noise acceleration in continuous time,
so that it holds for frames that lie any time apart. All noise grows with the box, so that in units of its
size the covariance is the same for its four numbers: 2 x 2 a box is enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framemill.ops.chunks import Float32Array, Float64Array, Int64Array

# In heights of the box: how far off a detector's edges are (DeepSORT's value), what speed something has when
# it is first seen, and how much its speed changes within a second. A walking person moves about 0.8 heights
# a second.
_DETECTION = 1 / 20
_FIRST_SPEED = 0.8
_SPEED_CHANGE = 0.4


@dataclass(frozen=True, slots=True)
class Motion:
    """State of n boxes.

    Attributes:
        place: float64 [n, 4], centre x, y, width, height in pixels.
        speed: float64 [n, 4], their change per second.
        spread: float64 [n, 2, 2], covariance of place and speed, in squared heights of the box.
    """

    place: Float64Array
    speed: Float64Array
    spread: Float64Array

    @property
    def boxes(self) -> Float64Array:
        """x0, y0, x1, y1, float64 [n, 4]."""
        halves = np.maximum(self.place[:, 2:], 0) / 2
        return np.concatenate([self.place[:, :2] - halves, self.place[:, :2] + halves], axis=1)

    def take(self, which: npt.NDArray[np.bool_]) -> Motion:
        """The boxes where the mask is true."""
        return Motion(self.place[which], self.speed[which], self.spread[which])

    def join(self, other: Motion) -> Motion:
        """These boxes, then those."""
        return Motion(
            np.concatenate([self.place, other.place]),
            np.concatenate([self.speed, other.speed]),
            np.concatenate([self.spread, other.spread]),
        )


def begin_motion(boxes: Float32Array) -> Motion:
    """Boxes that were seen once, float32 [n, 4]."""
    spread = np.diag([_DETECTION**2, _FIRST_SPEED**2])
    place = _places(boxes)
    return Motion(place, np.zeros_like(place), np.repeat(spread[None], len(place), axis=0))


def move(motion: Motion, seconds: float) -> Motion:
    """The state some time later."""
    step = np.array([[1.0, seconds], [0.0, 1.0]])
    noise = _SPEED_CHANGE**2 * np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
    place = motion.place + motion.speed * seconds
    return Motion(place, motion.speed, step @ motion.spread @ step.T + noise)


def observe(motion: Motion, which: Int64Array, boxes: Float32Array) -> Motion:
    """The state once the boxes at the positions `which` have been seen at `boxes`, float32 [k, 4]."""
    spread = motion.spread[which]
    gain = spread[:, :, 0] / (spread[:, 0, 0] + _DETECTION**2)[:, None]
    miss = _places(boxes) - motion.place[which]
    place, speed, spreads = motion.place.copy(), motion.speed.copy(), motion.spread.copy()
    place[which] += gain[:, :1] * miss
    speed[which] += gain[:, 1:] * miss
    spreads[which] = spread - gain[:, :, None] * spread[:, :1, :]
    return Motion(place, speed, spreads)


def _places(boxes: Float32Array) -> Float64Array:
    exact = boxes.astype(np.float64)
    return np.concatenate([(exact[:, :2] + exact[:, 2:]) / 2, exact[:, 2:] - exact[:, :2]], axis=1)
