"""The beats of the sound, and their tempo."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from framemill.ops.audio.beat_tracking import (
    BLOCK,
    FRAME,
    FRAMES_PER_SECOND,
    HOP,
    SAMPLE_RATE,
    band_levels,
    estimate_period,
    flux,
    sharpen,
    track_beats,
)
from framemill.ops.audio.vad import clean_samples
from framemill.ops.chunks import Audio, Chunk, Float32Array, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads

# Flux lies between two frames, and a window contains an onset before its centre reaches it: in sum half a hop
# (measured on clicks of 60 to 174 bpm: 1 to 8 ms late on average with this).
_DELAY_SECONDS = HOP / 2 / SAMPLE_RATE


class Beats(Op):
    """One row a beat, where a person would tap; one tempo for the whole track.

    Sound without any rhythm can get beats as well: strength and `music_or_speech` help to recognise them.
    Silence gets none.
    """

    name = "beats"
    reads = Reads.AUDIO
    schema = pa.schema(
        [
            column(
                "time_seconds", pa.float64(), "time of the beat, in seconds since the presentation's start"
            ),
            column(
                "strength",
                pa.float32(),
                "how strongly something starts there, >= 0; the root mean square over the track is 1",
            ),
            column("tempo_bpm", pa.float32(), "tempo of the whole track in beats a minute, 40 to 240"),
        ]
    )

    def open(self, shard: ShardInfo) -> Extractor:
        return _Onsets()


class _Onsets:
    """Keeps one number per frame, the mean rise of its bands: 4 bytes for 16 ms."""

    def __init__(self) -> None:
        self.done = False
        self._start_sample = -1
        self._waiting = np.zeros(FRAME // 2, np.float32)
        self._last: Float32Array | None = None
        self._rises: list[Float32Array] = []

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Audio)
        if self._start_sample < 0:
            self._start_sample = chunk.start_sample
        self._waiting = np.concatenate([self._waiting, clean_samples(chunk)])
        while len(self._waiting) >= FRAME + (BLOCK - 1) * HOP:
            self._measure(BLOCK)

    def finish(self) -> Partial:
        if self._start_sample < 0:
            return Partial(Beats.schema.empty_table())
        # Frames that reach beyond the end are left out, since the cut would count as a change.
        num_frames = (len(self._waiting) - FRAME) // HOP + 1
        if num_frames > 0:
            self._measure(num_frames)
        strength = sharpen(np.concatenate([*self._rises, np.zeros(0, np.float32)]))
        period = estimate_period(strength)
        beats = track_beats(strength, period) if period else np.zeros(0, np.int64)
        rows = pa.table(
            {
                "time_seconds": (self._start_sample + beats * HOP) / SAMPLE_RATE + _DELAY_SECONDS,
                "strength": strength[beats].astype(np.float32),
                "tempo_bpm": np.full(len(beats), 60 * FRAMES_PER_SECOND / (period or 1), np.float32),
            },
            schema=Beats.schema,
        )
        return Partial(rows)

    def _measure(self, num_frames: int) -> None:
        levels = band_levels(self._waiting[: FRAME + (num_frames - 1) * HOP])
        # The first frame has no predecessor: its rise is 0.
        before = levels[:1] if self._last is None else self._last
        self._rises.append(flux(np.concatenate([before, levels])))
        self._last = levels[-1:]
        self._waiting = self._waiting[num_frames * HOP :].copy()
