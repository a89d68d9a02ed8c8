"""Duplicates: near-identical frames and videos of the whole dataset, by perceptual hash.

It reads the table `frames` and writes the table `duplicates`. Frames without contrast are left out: the hash
of a black picture is noise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.corpus.near_hashes import MAX_BITS, group_hashes, pairs_join
from framemill.cluster.results.corpus_tables import corpus_key, is_current, replace_table, uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.cluster.results.queries import dataset_tables
from framemill.errors import UsageError
from framemill.ops.chunks import Int64Array
from framemill.ops.columns import column

TABLE = "duplicates"
SOURCE_TABLE = "frames"
VERSION = 1
# Re-encoded and resized copies of a picture mostly stay within 10 bits (Zauner, "Implementation and
# Benchmarking of Perceptual Image Hash Functions", 2010, for hashes of this kind).
MAX_DISTANCE = 10
# Part of the frames of each of two videos that must be in the other for the videos to be the same.
MIN_SHARE = 0.8
# Below 2% of the range from black to white two pictures have no content to compare.
MIN_CONTRAST = 0.02
# Of a picture that more videos have, each video is compared with the next one only: copies of one video
# are neighbours in all of their pictures, and a title that many videos share does not give a quadratic
# number of pairs.
MANY_VIDEOS = 64

DUPLICATES_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("kind", pa.string(), "frame: a row of a frame; video: a row of a whole video"),
        column(
            "frame_index",
            pa.int64(),
            "0-based position among the presented frames of the source; null for a video",
            nullable=True,
        ),
        column(
            "pts_seconds",
            pa.float64(),
            "seconds since the start of the presentation; null for a video",
            nullable=True,
        ),
        column("group_id", pa.string(), "the same for all frames, or all videos, that are nearly identical"),
        column(
            "distance",
            pa.int32(),
            "bits, 0..64, in which the frame's hash differs from the group's most frequent one; null for a "
            "video",
            nullable=True,
        ),
        column(
            "share",
            pa.float32(),
            "part of the frames, 0..1, that the video and the most similar one of its group both have, the "
            "lower of the two parts; null for a frame",
            nullable=True,
        ),
    ]
)


@dataclass(frozen=True, slots=True)
class VideoGroup:
    """Videos that are nearly the same; `uris` holds every file, `share` the lowest of the group's rows."""

    group_id: str
    share: float
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DuplicatesReport:
    """The duplicates of the dataset.

    Attributes:
        videos: groups of videos, the largest first; copies that are equal byte by byte are in them too.
        num_frames: frames that are in a group. num_groups: how many groups they make.
        num_groups_across: of those, how many hold frames of several videos.
        num_left_out: frames without contrast. num_files_left_out: files whose frames were made with other
            options than the newest. changed: False when the table was up to date.
    """

    videos: tuple[VideoGroup, ...]
    num_frames: int
    num_groups: int
    num_groups_across: int
    num_left_out: int
    num_files_left_out: int
    changed: bool


@dataclass(frozen=True, slots=True)
class _Frames:
    """Frames by source and position.

    Attributes:
        sources: content ids, sorted. source: int64 [n], position in `sources`.
        frame_index: int64 [n]. pts_seconds: float64 [n]. phash: uint64 [n].
    """

    sources: tuple[str, ...]
    source: Int64Array
    frame_index: Int64Array
    pts_seconds: npt.NDArray[np.float64]
    phash: npt.NDArray[np.uint64]


def find_duplicates(
    dataset: Dataset,
    run_id: str,
    max_distance: int = MAX_DISTANCE,
    min_share: float = MIN_SHARE,
    missing: Collection[str] = (),
) -> DuplicatesReport:
    """Groups all frames by their hashes and replaces the table `duplicates`. Call it inside `dataset.hold`.

    Frames are in one group where a chain of frames leads from one to the other, each step within
    `max_distance`. Videos are where a chain of videos does, each pair sharing enough frames. Frames that were
    made with other options than the newest, such as another sampling, are left out.

    Args:
        max_distance: bits in which the hashes of near-identical frames may differ, 0..12.
        min_share: part of the frames of each of two videos that must have a like one in the other, >0..1.
        missing: uris where there is no file any more: they are duplicates of nothing, nor is a content that
            no other uri has.

    Raises:
        UsageError: a value is out of range, or the dataset has no frames.
        DatasetError: the storage refuses, or the lease is lost.
    """
    if not 0 <= max_distance <= MAX_BITS:
        raise UsageError(
            f"the distance is {max_distance} bits; it must be 0 to {MAX_BITS}: beyond, unrelated pictures "
            "come together"
        )
    if not 0 < min_share <= 1:
        raise UsageError(f"the share is {min_share}; it must be more than 0 and at most 1")
    known = uris_by_source(dataset).items()
    uris = {source: [uri for uri in every if uri not in missing] for source, every in known}
    absent = sorted(source for source, files in uris.items() if not files)
    options: dict[str, Any] = {"max_distance": max_distance, "min_share": min_share}
    if absent:
        options["absent"] = absent
    key = corpus_key(dataset, TABLE, SOURCE_TABLE, VERSION, options)
    entries = dataset.state.entries.items()
    outdated = dataset.state.outdated(SOURCE_TABLE)
    left = outdated.union(absent)
    num_rows = sum(entry.rows for (of, owner), entry in entries if of == SOURCE_TABLE and owner not in left)
    frames = _read_frames(dataset, left)
    changed = not is_current(dataset, TABLE, SOURCE_TABLE, key, outdated)
    if changed:
        rows = duplicate_rows(frames, max_distance, min_share)
        replace_table(dataset, run_id, TABLE, SOURCE_TABLE, key, rows, outdated)
    else:
        found = read_rows(dataset.root, TABLE, dataset.state.parts_of(TABLE))
        rows = DUPLICATES_SCHEMA.empty_table() if found is None else found
    return _report(uris, rows, num_rows - len(frames.phash), len(outdated), changed)


def _read_frames(dataset: Dataset, left_out: Collection[str]) -> _Frames:
    names = ["source_id", "frame_index", "pts_seconds", "phash"]
    filled = pc.field("contrast") >= MIN_CONTRAST
    if left_out:
        filled &= ~pc.field("source_id").isin(pa.array(sorted(left_out), pa.string()))
    # Not `read_rows`: stored pictures must stay on disk.
    table = dataset_tables(dataset, [SOURCE_TABLE])[SOURCE_TABLE].to_table(columns=names, filter=filled)
    keys = [("source_id", "ascending"), ("frame_index", "ascending")]
    table = table.take(pc.sort_indices(table, sort_keys=keys))
    ids = table["source_id"].combine_chunks().dictionary_encode()
    order = pc.sort_indices(ids.dictionary).to_numpy()  # by first appearance, which is sorted already
    assert np.array_equal(order, np.arange(len(order)))
    return _Frames(
        tuple(ids.dictionary.to_pylist()),
        ids.indices.to_numpy().astype(np.int64),
        table["frame_index"].to_numpy(),
        table["pts_seconds"].to_numpy(),
        table["phash"].to_numpy(),
    )


def duplicate_rows(frames: _Frames, max_distance: int, min_share: float) -> pa.Table:
    """The table's rows, those of videos first, then those of frames by source and position."""
    hashes, which, counts = np.unique(frames.phash, return_inverse=True, return_counts=True)
    group = group_hashes(hashes, max_distance)
    # The most frequent hash of each group, the smallest of equals, represents it.
    best = np.lexsort((hashes, -counts, group))
    firsts = best[np.unique(group[best], return_index=True)[1]]
    representatives = np.zeros(len(hashes), np.uint64)
    representatives[group[firsts]] = hashes[firsts]
    of_frame = group[which]
    size = np.bincount(of_frame, minlength=len(hashes))
    rows = np.flatnonzero(size[of_frame] > 1)
    videos = _video_rows(frames, of_frame, min_share)
    kinds = zip(DUPLICATES_SCHEMA.names, DUPLICATES_SCHEMA.types, strict=True)
    nothing = {name: pa.nulls(len(rows), kind) for name, kind in kinds}
    representative = representatives[of_frame[rows]]
    values = {
        **nothing,
        "source_id": pa.array(frames.sources, pa.string()).take(pa.array(frames.source[rows])),
        "kind": pa.array(["frame"], pa.string()).take(pa.array(np.zeros(len(rows), np.int64))),
        "frame_index": pa.array(frames.frame_index[rows]),
        "pts_seconds": pa.array(frames.pts_seconds[rows]),
        "group_id": pa.array([f"{stand:016x}" for stand in representative.tolist()], pa.string()),
        "distance": pa.array(np.bitwise_count(frames.phash[rows] ^ representative).astype(np.int32)),
    }
    return pa.concat_tables([videos, pa.table(values, schema=DUPLICATES_SCHEMA)])


def _video_rows(frames: _Frames, of_frame: Int64Array, min_share: float) -> pa.Table:
    num_videos = len(frames.sources)
    first, second, share = video_pairs(frames.source, of_frame, num_videos)
    near = share >= min_share
    first, second, share = first[near], second[near], share[near]
    root = pairs_join(num_videos, first, second)
    best = np.zeros(num_videos)
    np.maximum.at(best, first, share)
    np.maximum.at(best, second, share)
    rows = [
        {
            "source_id": frames.sources[video],
            "kind": "video",
            "group_id": f"video-{frames.sources[root[video]][:12]}",
            "share": best[video],
        }
        for video in np.flatnonzero(best).tolist()
    ]
    return pa.Table.from_pylist(rows, schema=DUPLICATES_SCHEMA)


def video_pairs(
    video: Int64Array, group: Int64Array, num_videos: int
) -> tuple[Int64Array, Int64Array, npt.NDArray[np.float64]]:
    """Pairs of videos with frames in common, and the part of their frames that is, the lower of the two.

    Args:
        video, group: int64 [n], the video of each frame, and its group of near-identical frames.
    """
    held, counts = np.unique(np.stack([group, video], axis=1), axis=0, return_counts=True)
    groups, videos = held[:, 0], held[:, 1]
    begin = np.searchsorted(groups, groups, "left")
    end = np.searchsorted(groups, groups, "right")
    rows = np.arange(len(held))
    last = np.where(end - begin > MANY_VIDEOS, np.minimum(rows + 2, end), end)
    following = last - rows - 1
    one = np.repeat(rows, following)
    other = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(following) - following, following)
    pairs, number = np.unique(videos[one] * num_videos + videos[other], return_inverse=True)
    first, second = pairs // max(num_videos, 1), pairs % max(num_videos, 1)
    total = np.bincount(video, minlength=num_videos)
    common = (
        np.bincount(number, weights=counts[one], minlength=len(pairs)) / total[first],
        np.bincount(number, weights=counts[other], minlength=len(pairs)) / total[second],
    )
    return first, second, np.minimum(*common)


def _report(
    uris: Mapping[str, list[str]], rows: pa.Table, num_left_out: int, num_files_left_out: int, changed: bool
) -> DuplicatesReport:
    is_video = pc.equal(rows["kind"], "video")
    frames = rows.filter(pc.invert(is_video))
    groups = frames.group_by("group_id").aggregate([("source_id", "count_distinct")])
    members: dict[str, list[tuple[str, float]]] = {}
    for row in rows.filter(is_video).select(["group_id", "source_id", "share"]).to_pylist():
        members.setdefault(row["group_id"], []).append((row["source_id"], row["share"]))
    grouped = {source for group in members.values() for source, _ in group}
    # Equal files are one source, which has no row of its own if nothing else resembles it.
    for source, files in uris.items():
        if len(files) > 1 and source not in grouped:
            members[f"video-{source[:12]}"] = [(source, 1.0)]
    return DuplicatesReport(
        videos=_video_groups(members, uris),
        num_frames=frames.num_rows,
        num_groups=groups.num_rows,
        num_groups_across=pc.sum(pc.greater(groups["source_id_count_distinct"], 1)).as_py() or 0,
        num_left_out=num_left_out,
        num_files_left_out=num_files_left_out,
        changed=changed,
    )


def _video_groups(
    members: dict[str, list[tuple[str, float]]], uris: Mapping[str, list[str]]
) -> tuple[VideoGroup, ...]:
    groups = [
        VideoGroup(name, min(share for _, share in group), _files([source for source, _ in group], uris))
        for name, group in members.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-len(group.uris), group.group_id)))


def _files(sources: Sequence[str], uris: Mapping[str, list[str]]) -> tuple[str, ...]:
    return tuple(sorted(uri for source in sources for uri in uris.get(source, [source])))
