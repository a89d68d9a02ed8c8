"""Tracks: made-up movements with known answers, and people who come one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.errors import UsageError
from framemill.ops.faces.faces import Faces
from framemill.ops.objects.kalman import begin_motion, move, observe
from framemill.ops.objects.tracks import Tracks, TracksOptions, match
from tests.ops.objects.object_tables import Thing, objects_table
from tests.ops.stand_ins import shard

NO_FACES = Faces.schema.empty_table()


def sampled(indices: Sequence[int], fps: float = 10.0) -> pa.Table:
    at = np.array(indices, np.int64)
    return pa.table({"frame_index": at, "pts_seconds": at / fps})


def track(
    things: Sequence[Thing], indices: Sequence[int], faces: pa.Table = NO_FACES, **options: float
) -> list[tuple[str, int, int, int]]:
    upstream = {"frames": sampled(indices), "objects": objects_table(things), "faces": faces}
    table = Tracks(TracksOptions(**options), {}).combine(
        upstream, shard(max(indices, default=-1) + 1, 640, 360)
    )
    assert table.schema.equals(Tracks.schema, check_metadata=True)
    table.validate(full=True)
    names = ("table", "frame_index", "item_index", "track_id")
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


def ids(rows: Sequence[tuple[str, int, int, int]]) -> list[int]:
    return [row[3] for row in rows]


def at(frame: int, x: float, label: str = "person", score: float = 0.9, y: float = 100.0) -> Thing:
    return frame, label, score, (x, y, x + 40, y + 100)


def test_two_that_cross_keep_their_tracks() -> None:
    frames = range(0, 60, 3)
    things = [thing for f in frames for thing in (at(f, 10 + 8 * f), at(f, 500 - 8 * f, y=130))]
    rows = track(things, frames)
    assert ids(rows) == [0, 1] * len(frames)


def test_what_is_hidden_is_found_where_it_must_have_gone() -> None:
    things = [at(f, 10 + 10 * f) for f in range(0, 40) if not 20 <= f < 28]
    assert set(ids(track(things, range(40)))) == {0}
    gone = [at(f, 10) for f in range(0, 40) if not 10 <= f < 25]
    assert set(ids(track(gone, range(40)))) == {0, 1}  # out of sight for more than a second
    assert set(ids(track(gone, range(40), max_gap_seconds=2))) == {0}


def test_one_sampled_frame_may_be_missed_however_far_apart() -> None:
    assert ids(track([at(0, 10), at(100, 12)], [0, 50, 100])) == [0, 0]
    assert ids(track([at(0, 10), at(150, 12)], [0, 50, 100, 150])) == [0, 1]


def test_the_unsure_is_followed_but_begins_nothing() -> None:
    things = [at(0, 10, score=0.35), at(1, 10), at(2, 12, score=0.35), at(3, 14)]
    assert track(things, range(4)) == [("objects", f, 0, 0) for f in (1, 2, 3)]


def test_labels_do_not_mix() -> None:
    assert ids(track([at(0, 10), at(1, 10, "car"), at(2, 10)], range(3))) == [0, 1, 0]


def test_faces_have_tracks_of_their_own() -> None:
    box = {"x0": 20.0, "y0": 20.0, "x1": 50.0, "y1": 60.0}
    faces = pa.Table.from_pylist(
        [
            {
                "frame_index": f,
                "pts_seconds": f / 10,
                "face_index": 0,
                "score": 0.8,
                "box": box,
                "landmarks": None,
            }
            for f in (0, 1)
        ],
        schema=Faces.schema,
    )
    rows = track([at(0, 10), at(1, 10)], range(2), faces)
    assert rows == [("objects", 0, 0, 0), ("objects", 1, 0, 0), ("faces", 0, 0, 1), ("faces", 1, 0, 1)]


def test_no_frames_and_no_things_give_no_rows() -> None:
    assert track([], []) == [] and track([], range(5)) == []


@settings(max_examples=30, deadline=None)
@given(
    things=st.lists(
        st.tuples(
            st.integers(0, 9), st.integers(0, 300), st.sampled_from([0.3, 0.7, 0.9]), st.integers(0, 200)
        ),
        max_size=30,
    ),
    seed=st.integers(0, 100),
)
def test_no_track_is_twice_in_a_frame_and_order_does_not_matter(
    things: list[tuple[int, int, float, int]], seed: int
) -> None:
    table = objects_table([at(f, x, score=score, y=y) for f, x, score, y in things])
    shuffled = table.take(np.random.default_rng(seed).permutation(table.num_rows))
    op, info = Tracks(TracksOptions(), {}), shard(10, 640, 360)
    results = [
        op.combine({"frames": sampled(range(10)), "objects": rows, "faces": NO_FACES}, info)
        for rows in (table, shuffled)
    ]
    assert results[0].equals(results[1])
    rows = results[0].to_pylist()
    assert len({(row["frame_index"], row["track_id"]) for row in rows}) == len(rows)
    assert {(row["frame_index"], row["item_index"]) for row in rows} <= {
        (row["frame_index"], row["object_index"]) for row in table.to_pylist()
    }
    assert sorted({row["track_id"] for row in rows}) == list(range(len({row["track_id"] for row in rows})))


def test_the_filter_learns_a_constant_velocity_at_any_spacing() -> None:
    truth = np.array([[0, 0, 40, 100]], np.float32)
    motion, now = begin_motion(truth), 0.0
    for gap in (0.1, 0.5, 0.2, 1.0, 0.1, 0.3):
        now += gap
        motion = observe(move(motion, gap), np.array([0]), truth + np.float32(30 * now))
    ahead = move(motion, 0.5).boxes
    np.testing.assert_allclose(ahead, truth + 30 * (now + 0.5), atol=3)


def test_the_best_pairs_come_first() -> None:
    rows, columns = match(np.array([[0.5, 0.9, 0.1], [0.4, 0.8, 0.0]]), 0.2)
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}
    assert len(match(np.zeros((0, 3)), 0.2)[0]) == 0 and len(match(np.zeros((2, 2)), 0.0)[0]) == 0


@pytest.mark.parametrize("options", [{"sure": 1.5}, {"enlarge": -1.0}, {"max_gap_seconds": -1.0}])
def test_options_out_of_range_are_named(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        TracksOptions(**options)


@pytest.mark.media
def test_people_who_come_one_by_one_have_a_track_each(media_dir: Path, models_dir: Path) -> None:
    import av

    from framemill.models.runner import Model
    from framemill.ops.objects.objects import Objects, ObjectsOptions
    from tests.ops.frames_stub import ArrayFrames
    from tests.ops.stand_ins import OrtRunner
    from tests.small_models import SMALL

    with av.open(str(media_dir / "video" / "one-by-one-person-detection.mp4")) as container:
        stream = container.streams.video[0]
        every = round(float(stream.average_rate or 10))
        kept = [
            (i, frame.to_ndarray(format="rgb24"))
            for i, frame in enumerate(container.decode(stream))
            if i % every == 0 and i < 75 * every
        ]
    indices = [i for i, _ in kept]
    frames = ArrayFrames(
        np.stack([p for _, p in kept]), frame_index=indices, pts_seconds=np.array(indices) / every
    )
    model = Model(SMALL["objects"], OrtRunner(models_dir / "yolox_nano.onnx"))
    objects = Objects(ObjectsOptions(), {"objects": model}).run(frames, {})
    upstream = {"frames": sampled(indices, every), "objects": objects, "faces": NO_FACES}
    rows = Tracks(TracksOptions(), {}).combine(upstream, shard(indices[-1] + 1, frames.width, frames.height))
    spans: dict[int, list[float]] = {}
    for row in rows.to_pylist():
        spans.setdefault(row["track_id"], []).append(row["pts_seconds"])
    # Seen in the clip: somebody from 6 to 19, from 22 to 45 and from 50 to 69 seconds.
    # In one frame, at 67 s, the network sees a second one.
    seen_on = [times for times in spans.values() if len(times) > 1]
    assert len(spans) <= len(seen_on) + 1
    assert [(round(min(s)), round(max(s))) for s in seen_on] == [(7, 19), (23, 44), (51, 69)]
