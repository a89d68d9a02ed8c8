"""Who speaks when: a segmentation model separates speakers within ten seconds, clustering joins them across.

The method is that of pyannote's pipeline (Bredin, "pyannote.audio 2.1 speaker diarization pipeline",
Interspeech 2023) with the powerset segmentation of Plaquet and Bredin (Interspeech 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.ops.audio.linkage import EQUAL, average_linkage, number_by_appearance
from framemill.ops.audio.vad import SAMPLE_RATE, clean_samples
from framemill.ops.audio.voices import embed_voice
from framemill.ops.chunks import Audio, BoolArray, Chunk, Float32Array, Int64Array, ShardInfo
from framemill.ops.columns import SPAN_COLUMNS, column
from framemill.ops.operation import Extractor, Op, Partial, Reads

WINDOW = 160_000  # samples that the segmentation takes at once: fixed by its training
STEP = 270  # samples from one of its frames to the next
OFFSET = 360  # start of the first frame's own samples: half its field of 991 less half a step
NUM_FRAMES = 589
HOP_FRAMES = 297  # windows start every 5.01 s, so that frames of all of them lie on one grid
# The model's classes, as speakers of the window: nobody, each of three, each pair of them.
POWERSET = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32)
# A speaker's vector is made of the frames where nobody else speaks, if they last this long; else of all
# where they speak, if those last as long as the second number.
ALONE_SECONDS, LEAST_SECONDS = 0.5, 0.25
# No syllable is shorter: what is comes from windows that disagree by a frame or two about where a turn ends.
LEAST_TURN_SECONDS = 0.1
# Vectors clustered at once, which bounds the time; three hours of two speakers have about that many.
MAX_VECTORS = 4_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeakersOptions:
    """Options of `speakers`.

    Attributes:
        threshold: stretches belong to one speaker where their vectors' cosine is at least this on average,
            -1..1. 0.3 is about what pyannote's published pipeline found best for the default model (cosine
            distance 0.70); other models need their own: resemblyzer_ge2e 0.75.
    """

    threshold: float = 0.3

    def __post_init__(self) -> None:
        if not -1 <= self.threshold <= 1:
            raise UsageError(f"speakers.threshold is {self.threshold}; it must be -1 to 1")


class Speakers(Op):
    """One row a turn; turns of different speakers may overlap. Speakers are numbered by first appearance."""

    name = "speakers"
    reads = Reads.AUDIO
    models = ("speaker_segmentation", "speaker_embeddings")
    version = 3
    Options = SpeakersOptions
    schema = pa.schema(
        [
            *SPAN_COLUMNS,
            column("speaker", pa.string(), "speaker_0, speaker_1, ...: the same voice within this source"),
        ]
    )

    def open(self, shard: ShardInfo) -> Extractor:
        return _Turns(self.options, self.loaded["speaker_segmentation"], self.loaded["speaker_embeddings"])


class _Turns:
    """Keeps a vector and the probability per frame of each speaker in each window: 4 KB for 5 s."""

    def __init__(self, options: SpeakersOptions, segmentation: Model, embeddings: Model) -> None:
        self.done = False
        self._threshold = options.threshold
        self._segmentation = segmentation
        self._embeddings = embeddings
        self._start_sample = -1
        self._num_samples = 0
        self._num_windows = 0
        self._waiting = np.zeros(0, np.float32)
        self._window_of: list[int] = []
        self._counts: list[Int64Array] = []  # of each window, speakers per frame
        self._activity: list[Float32Array] = []
        self._vectors: list[Float32Array] = []

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Audio)
        if self._start_sample < 0:
            self._start_sample = chunk.start_sample
        self._num_samples += len(chunk.samples)
        self._waiting = np.concatenate([self._waiting, clean_samples(chunk)])
        while len(self._waiting) >= WINDOW:
            self._add_window(self._waiting[:WINDOW])
            self._waiting = self._waiting[HOP_FRAMES * STEP :].copy()

    def finish(self) -> Partial:
        covered = (self._num_windows - 1) * HOP_FRAMES * STEP + WINDOW if self._num_windows else 0
        if self._num_samples > covered:
            self._add_window(np.pad(self._waiting, (0, WINDOW - len(self._waiting))))
        if not self._vectors:
            return Partial(Speakers.schema.empty_table())
        windows = np.array(self._window_of, np.int64)
        group = group_speakers(np.stack(self._vectors), windows, self._threshold)
        turns = sorted(
            (start, end, number)
            for number, active in enumerate(self._active(group))
            for start, end in self._turns_of(active)
        )
        # Numbers follow the turns, not the windows that they were found in.
        names = {number: f"speaker_{i}" for i, number in enumerate(dict.fromkeys(t[2] for t in turns))}
        rows = {
            "start_seconds": [t[0] for t in turns],
            "end_seconds": [t[1] for t in turns],
            "speaker": [names[t[2]] for t in turns],
        }
        return Partial(pa.table(rows, schema=Speakers.schema))

    def _active(self, group: Int64Array) -> BoolArray:
        """Which speakers speak in each frame of the track: bool [groups, frames].

        As many as the segmentation hears there, on average over the windows; they are those whose
        probabilities are the highest in sum, so that a voice is heard even where windows gave it to different
        groups.
        """
        num_frames = (self._num_windows - 1) * HOP_FRAMES + NUM_FRAMES
        active = np.zeros((int(group.max()) + 1, num_frames), np.bool_)
        windows = np.array(self._window_of)
        # Between one window's start and the next, few windows and so few groups have a say.
        for start in range(0, num_frames, HOP_FRAMES):
            end = min(start + HOP_FRAMES, num_frames)
            first = max(0, -(-(start - NUM_FRAMES + 1) // HOP_FRAMES))
            last = min(start // HOP_FRAMES, self._num_windows - 1)
            heard, covered = np.zeros(end - start, np.float32), np.zeros(end - start, np.float32)
            totals: dict[int, Float32Array] = {}
            for window in range(first, last + 1):
                here = slice(start - window * HOP_FRAMES, end - window * HOP_FRAMES)
                counts = self._counts[window][here]
                heard[: len(counts)] += counts
                covered[: len(counts)] += 1
                for member in np.flatnonzero(windows == window).tolist():
                    total = totals.setdefault(int(group[member]), np.zeros(end - start, np.float32))
                    total[: len(counts)] += self._activity[member][here]
            if totals:
                numbers, stacked = list(totals), np.stack(list(totals.values()))
                rank = np.argsort(np.argsort(-stacked, axis=0, kind="stable"), axis=0)
                active[numbers, start:end] = (rank < np.rint(heard / covered)) & (stacked > 0)
        return active

    def _turns_of(self, active: BoolArray) -> list[tuple[float, float]]:
        """Start and end, seconds, of each turn in bool [frames]."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]])))
        samples = np.minimum(OFFSET + edges * STEP, self._num_samples)
        samples[edges == 0] = 0
        seconds = ((self._start_sample + samples) / SAMPLE_RATE).tolist()
        turns = zip(seconds[::2], seconds[1::2], strict=True)
        return [(start, end) for start, end in turns if end - start >= LEAST_TURN_SECONDS]

    def _add_window(self, samples: Float32Array) -> None:
        """Separates the speakers of one window and embeds each."""
        outputs = self._segmentation.runner.run_whole({"x": samples[None, None]})
        values = outputs.get("y", np.zeros(0, np.float32))
        if values.shape != (1, NUM_FRAMES, len(POWERSET)):
            raise ModelError(
                f"model {self._segmentation.entry.name} gives {list(values.shape)} as output `y`; expected "
                f"[1, {NUM_FRAMES}, {len(POWERSET)}]: choose one of family pyannote_powerset"
            )
        probabilities: Float32Array = np.exp(values[0].astype(np.float32)) @ POWERSET
        speaking: BoolArray = POWERSET[values[0].argmax(axis=1)] > 0
        self._counts.append(speaking.sum(axis=1))
        alone = speaking & (speaking.sum(axis=1, keepdims=True) == 1)
        for speaker in range(POWERSET.shape[1]):
            chosen = alone[:, speaker]
            if chosen.sum() * STEP < ALONE_SECONDS * SAMPLE_RATE:
                chosen = speaking[:, speaker]
            if chosen.sum() * STEP < LEAST_SECONDS * SAMPLE_RATE:
                continue
            sound = samples[OFFSET : OFFSET + NUM_FRAMES * STEP].reshape(NUM_FRAMES, STEP)[chosen]
            self._vectors.append(embed_voice(self._embeddings, sound.reshape(-1)))
            self._activity.append(probabilities[:, speaker])
            self._window_of.append(self._num_windows)
        self._num_windows += 1


def group_speakers(vectors: Float32Array, window: Int64Array, threshold: float) -> Int64Array:
    """Groups the speakers of all windows by average linkage.

    Two speakers of one window have similarity -1, since the segmentation separated them. More than
    MAX_VECTORS are grouped in consecutive lots, then the lots' groups by their mean vectors.

    Args:
        vectors: float32 [n, d], each of length 1.
        window: int64 [n], the window that each is from, ascending.
        threshold: cosine, -1..1.

    Returns:
        int64 [n], numbers from 0 in the order of first members.
    """
    if len(vectors) <= MAX_VECTORS:
        pairs = [np.zeros((0, 2), np.int64)]
        for step in range(1, POWERSET.shape[1]):  # no window has more speakers
            same = np.flatnonzero(window[step:] == window[:-step])
            pairs.append(np.stack([same, same + step], axis=1))
        return average_linkage(vectors, threshold, certain=EQUAL, opposites=np.concatenate(pairs))
    groups: list[Int64Array] = []
    means: list[Float32Array] = []
    sizes: list[Float32Array] = []
    num_groups = 0
    for start in range(0, len(vectors), MAX_VECTORS):
        lot = slice(start, start + MAX_VECTORS)
        found = group_speakers(vectors[lot], window[lot], threshold)
        groups.append(found + num_groups)
        counts = np.bincount(found).astype(np.float32)
        num_groups += len(counts)
        totals = np.zeros((len(counts), vectors.shape[1]), np.float32)
        np.add.at(totals, found, vectors[lot])
        means.append(totals / counts[:, None])
        sizes.append(counts)
    joined = average_linkage(np.concatenate(means), threshold, certain=EQUAL, sizes=np.concatenate(sizes))
    return number_by_appearance(joined[np.concatenate(groups)])
