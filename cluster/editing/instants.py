"""Look-ups among instants of many files at once: the last one before, and the distance to the nearest.

Files are numbered. An instant is a file's number and seconds; arrays of instants are sorted by both.
"""

from __future__ import annotations

import numpy as np

from framemill.ops.chunks import Float64Array, Int64Array

# Longer than any file: keeps the instants of one file apart from those of the next. With 100 million files
# a double still holds milliseconds.
_FILE_SECONDS = 1e6


def on_one_line(source: Int64Array, seconds: Float64Array) -> Float64Array:
    """Instants as one ascending number, float64 [n]."""
    within = np.clip(seconds, 0, _FILE_SECONDS - 1)
    line: Float64Array = (source * _FILE_SECONDS + within).astype(np.float64, copy=False)
    return line


def last_before(
    source: Int64Array, seconds: Float64Array, of_source: Int64Array, of_seconds: Float64Array
) -> Int64Array:
    """For each instant the last of some others of its file at or before it: int64 [n], -1 without one."""
    at = np.searchsorted(on_one_line(of_source, of_seconds), on_one_line(source, seconds), "right") - 1
    found = at >= 0
    found[found] = of_source[at[found]] == source[found]
    return np.where(found, at, -1).astype(np.int64)


def seconds_to_nearest(
    source: Int64Array, seconds: Float64Array, of_source: Int64Array, of_seconds: Float64Array
) -> Float64Array:
    """Distance of each instant to the nearest of some others of the same file, float64 [n]; inf without."""
    nearest = np.full(len(source), np.inf)
    before = last_before(source, seconds, of_source, of_seconds)
    follow = np.searchsorted(on_one_line(of_source, of_seconds), on_one_line(source, seconds), "right")
    here = before >= 0
    nearest[here] = seconds[here] - of_seconds[before[here]]
    ahead = follow < len(of_source)
    ahead[ahead] = of_source[follow[ahead]] == source[ahead]
    gap = of_seconds[follow[ahead]] - seconds[ahead]
    nearest[ahead] = np.minimum(nearest[ahead], gap)
    return nearest
