"""Importance over time, estimated from signals that cost almost nothing. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from framemill.errors import LimitError
from framemill.ops.chunks import BoolArray, Float64Array, FrameIndex, Int64Array, UInt8Array
from framemill.ops.shots.features import CHROMA_CELLS, LUMA_CELLS
from framemill.ops.shots.selection import early_keys

BIN_SECONDS = 0.25
# Three weeks, for which each signal takes 64 MiB: two pictures may lie thousands of years apart.
MOST_BINS = 1 << 23
TIERS = ("minimal", "low", "medium", "high", "critical")
# Quantiles of the file's own curve that a bin must exceed to enter low, medium, high and critical. It leaves
# a tier again only below the quantile LEAVE lower, so that the tier does not alternate quickly.
ENTER = (0.3, 0.6, 0.85, 0.95)
LEAVE = 0.05
# Where the curve does not rise by so much over its median, nothing is important, whatever the quantiles are.
LEAST_RISE = 0.05
# Two pictures further apart than this many levels belong to two shots, if they are key frames that follow
# each other. On the labelled clips (tests/ops/shots/scene_clips.py) 149 of 165 pairs within a shot are nearer
# (without fades.mp4, which goes to black inside shots), and all 6 across a cut are further, 64 levels and
# more; fades and dissolves, 12 to 17, are not detected. A shot too many costs one frame of the floor.
SHOT_CHANGE = 18.0
CUT_REACH_SECONDS = 5.0  # cuts within this distance make a moment busy
NEAR_SECONDS = 10.0  # the usual loudness is measured over this long on both sides
AROUND_SECONDS = 1.0  # usual packet sizes, over this long on both sides, or so many packets at most
MOST_AROUND = 60
BLOCK = 8192  # packets handled at once, which bounds memory
LARGEST_SURPRISE, LARGEST_RISE = 3.0, 3.0  # doublings of the packet size that count as the most
LARGEST_LIFT_DB = 20.0  # rise of the sound over its surroundings that counts as the most
# Set on rendered clips with planted events (benchmarks/planted.py, seeds 0 to 9): the last three are of long
# stretches, and with more weight they hide sudden events.
WEIGHTS = {"onset": 1.0, "movement": 0.5, "sound": 0.2, "change": 0.02, "speech": 0.02, "cuts": 0.02}


@dataclass(frozen=True, slots=True)
class KeyFrameThumbnails:
    """Thumbnails of key frames, in order of time.

    Attributes:
        frame_index: int64 [n], ascending.
        cells: uint8 [n, 96], as in the table `key_frames`.
    """

    frame_index: Int64Array
    cells: UInt8Array


@dataclass(frozen=True, slots=True)
class Curve:
    """Estimated importance of each bin of `BIN_SECONDS`.

    Attributes:
        seconds: float64 [n], start of each bin; the last ends with the picture.
        parts: signal -> float64 [n], 0 (as usual in this file) to 1.
        value: float64 [n], 0 to 1: the weighted sum of the parts.
    """

    seconds: Float64Array
    parts: dict[str, Float64Array]
    value: Float64Array


def find_shots(index: FrameIndex, thumbnails: KeyFrameThumbnails) -> Int64Array:
    """Likely shots, int64 [n, 2]: start and end frame; they cover all frames.

    A boundary lies between two key frames whose pictures differ: at the later one where an encoder put it
    before its time, else at the largest packet between them.
    """
    if not len(index):
        return np.zeros((0, 2), np.int64)
    early = early_keys(index.is_key)
    known = set(early.tolist()) if early is not None else set()
    changes = cell_changes(thumbnails.cells)
    at = thumbnails.frame_index
    cuts = []
    for before, after, change in zip(at[:-1].tolist(), at[1:].tolist(), changes[1:].tolist(), strict=True):
        if change < SHOT_CHANGE:
            continue
        sizes = index.packet_bytes[before + 1 : after]
        if after in known or not len(sizes):
            cuts.append(after)
        else:
            cuts.append(before + 1 + int(np.argmax(sizes)))
    edges = np.unique([0, *cuts, len(index)]).astype(np.int64)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def cell_changes(cells: UInt8Array) -> Float64Array:
    """Distance of each tiny picture to the one before, in 8-bit levels: luma plus half of both chroma."""
    if len(cells) < 2:
        return np.zeros(len(cells))
    apart = np.abs(np.diff(cells.astype(np.float64), axis=0))
    luma, chroma = apart[:, : LUMA_CELLS**2], apart[:, LUMA_CELLS**2 :]
    return np.append(0.0, luma.mean(1) + chroma.sum(1) / (2 * CHROMA_CELLS**2))


def packet_surprises(index: FrameIndex) -> Float64Array:
    """How many doublings each packet exceeds the second largest within a second around it, 0 and more.

    What appears has to be coded anew, which makes one packet larger than its neighbours; steady movement
    makes all of them large. The largest neighbour is ignored, since what disappears soon after makes a second
    large packet. Key frames are always large, and have the value 0.
    """
    out = np.zeros(len(index))
    plain = np.flatnonzero(~index.is_key)
    if len(plain) < 3:
        return out
    size = np.log2(np.maximum(index.packet_bytes[plain], 1).astype(np.float64))
    step = max(float(np.median(np.diff(index.pts_seconds[plain]))), 1e-3)
    reach = int(np.clip(round(AROUND_SECONDS / step), 2, MOST_AROUND))
    padded = np.concatenate([np.full(reach, -np.inf), size, np.full(reach, -np.inf)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    for start in range(0, len(size), BLOCK):
        near = windows[start : start + BLOCK].copy()
        near[:, reach] = -np.inf
        second = np.partition(near, -2, axis=1)[:, -2]
        out[plain[start : start + BLOCK]] = size[start : start + BLOCK] - second
    return np.where(np.isfinite(out), np.maximum(out, 0.0), 0.0)


def packet_rises(index: FrameIndex) -> Float64Array:
    """How many doublings each packet exceeds what is usual in the file (its upper quarter), 0 and more."""
    plain = ~index.is_key
    if not plain.any():
        return np.zeros(len(index))
    size = np.log2(np.maximum(index.packet_bytes, 1).astype(np.float64))
    return np.where(plain, np.maximum(size - np.quantile(size[plain], 0.75), 0.0), 0.0)


def make_curve(
    index: FrameIndex,
    end_seconds: float,
    thumbnails: KeyFrameThumbnails,
    shots: Int64Array,
    levels: tuple[Float64Array, Float64Array],
    speech: tuple[Float64Array, Float64Array],
) -> Curve:
    """The curve of a file with a picture.

    Args:
        end_seconds: where the picture ends.
        shots: as from `find_shots`.
        levels: start in seconds and RMS in dB of each window of the sound; empty without sound.
        speech: start and end in seconds of each stretch of speech.

    Raises:
        LimitError: the picture lasts longer than `MOST_BINS` bins.
    """
    first = float(index.pts_seconds[0])
    num = max(1, int(np.ceil((end_seconds - first) / BIN_SECONDS - 1e-9)))
    if num > MOST_BINS:
        raise LimitError(
            f"the picture lasts {end_seconds - first:.0f} seconds by its times, and importance is told of up "
            f"to {MOST_BINS * BIN_SECONDS:.0f}: its times are broken; copy the streams into a new file"
        )
    seconds: Float64Array = first + BIN_SECONDS * np.arange(num, dtype=np.float64)

    def bins(times: Float64Array) -> Int64Array:
        return np.clip(((times - first) / BIN_SECONDS).astype(np.int64), 0, num - 1)

    key_bins = bins(index.pts_seconds[thumbnails.frame_index])
    parts = {
        "onset": _largest(num, bins(index.pts_seconds), packet_surprises(index)) / LARGEST_SURPRISE,
        "movement": _largest(num, bins(index.pts_seconds), packet_rises(index)) / LARGEST_RISE,
        "change": _changes(num, key_bins, thumbnails),
        "sound": _lifts(num, bins(levels[0]), levels[1]),
        "speech": _share(seconds, speech),
        "cuts": _cut_density(seconds, index.pts_seconds[shots[1:, 0]]),
    }
    parts = {name: np.clip(part, 0.0, 1.0) for name, part in parts.items()}
    value = sum((WEIGHTS[name] * part for name, part in parts.items()), np.zeros(num))
    return Curve(seconds, parts, value / sum(WEIGHTS.values()))


def _largest(num: int, at: Int64Array, values: Float64Array) -> Float64Array:
    out = np.zeros(num)
    np.maximum.at(out, at, values)
    return out


def _changes(num: int, at: Int64Array, thumbnails: KeyFrameThumbnails) -> Float64Array:
    """Change since the key frame before: all of it at a key frame, and half of it in the bins between."""
    changes = cell_changes(thumbnails.cells) / (2 * SHOT_CHANGE)
    out = np.zeros(num)
    for start, end, change in zip(at[:-1].tolist(), at[1:].tolist(), changes[1:].tolist(), strict=True):
        out[start:end] = np.maximum(out[start:end], min(change, 1.0) / 2)
        out[end] = max(out[end], change)
    return out


def _lifts(num: int, at: Int64Array, rms: Float64Array) -> Float64Array:
    """How far the sound rises over what is usual around it."""
    if not len(at):
        return np.zeros(num)
    loud = np.full(num, -120.0)
    np.maximum.at(loud, at, rms)
    reach = round(NEAR_SECONDS / BIN_SECONDS)
    edges = np.arange(0, num, reach)
    usual = np.array([np.median(loud[max(0, e - reach) : e + 2 * reach]) for e in edges.tolist()])
    # Without this limit any noise after silence would count as a rise.
    usual = np.maximum(np.interp(np.arange(num), edges + reach / 2, usual), -60.0)
    lifts: Float64Array = (loud - usual) / LARGEST_LIFT_DB
    return lifts


def _share(seconds: Float64Array, speech: tuple[Float64Array, Float64Array]) -> Float64Array:
    """How much of each bin lies in one of the stretches, 0 to 1."""
    starts, ends = speech
    if not len(starts):
        return np.zeros(len(seconds))
    order = np.argsort(starts)
    starts, ends = starts[order], ends[order]
    edges = np.append(seconds, seconds[-1] + BIN_SECONDS)
    spoken = np.append(0.0, np.cumsum(ends - starts))
    position = np.searchsorted(starts, edges, side="right")
    last = np.maximum(position - 1, 0)
    begun = np.where(position > 0, np.clip(edges - starts[last], 0.0, ends[last] - starts[last]), 0.0)
    before = np.where(position > 0, spoken[last], 0.0) + begun
    return np.diff(before) / BIN_SECONDS


def _cut_density(seconds: Float64Array, cuts: Float64Array) -> Float64Array:
    """Cuts near each bin over the most near any."""
    if not len(cuts):
        return np.zeros(len(seconds))
    cuts = np.sort(cuts)
    first, last = (
        np.searchsorted(cuts, seconds + reach) for reach in (-CUT_REACH_SECONDS, CUT_REACH_SECONDS)
    )
    near = (last - first).astype(np.float64)
    return near / max(3.0, float(near.max()))


def tier_bins(value: Float64Array) -> Int64Array:
    """Tier of each bin, as a position in `TIERS`."""
    if not len(value):
        return np.zeros(0, np.int64)
    enter = np.quantile(value, ENTER)
    leave = np.quantile(value, np.maximum(np.array(ENTER) - LEAVE, 0.0))
    floor = float(np.median(value)) + LEAST_RISE
    enter[2:] = np.maximum(enter[2:], floor)
    leave[2:] = np.maximum(leave[2:], floor - LEAST_RISE / 2)
    tiers = np.zeros(len(value), np.int64)
    entered = np.sum(value[:, None] > enter, axis=1)
    stays = np.sum(value[:, None] > leave, axis=1)
    tier = 0
    for i, (up, keep) in enumerate(zip(entered.tolist(), stays.tolist(), strict=True)):
        tier = max(up, min(tier, keep))
        tiers[i] = tier
    return tiers


def runs_of(values: Int64Array | BoolArray) -> list[tuple[int, int]]:
    """Half-open stretches of equal values."""
    if not len(values):
        return []
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])).tolist()
    return list(zip(starts, [*starts[1:], len(values)], strict=True))
