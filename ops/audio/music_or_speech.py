"""Segments of music, of speech, and of both, from the classes of `sounds`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from framemill.errors import UsageError
from framemill.ops.at_first_use import pc
from framemill.ops.chunks import ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import TableOp

# Classes of AudioSet. `Music` is the parent of all instruments and kinds of music, and networks give it to
# each of them; singing counts as music.
MUSIC = ("Music", "Singing", "Male singing", "Female singing")
SPEECH = (
    "Speech", "Male speech, man speaking", "Female speech, woman speaking", "Child speech, kid speaking",
    "Conversation", "Narration, monologue", "Speech synthesizer",
)  # fmt: skip
# By sum: 0 neither, 1 music, 2 speech, 3 both.
LABELS = ("", "music", "speech", "speech_and_music")


@dataclass(frozen=True, kw_only=True, slots=True)
class MusicOrSpeechOptions:
    """Options of `music_or_speech`.

    Attributes:
        threshold: score from which a window counts as music or as speech, 0..1; not below that of `sounds`,
            which drops lower ones.
    """

    threshold: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UsageError(
                f"music_or_speech.threshold is {self.threshold}; it must be more than 0, at most 1"
            )


class MusicOrSpeech(TableOp):
    """Consecutive windows of the same kind joined; stretches with neither give no row."""

    name = "music_or_speech"
    after = ("sounds",)
    Options = MusicOrSpeechOptions
    schema = pa.schema(
        [
            column("start_seconds", pa.float64(), "start, in seconds since the presentation's start"),
            column(
                "end_seconds",
                pa.float64(),
                "end, exclusive, in seconds since the presentation's start; rows do not overlap",
            ),
            column("label", pa.string(), "music, speech or speech_and_music"),
            column("score", pa.float32(), "mean over its windows of the weaker thing named, 0..1"),
        ]
    )

    def combine(self, upstream: Mapping[str, pa.Table], source: ShardInfo) -> pa.Table:
        sounds = upstream["sounds"]
        starts, window = np.unique(sounds["start_seconds"].to_numpy(), return_inverse=True)
        if not len(starts):
            return self.schema.empty_table()
        ends = np.zeros(len(starts))
        np.maximum.at(ends, window, sounds["end_seconds"].to_numpy())
        scores = np.zeros((2, len(starts)), np.float32)
        for row, labels in enumerate((MUSIC, SPEECH)):
            chosen = pc.is_in(sounds["label"], value_set=pa.array(labels)).to_numpy()
            np.maximum.at(scores[row], window[chosen], sounds["score"].to_numpy()[chosen])
        present = scores >= self.options.threshold
        kind = present[0] + 2 * present[1]
        weaker = np.where(kind == 3, scores.min(axis=0), scores.max(axis=0))
        # Overlapping windows meet halfway; where a window gave no row of `sounds`, a new stretch starts.
        shared = ends[:-1] > starts[1:]
        middle = (ends[:-1] + starts[1:]) / 2
        lefts = np.append(starts[0], np.where(shared, middle, starts[1:]))
        rights = np.append(np.where(shared, middle, ends[:-1]), ends[-1])
        breaks = (kind[1:] != kind[:-1]) | (lefts[1:] - rights[:-1] > 1e-3)
        first = np.flatnonzero(np.append(True, breaks))
        last = np.append(first[1:], len(starts)) - 1
        means = np.add.reduceat(weaker, first) / (last - first + 1)
        kept = kind[first] > 0
        return pa.table(
            {
                "start_seconds": lefts[first][kept],
                "end_seconds": rights[last][kept],
                "label": pa.array([LABELS[k] for k in kind[first][kept]], pa.string()),
                "score": means[kept].astype(np.float32),
            },
            schema=self.schema,
        )
