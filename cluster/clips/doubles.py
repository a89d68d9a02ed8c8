"""Clips that look alike: of each group the best is kept.

Best is, in this order: the larger picture, the sharper (mean `sharpness` of its frames), the longer, the one
that comes first. A clip is dropped where it looks like one that is kept, never for looking like one that is
dropped: so what is dropped is always there in a better version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from framemill.cluster.clips.choices import METHODS, require_method
from framemill.cluster.clips.intervals import SAME_SECONDS, Stretch
from framemill.cluster.clips.selection import Planned
from framemill.cluster.corpus.duplicates import MAX_DISTANCE, MIN_CONTRAST, MIN_SHARE, video_pairs
from framemill.cluster.corpus.near_hashes import group_hashes
from framemill.cluster.corpus.near_vectors import near_pairs
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import ask
from framemill.cluster.results.source_columns import SourceColumns
from framemill.errors import UsageError
from framemill.ops.chunks import BoolArray, Float32Array, Float64Array, Int64Array

# Frames a second apart of one shot have 0.91 to 1, of different shots 0.15 to 0.7 (measured with
# mobilenet_v1_embed): the mean over a clip of the same shot encoded anew is closer than its single frames.
LEAST_COSINE = 0.95
REASON = "double"


@dataclass(frozen=True, slots=True)
class _Clips:
    """Clips that are to be compared, by source and time.

    Attributes:
        source: int64 [n], position in `sources`. place: int64 [n], among the clips of the source.
        start_seconds, end_seconds: float64 [n].
    """

    sources: tuple[str, ...]
    source: Int64Array
    place: Int64Array
    start_seconds: Float64Array
    end_seconds: Float64Array

    def __len__(self) -> int:
        return len(self.source)


def drop_doubles(dataset: Dataset, planned: Planned, method: str) -> Planned:
    """The plan, with the reason `REASON` for clips that look like a better one.

    Clips of which no frame was sampled are kept: nothing tells what they look like.

    Args:
        method: a key of `METHODS`. `hash` finds the same pictures, though resized or encoded anew, by at
            least `MIN_SHARE` of the sampled frames; `embedding` pictures that show the same, by the mean of
            the vectors.

    Raises:
        UsageError: no such method, or what it reads was not extracted.
        DatasetError: a part cannot be read.
    """
    require_method(method)
    if METHODS[method] not in dataset.state.keys:
        raise UsageError(
            f"finding doubles by {method} reads {METHODS[method]}, which was not extracted: run `framemill "
            f"extract SOURCES -o OUT --ops {METHODS[method]}` first"
        )
    clips = _kept(planned)
    reader = SourceColumns(dataset, clips.sources)
    frames = reader.read(
        "frames", ["pts_seconds", "phash", "sharpness"], seen=pc.field("contrast") >= MIN_CONTRAST
    )
    sharpness = np.zeros(len(clips))
    if frames is not None:
        rows, clip = _frames_in(clips, frames.source, frames["pts_seconds"])
        counts = np.bincount(clip, minlength=len(clips))
        sharpness = np.bincount(clip, frames["sharpness"][rows], len(clips)) / np.maximum(counts, 1)
    order = np.lexsort(
        (np.arange(len(clips)), clips.start_seconds - clips.end_seconds, -sharpness, -_pixels(dataset, clips))
    )
    if method == "hash":
        assert frames is not None
        first, second = _alike_hashes(clips, rows, clip, frames["phash"], frames["seen"])
    else:
        first, second = _alike_vectors(clips, reader)
    dropped = ~keep_best(len(clips), first, second, order)
    changed: dict[str, list[Stretch]] = {}
    for source, place in zip(clips.source[dropped].tolist(), clips.place[dropped].tolist(), strict=True):
        name = clips.sources[source]
        own = changed.setdefault(name, list(planned.clips[name]))
        own[place] = replace(own[place], reason=REASON)
    return replace(planned, clips={**planned.clips, **changed})


def keep_best(num: int, first: Int64Array, second: Int64Array, order: Int64Array) -> BoolArray:
    """Which of `num` things are kept, where each pair is alike: none that is alike to a better one kept.

    Args:
        first, second: int64 [m], the pairs. order: int64 [num], positions, the best first.
    """
    kept = np.ones(num, np.bool_)
    if not len(first):
        return kept
    rank = np.empty(num, np.int64)
    rank[order] = np.arange(num)
    swapped = rank[first] > rank[second]
    better, worse = np.where(swapped, second, first), np.where(swapped, first, second)
    by_rank = np.argsort(rank[better], kind="stable")
    better, worse = better[by_rank], worse[by_rank]
    starts = np.flatnonzero(np.diff(better, prepend=-1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(better)], strict=True):
        if kept[better[start]]:
            kept[worse[start:end]] = False
    return kept


def _kept(planned: Planned) -> _Clips:
    sources = tuple(sorted(planned.clips))
    rows = [
        (number, place, each.start_seconds, each.end_seconds)
        for number, source in enumerate(sources)
        for place, each in enumerate(planned.clips[source])
        if not each.reason
    ]
    table = np.array(rows, np.float64).reshape(-1, 4)
    return _Clips(
        sources, table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2], table[:, 3]
    )


def _frames_in(clips: _Clips, source: Int64Array, seconds: Float64Array) -> tuple[Int64Array, Int64Array]:
    """Rows of frames, by source and time, that lie in clips, and the clip of each.

    Args:
        source: int64 [m], rising. seconds: float64 [m], rising within a source.
    """
    # Times of a source are put behind those of the one before, so that one search finds both.
    shift = max(np.max(seconds, initial=0.0), np.max(clips.end_seconds, initial=0.0)) + 1.0
    line = source * shift + seconds
    begin = np.searchsorted(line, clips.source * shift + clips.start_seconds - SAME_SECONDS)
    end = np.searchsorted(line, clips.source * shift + clips.end_seconds - SAME_SECONDS)
    counts = np.maximum(end - begin, 0)
    clip = np.repeat(np.arange(len(clips)), counts)
    within = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
    return (np.repeat(begin, counts) + within).astype(np.int64), clip


def _pixels(dataset: Dataset, clips: _Clips) -> Float64Array:
    """Size of each clip's picture; 0 where `media` was not extracted."""
    if "media" not in dataset.state.keys:
        return np.zeros(len(clips))
    found = ask(dataset, "SELECT source_id, max(width::DOUBLE * height) FROM media GROUP BY 1").rows
    known: dict[str, float] = dict(found)
    return np.array([known.get(source) or 0.0 for source in clips.sources])[clips.source]


def _alike_hashes(
    clips: _Clips, rows: Int64Array, clip: Int64Array, phash: np.ndarray, seen: BoolArray
) -> tuple[Int64Array, Int64Array]:
    rows, clip = rows[seen[rows]], clip[seen[rows]]
    hashes, which = np.unique(phash[rows].astype(np.uint64), return_inverse=True)
    group = group_hashes(hashes, MAX_DISTANCE)[which]
    first, second, share = video_pairs(clip, group, len(clips))
    return first[share >= MIN_SHARE], second[share >= MIN_SHARE]


def _alike_vectors(clips: _Clips, reader: SourceColumns) -> tuple[Int64Array, Int64Array]:
    told, means = _mean_vectors(clips, reader)
    pairs = list(near_pairs(means, LEAST_COSINE)) if len(means) else []
    if not pairs:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second = (np.concatenate(each) for each in zip(*pairs, strict=True))
    return told[first], told[second]


def _mean_vectors(clips: _Clips, reader: SourceColumns) -> tuple[Int64Array, Float32Array]:
    """Clips with at least one vector, and the mean of theirs, float32 [n, d] of length 1."""
    times = reader.read("image_embeddings", ["frame_index", "pts_seconds"])
    assert times is not None
    told: list[int] = []
    means: list[Float32Array] = []
    for source, frame_index, vectors in reader.vectors("image_embeddings"):
        low, high = np.searchsorted(times.source, [source, source + 1])
        seconds = times["pts_seconds"][low:high]
        if len(seconds) != len(vectors) or not np.array_equal(times["frame_index"][low:high], frame_index):
            continue
        begin, end = np.searchsorted(clips.source, [source, source + 1])
        for clip in range(int(begin), int(end)):
            bounds = (clips.start_seconds[clip] - SAME_SECONDS, clips.end_seconds[clip] - SAME_SECONDS)
            first, last = np.searchsorted(seconds, bounds)
            if first < last:
                mean = vectors[first:last].mean(axis=0)
                told.append(clip)
                means.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
    lengths = {len(mean) for mean in means}
    if len(lengths) > 1:
        raise UsageError(
            f"vectors of {' and of '.join(map(str, sorted(lengths)))} numbers cannot be compared: extract "
            "image_embeddings of all files with one model"
        )
    return np.array(told, np.int64), np.stack(means) if means else np.zeros((0, 0), np.float32)
