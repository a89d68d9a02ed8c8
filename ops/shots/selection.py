"""Fast mode of scenes: which frames to decode, by the packet index alone, and boundaries in those frames.

x264 and its kin start a group of pictures (GOP) with a key frame at each scene cut they see, unless the last
key frame is nearer than the minimum key interval; there the cut becomes a large packet instead
(x264: keyint 250, min-keyint keyint / 10, scenecut 40). So an early key frame is a cut that has been
found already, and only windows behind a key frame that hold a large packet need decoding.
"""

from __future__ import annotations

import numpy as np

from framemill.ops.chunks import BoolArray, FrameIndex, Int64Array
from framemill.ops.shots.detection import find_boundaries
from framemill.ops.shots.features import NEIGHBOURS, Boundary, Features

FORCED_GAP = 250  # x264's default maximum key interval: a key frame this late is no sign of a cut
REGULAR_SPREAD = 0.1  # GOP lengths that differ by less than this are a rule, not a reaction to the picture
SHORTEST_GOP = 12  # mean GOP length below which key frames are too frequent to indicate cuts
MINIMUM_INTERVAL = 25  # x264's default minimum key interval
LOOK_AFTER_KEY = NEIGHBOURS  # frames decoded behind an early key frame: a flash ends there, motion goes on
LARGE_PACKET = 1.8  # times the third largest packet near by (true cuts: 1.97 and more)
LARGE_SHARE = 0.1  # of the size of the GOP's key frame
STRAY_PACKET = 4.0  # the same behind the minimum interval, where a large packet is rarely a cut
STRAY_SHARE = 0.4
BUSY_PACKETS = 3.0  # times the median packet: a run of such packets may be a dissolve or a fade
BUSY_IN_GOP = 2.5  # times the quarter of its GOP's packets: a shot that moves all along is busy throughout
BUSY_RUN = 8  # frames that the run is averaged over
BUSY_BUDGET = 0.2  # of all frames that may be decoded for such runs


def early_keys(is_key: BoolArray) -> Int64Array | None:
    """Frames with a key that came before its time; None where key frames do not follow the picture.

    Args:
        is_key: bool [n], in presentation order.
    """
    keys = np.flatnonzero(is_key)
    gaps = np.diff(keys)
    if len(gaps) == 0 or len(is_key) / len(keys) < SHORTEST_GOP:
        return None
    longest = int(gaps.max())
    if int(gaps.min()) >= (1 - REGULAR_SPREAD) * longest:
        return None
    return keys[1:][gaps < _forced_gap(gaps)]


def _forced_gap(gaps: Int64Array) -> int:
    """The maximum key interval that the encoder was given: x264's default, or one that shows in the file.

    Intervals are set in round numbers; two shots of equal length are a coincidence otherwise.
    """
    longest = int(gaps.max())
    times = int((gaps == longest).sum())
    is_set = times >= 3 or (times == 2 and (longest % 10 == 0 or longest % 12 == 0))
    return min(FORCED_GAP, longest) if is_set else FORCED_GAP


def select_frames(index: FrameIndex) -> Int64Array | None:
    """Sorted frames that fast mode looks at, or None where every frame is needed."""
    early = early_keys(index.is_key)
    if early is None:
        return None
    keys = np.flatnonzero(index.is_key)
    ends = np.append(keys[1:], len(index))
    chosen = index.is_key.copy()
    until = dict(zip(keys.tolist(), keys.tolist(), strict=True))  # last frame wanted of each GOP
    typical = max(float(np.median(index.packet_bytes)), 1.0)
    for key in early.tolist():
        until[key] = key + LOOK_AFTER_KEY
    for key, end in zip(keys.tolist(), ends.tolist(), strict=True):
        large = _large_packets(index.packet_bytes, key, end)
        # The first predicted picture is large beside others of a still shot, and seen already.
        if len(large) and large[-1] > until[key]:
            until[key] = max(until[key], int(large[-1]) + NEIGHBOURS)
    budget = int(BUSY_BUDGET * len(index))
    offers = []
    for key, end in zip(keys.tolist(), ends.tolist(), strict=True):
        sizes = index.packet_bytes[key + 1 : end] / typical
        if len(sizes) >= BUSY_RUN:
            busy = np.convolve(sizes, np.full(BUSY_RUN, 1 / BUSY_RUN), "valid")
            quarter = float(np.percentile(sizes, 25))
            runs = np.flatnonzero(busy >= max(BUSY_PACKETS, BUSY_IN_GOP * quarter))
            if len(runs):
                last = min(end - 1, key + int(runs[-1]) + 2 * BUSY_RUN)
                offers.append(((last - until[key]) / float(busy.max()), key, last))
    for _, key, last in sorted(offers):
        cost = last - until[key]
        if 0 < cost <= budget:
            budget -= cost
            until[key] = last
    for (key, last), end in zip(until.items(), ends.tolist(), strict=True):
        chosen[key : min(last + 1, end)] = True
    return np.flatnonzero(chosen)


def _large_packets(sizes: Int64Array, key: int, end: int) -> Int64Array:
    """Frames of the GOP [key, end) whose packets look like intra-coded pictures among predicted ones."""
    found = []
    # Behind the minimum interval an encoder makes a key frame of a cut it sees. What it does not see
    # (flat, drawn pictures) still comes as a packet of a key frame's size.
    floors = ((LARGE_PACKET, LARGE_SHARE), (STRAY_PACKET, STRAY_SHARE))
    worth = np.flatnonzero(sizes[key + 1 : end] >= LARGE_SHARE * sizes[key]) + key + 1
    for at in worth.tolist():
        times, share = floors[at > key + MINIMUM_INTERVAL]
        near = np.r_[sizes[max(key + 1, at - 8) : at], sizes[at + 1 : min(at + 9, end)]]
        usual = np.sort(near)[-3:][0] if len(near) else 0
        if sizes[at] >= times * usual and sizes[at] >= share * sizes[key]:
            found.append(at)
    return np.array(found, np.int64)


def find_selected(
    features: Features,
    early: Int64Array,
    ratio: float,
    floor: float,
    dissolve_floor: float,
    step_seconds: float,
) -> list[Boundary]:
    """Boundaries in frames picked by `select_frames`: exact detection where they adjoin, keys elsewhere."""
    found: list[Boundary] = []
    starts = np.flatnonzero(np.diff(features.frame_index, prepend=-2) != 1).tolist()
    known = set(early.tolist())
    for start, end in zip(starts, [*starts[1:], len(features)], strict=True):
        # The last frame decoded before an early key frame is included, so that a flash is recognised.
        first = start - 1 if start and int(features.frame_index[start]) in known else start
        inside = find_boundaries(features.part(first, end), ratio, floor, dissolve_floor, step_seconds)
        found += [Boundary(b.position + first, b.transition, b.score) for b in inside]
    return found
