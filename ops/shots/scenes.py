"""Scenes: where one shot ends and the next begins, by cut, fade or dissolve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.errors import UsageError
from framemill.models.runner import Model
from framemill.ops.chunks import Chunk, Float32Array, FrameIndex, Int64Array, ShardInfo, Signals, UInt8Array
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads
from framemill.ops.shots.detection import find_boundaries
from framemill.ops.shots.features import (
    THUMB_BYTES,
    Boundary,
    Features,
    Planes,
    change_between,
    detail_of,
    reach,
    thumbnails,
)
from framemill.ops.shots.selection import early_keys, find_selected, select_frames
from framemill.ops.shots.transnet import (
    ShotNetwork,
    TransNetCollector,
    find_transitions,
    join_states,
    seen_frames,
)

MODES = ("exact", "fast")
# What a frame is compared with, or the network that judges it.
METHODS = ("changes", "transnetv2")
_ROLE = "shot_boundaries"
FIRST_CHECK_FRAMES = 256  # frames after which stopping early is first considered; then at 1.5 times as many
ASSUMED_STEP_SECONDS = 0.04  # between frames where timestamps are equal or missing

# One row per shard. Lists run over the frames that were seen; planes are those of the first and the last.
STATE_SCHEMA = pa.schema(
    [
        column("step_seconds", pa.float64(), "usual time between frames of the whole source, > 0"),
        column("num_frames", pa.int64(), "frames of the whole source by its index"),
        column("end_seconds", pa.float64(), "where the last of them ends; a step where there is none"),
        column("sparse", pa.bool_(), "whether only selected frames were seen"),
        column("early_keys", pa.list_(pa.int64()), "key frames of the source that came early (fast mode)"),
        column("frame_index", pa.list_(pa.int64()), "0-based position in the source"),
        column("pts_seconds", pa.list_(pa.float64()), "seconds since the start of the presentation"),
        column("change", pa.list_(pa.float32()), "distance to the frame before in the shard, in levels"),
        column("detail", pa.list_(pa.float32()), "mean squared difference of neighbouring luma samples"),
        column("thumbs", pa.large_binary(), f"{THUMB_BYTES} cell means per frame"),
        column("first_planes", pa.list_(pa.large_binary()), "luma, U and V samples of the first frame"),
        column("last_planes", pa.list_(pa.large_binary()), "luma, U and V samples of the last frame"),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenesOptions:
    """How scenes are found.

    Attributes:
        method: changes compares each frame with those around it; transnetv2 has a network judge windows of
            every frame (role shot_boundaries), which takes far more time on a CPU.
        mode: exact looks at every frame; fast at key frames and where packets are large, falling back to
            every frame where key frames come at regular intervals. Of the method changes alone, as are the
            three below.
        cut_ratio: how many times a cut's change exceeds that around it, > 1. True cuts of the labelled
            clips have 2.6 and more, motion 1.6 and less.
        cut_threshold: least change of a cut in 8-bit levels (luma plus half the sum of both chroma), 0..510.
        dissolve_threshold: least distance between the pictures before and after a dissolve, in levels.
        transition_probability: least probability of a boundary by transnetv2, exclusive, 0..1.
        min_scene_seconds: a scene does not end before it has lasted this long, >= 0; the last may be shorter.
        max_scenes: stop after this many scenes; 0 finds all.
    """

    method: str = "changes"
    mode: str = "exact"
    cut_ratio: float = 2.2
    cut_threshold: float = 10.0
    dissolve_threshold: float = 14.0
    transition_probability: float = 0.5
    min_scene_seconds: float = 0.2
    max_scenes: int = 0

    def __post_init__(self) -> None:
        for name, known in (("method", METHODS), ("mode", MODES)):
            if getattr(self, name) not in known:
                raise UsageError(f"scenes.{name} is {getattr(self, name)!r}; it must be {' or '.join(known)}")
        if self.method == "transnetv2" and self.mode == "fast":
            raise UsageError(
                "scenes.mode is 'fast', but scenes.method=transnetv2 looks at every frame; leave one of "
                "both out"
            )
        for name, low, high in (
            ("cut_ratio", 1.0, 1000.0),
            ("cut_threshold", 0.0, 510.0),
            ("dissolve_threshold", 0.0, 255.0),
            ("transition_probability", 0.0, 1.0),
            ("min_scene_seconds", 0.0, 86400.0),
            ("max_scenes", 0, 2**31 - 1),
        ):
            value = getattr(self, name)
            kinds = (int,) if name == "max_scenes" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                kind = "whole number" if name == "max_scenes" else "number"
                raise UsageError(f"scenes.{name} is {value!r}; give a {kind} from {low} to {high}")


class Scenes(Op):
    """One row per shot; together they cover the source without gap or overlap."""

    name = "scenes"
    version = 5
    reads = Reads.SIGNALS
    models = (_ROLE,)
    Options = ScenesOptions
    options: ScenesOptions
    schema = pa.schema(
        [
            column("scene_index", pa.int32(), "0-based position of the scene in the source"),
            column(
                "start_seconds", pa.float64(), "time of its first frame, from the start of the presentation"
            ),
            column("end_seconds", pa.float64(), "time of the next scene's first frame, or the picture's end"),
            column("start_frame", pa.int64(), "its first frame, 0-based"),
            column("end_frame", pa.int64(), "one past its last frame"),
            column(
                "transition",
                pa.string(),
                "how it begins: start (of the source), cut (at its first frame), fade (at the start of "
                "the rise out of black or white), dissolve (at the middle of the mix); by transnetv2 a fade "
                "as well begins in the middle",
            ),
            column(
                "score",
                pa.float32(),
                "strength of the transition, >= 0: for a cut how many times its change exceeds that around "
                "it, for a fade or dissolve the distance between the pictures in levels; by transnetv2 its "
                "probability; 0 at the start",
            ),
        ]
    )

    @classmethod
    def roles(cls, options: ScenesOptions) -> tuple[str, ...]:
        """A model for the method `transnetv2` alone."""
        return cls.models if options.method == "transnetv2" else ()

    def __init__(self, options: ScenesOptions, models: Mapping[str, Model]) -> None:
        super().__init__(options, models)
        # Who only asks which frames it selects has no model for it.
        self._network = ShotNetwork(models[_ROLE]) if _ROLE in models else None
        self._selected: tuple[FrameIndex, Int64Array | None] | None = None

    def select(self, index: FrameIndex) -> Int64Array | None:
        """None in exact mode and where key frames do not follow the picture; else what fast mode needs."""
        if self.options.mode != "fast":
            return None
        last = self._selected  # asked for again with each shard of a file
        if last is None or last[0] is not index:
            self._selected = last = (index, select_frames(index))
        return last[1]

    def open(self, shard: ShardInfo) -> Extractor:
        """Collects a few numbers per frame; memory grows by about 120 bytes a frame."""
        if self.options.method == "transnetv2":
            assert self._network is not None
            return TransNetCollector(
                self._network, shard, _usual_step(shard.index), self.schema.empty_table()
            )
        return _Collector(self, shard)

    def merge(self, partials: Sequence[Partial]) -> pa.Table:
        """Finds the boundaries in the joined series of all shards."""
        states = [p.state for p in partials if p.state is not None and p.state.num_rows]
        seen = [s for s in states if len(s["frame_index"][0].values or ())]
        if not seen:
            return self.schema.empty_table()
        limit = self.options.max_scenes
        if self.options.method == "transnetv2":
            assert self._network is not None
            rows = self._judged(seen, self._network)
            return self._table(rows[:limit] if limit else rows)
        if limit and states[0] is seen[0]:
            # The first shard may have stopped early; then it alone holds the answer.
            rows = self.scenes_of(_joined(seen[:1]), seen[0], settled=True)
            if len(rows) >= limit:
                return self._table(rows[:limit])
        rows = self.scenes_of(_joined(seen), seen[0], settled=False)
        return self._table(rows[:limit] if limit else rows)

    def scenes_of(self, features: Features, state: pa.Table, settled: bool) -> list[tuple[object, ...]]:
        """Scenes of a series; with `settled` those only that no further frame can change."""
        names = ("step_seconds", "num_frames", "end_seconds", "sparse", "early_keys")
        head = {name: state[name][0].as_py() for name in names}
        step: float = head["step_seconds"]
        found = self._boundaries(features, head["sparse"], np.array(head["early_keys"], np.int64), step)
        at, times = features.frame_index, features.pts_seconds
        kept = self._kept(found, at, step)
        if settled:
            kept = [b for b in kept if b.position < len(features) - reach(step)]
        last = head["num_frames"] - 1 if head["sparse"] else int(at[-1])
        rows = _rows(kept, at, times, last, head["end_seconds"])
        return rows[:-1] if settled else rows

    def _judged(self, states: Sequence[pa.Table], network: ShotNetwork) -> list[tuple[object, ...]]:
        """Scenes by the network."""
        single, many = join_states(states, network)
        at, times, plain = seen_frames(states)
        found = find_transitions(single, many, at, plain, self.options.transition_probability)
        head = {name: states[0][name][0].as_py() for name in ("step_seconds", "end_seconds")}
        return _rows(self._kept(found, at, head["step_seconds"]), at, times, int(at[-1]), head["end_seconds"])

    def _kept(self, found: Sequence[Boundary], at: Int64Array, step: float) -> list[Boundary]:
        """The start, and the boundaries between which scenes last long enough."""
        shortest = max(1, round(self.options.min_scene_seconds / step))
        kept = [Boundary(0, "start", 0.0)]
        for boundary in sorted(found, key=lambda b: b.position):
            if int(at[boundary.position] - at[kept[-1].position]) >= shortest:
                kept.append(boundary)
        return kept

    def _boundaries(self, features: Features, sparse: bool, early: Int64Array, step: float) -> list[Boundary]:
        o = self.options
        if sparse:
            return find_selected(features, early, o.cut_ratio, o.cut_threshold, o.dissolve_threshold, step)
        return find_boundaries(features, o.cut_ratio, o.cut_threshold, o.dissolve_threshold, step)

    def _table(self, rows: Sequence[tuple[object, ...]]) -> pa.Table:
        columns = [list(c) for c in zip(*rows, strict=True)]
        return pa.table(columns, schema=self.schema)


class _Collector:
    """Numbers per frame of one shard."""

    def __init__(self, op: Scenes, shard: ShardInfo) -> None:
        self.op, self.shard = op, shard
        self.done = False
        index = shard.index
        self.step = _usual_step(index)
        early = early_keys(index.is_key) if op.options.mode == "fast" else None
        self.sparse = early is not None
        self.early = early if early is not None else np.zeros(0, np.int64)
        selected = op.select(index)
        self.is_mine = np.full(len(index), selected is None)  # others may have asked for more frames
        self.is_mine[slice(0, 0) if selected is None else selected] = True
        self.is_mine[: shard.start_frame] = False
        self.is_mine[shard.end_frame :] = False
        self.parts: list[Features] = []
        self.first: Planes | None = None
        self.last: Planes | None = None
        self.seen = 0
        self.next_check = FIRST_CHECK_FRAMES

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        assert isinstance(chunk, Signals)
        at = np.flatnonzero(self.is_mine[chunk.frame_index])
        if self.done or not len(at):
            return
        change, detail = np.zeros(len(at), np.float32), np.zeros(len(at), np.float32)
        thumbs = thumbnails(chunk.luma[at], chunk.chroma_u[at], chunk.chroma_v[at])
        for row, i in enumerate(at.tolist()):
            planes = (chunk.luma[i], chunk.chroma_u[i], chunk.chroma_v[i])
            if self.last is not None:
                change[row] = change_between(self.last, planes)
            detail[row] = detail_of(planes[0])
            self.last = planes
            if self.first is None:
                self.first = _copied(planes)
        assert self.last is not None
        self.last = _copied(self.last)  # a view would keep the whole chunk alive
        self.parts.append(Features(chunk.frame_index[at], chunk.pts_seconds[at], change, detail, thumbs))
        self.seen += len(at)
        self._stop_early()

    def _stop_early(self) -> None:
        """Only the first shard knows that what it found comes first; the others cannot stop."""
        limit = self.op.options.max_scenes
        if not limit or self.shard.shard_index or self.seen < self.next_check:
            return
        self.next_check = self.seen + self.seen // 2
        features = _concatenated(self.parts)
        self.parts = [features]
        self.done = len(self.op.scenes_of(features, self._state(), settled=True)) >= limit

    def finish(self) -> Partial:
        return Partial(self.op.schema.empty_table(), self._state())

    def _state(self) -> pa.Table:
        features, index = _concatenated(self.parts), self.shard.index
        row = [
            self.step,
            len(index),
            self._end_seconds(),
            self.sparse,
            self.early,
            features.frame_index,
            features.pts_seconds,
            features.change,
            features.detail,
            features.thumbs.tobytes(),
            [p.tobytes() for p in self.first or ()],
            [p.tobytes() for p in self.last or ()],
        ]
        columns = [pa.array([value], f.type) for value, f in zip(row, STATE_SCHEMA, strict=True)]
        return pa.table(columns, schema=STATE_SCHEMA)

    def _end_seconds(self) -> float:
        index = self.shard.index
        last = float(index.pts_seconds[-1]) if len(index) else 0.0
        return index.end_seconds if index.end_seconds > last else last + self.step


def _usual_step(index: FrameIndex) -> float:
    """Usual seconds from one frame to the next."""
    steps = np.diff(index.pts_seconds)
    usual = float(np.median(steps)) if len(steps) else 0.0
    return usual if usual > 0 else ASSUMED_STEP_SECONDS


def _rows(
    kept: Sequence[Boundary],
    at: Int64Array,
    times: npt.NDArray[np.float64],
    last: int,
    end_seconds: float,
) -> list[tuple[object, ...]]:
    """Rows of scenes from their boundaries.

    Args:
        at, times: index and time of each frame of the series. last: index of the last frame.
    """
    starts = [int(at[b.position]) for b in kept]
    start_times = [float(times[b.position]) for b in kept]
    ends, end_times = [*starts[1:], last + 1], [*start_times[1:], end_seconds]
    return [
        (i, start_times[i], end_times[i], starts[i], ends[i], b.transition, b.score)
        for i, b in enumerate(kept)
    ]


def _copied(planes: Planes) -> Planes:
    return planes[0].copy(), planes[1].copy(), planes[2].copy()


def _concatenated(parts: Sequence[Features]) -> Features:
    if not parts:
        none = np.zeros(0)
        return Features(
            none.astype(np.int64),
            none,
            none.astype(np.float32),
            none.astype(np.float32),
            np.zeros((0, THUMB_BYTES), np.uint8),
        )
    return Features(*(np.concatenate([getattr(p, n) for p in parts]) for n in Features.__slots__))


def _joined(states: Sequence[pa.Table]) -> Features:
    """The series of all shards, with the change across each shard boundary computed."""
    parts: list[Features] = []
    before: Planes | None = None
    for state in states:
        numbers = {n: state[n][0].values.to_numpy(zero_copy_only=False) for n in Features.__slots__[:-1]}
        change: Float32Array = numbers.pop("change").copy()
        planes = _flat_planes(state["first_planes"][0].as_py())
        if before is not None:
            change[0] = change_between(before, planes)
        before = _flat_planes(state["last_planes"][0].as_py())
        thumbs: UInt8Array = np.frombuffer(state["thumbs"][0].as_buffer(), np.uint8).reshape(-1, THUMB_BYTES)
        parts.append(Features(change=change, thumbs=thumbs, **numbers))
    return _concatenated(parts)


def _flat_planes(raw: Sequence[bytes]) -> Planes:
    y, u, v = (np.frombuffer(plane, np.uint8) for plane in raw)
    return y, u, v
