"""Importance of each part of a file, estimated before decoding: stretches of the picture of one tier each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from framemill.ops.chunks import Float64Array, Int64Array, ShardInfo
from framemill.ops.columns import STRETCH_COLUMNS, column
from framemill.ops.operation import TableOp
from framemill.ops.sampling.importance_curve import (
    BIN_SECONDS,
    TIERS,
    WEIGHTS,
    Curve,
    KeyFrameThumbnails,
    find_shots,
    make_curve,
    packet_surprises,
    runs_of,
    tier_bins,
)
from framemill.ops.shots.features import THUMB_BYTES

REASONS = {
    "onset": "something appears",
    "movement": "movement",
    "change": "a new picture",
    "sound": "louder sound",
    "speech": "speech",
    "cuts": "many cuts",
}
NOTHING = "nothing stands out"
# A signal is named as a reason when it has at least this value, and this share of the strongest weighted
# signal, which must itself have at least LEAST_WEIGHT.
LEAST_PART, LEAST_SHARE, LEAST_WEIGHT = 0.2, 0.4, 0.05


class Importance(TableOp):
    """Rows in order of time; together they cover the picture without gap or overlap.

    It reads packet sizes, key frames, sound levels and speech; a track that cannot be decoded counts as
    silent. A file is only compared with itself: tiers are quantiles of its own curve.
    """

    name = "importance"
    version = 2
    after = ("key_frames", "audio_levels", "speech")
    may_fail = ("audio_levels", "speech")
    schema = pa.schema(
        [
            *STRETCH_COLUMNS,
            column("shot_index", pa.int32(), "0-based likely shot, as packets and key frames tell it"),
            column(
                "tier",
                pa.string(),
                "critical, high, medium, low or minimal: by quantiles of the file's own importance",
            ),
            column("importance", pa.float32(), "most importance within the stretch, 0 (as usual) to 1"),
            column("peak_frame", pa.int64(), "the frame where it promises most"),
            column("reason", pa.string(), f"signals that stand out at the peak, or {NOTHING!r}"),
        ]
    )

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        index = source.index
        if not len(index):
            return self.schema.empty_table()
        thumbnails = _thumbnails(upstream["key_frames"])
        shots = find_shots(index, thumbnails)
        last = float(index.pts_seconds[-1])
        end = index.end_seconds if index.end_seconds > last else last + BIN_SECONDS
        levels, speech = upstream["audio_levels"], upstream["speech"]
        curve = make_curve(
            index,
            end,
            thumbnails,
            shots,
            (_numbers(levels, "start_seconds"), _numbers(levels, "rms_db")),
            (_numbers(speech, "start_seconds"), _numbers(speech, "end_seconds")),
        )
        tiers, surprises = tier_bins(curve.value), packet_surprises(index)
        bins = np.clip(
            ((index.pts_seconds - curve.seconds[0]) / BIN_SECONDS).astype(np.int64), 0, len(tiers) - 1
        )
        shot_of = np.repeat(np.arange(len(shots)), shots[:, 1] - shots[:, 0])
        rows = []
        for start, stop in runs_of(tiers[bins] * len(shots) + shot_of):
            peak = _peak(curve, bins, surprises, start, stop)
            rows.append(
                {
                    "start_seconds": float(index.pts_seconds[start]),
                    "end_seconds": float(index.pts_seconds[stop]) if stop < len(index) else end,
                    "start_frame": start,
                    "end_frame": stop,
                    "shot_index": int(shot_of[start]),
                    "tier": TIERS[tiers[bins[start]]],
                    "importance": float(curve.value[bins[peak]]),
                    "peak_frame": peak,
                    "reason": _reason(curve, int(bins[peak])),
                }
            )
        return pa.Table.from_pylist(rows, schema=self.schema)


def _numbers(rows: pa.Table, name: str) -> Float64Array:
    found: Float64Array = rows[name].to_numpy().astype(np.float64)
    return found


def _thumbnails(rows: pa.Table) -> KeyFrameThumbnails:
    rows = rows.sort_by("frame_index")
    cells = np.frombuffer(b"".join(rows["cells"].to_pylist()), np.uint8).reshape(-1, THUMB_BYTES)
    return KeyFrameThumbnails(rows["frame_index"].to_numpy().astype(np.int64), cells)


def _peak(curve: Curve, bins: Int64Array, surprises: Float64Array, start: int, stop: int) -> int:
    """The frame with the largest packet, or the middle one, of the best bin of the frames [start, stop)."""
    values = curve.value[bins[start:stop]]
    best = start + np.flatnonzero(values == values.max())
    best = best[bins[best] == bins[best[0]]]
    largest = int(best[np.argmax(surprises[best])])
    return largest if surprises[largest] > 0 else int(best[len(best) // 2])


def _reason(curve: Curve, at: int) -> str:
    weighed = {name: WEIGHTS[name] * float(part[at]) for name, part in curve.parts.items()}
    most = max(weighed.values())
    if most < LEAST_WEIGHT:
        return NOTHING
    reasons = [
        REASONS[name]
        for name in sorted(weighed, key=lambda name: -weighed[name])
        if curve.parts[name][at] >= LEAST_PART and weighed[name] >= LEAST_SHARE * most
    ]
    return ", ".join(reasons) or NOTHING
