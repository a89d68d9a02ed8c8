"""Stretches: pictures that stand, drift and tremble for known times, cut into shards anywhere."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.errors import UsageError
from framemill.ops.chunks import ShardInfo, Signals
from framemill.ops.shots.picture_steps import measure_step
from framemill.ops.shots.stretches import Stretches, StretchesOptions
from tests.ops.stand_ins import frame_index

FPS = 20.0
WIDTH, HEIGHT = 160, 90


def world() -> npt.NDArray[np.uint8]:
    """Detail of every size, as in nature."""
    generator = np.random.default_rng(4)
    layers = [generator.normal(0, 40, (320 // n, 480 // n)) for n in (2, 4, 8, 16, 32)]
    total = sum(np.asarray(cv2.resize(layer, (480, 320), interpolation=cv2.INTER_CUBIC)) for layer in layers)
    return np.clip(np.rint(total * 0.5 + 128), 0, 255).astype(np.uint8)


WORLD = world()


def view(x: float, y: float = 60.0) -> npt.NDArray[np.uint8]:
    place = np.array([[1, 0, x], [0, 1, y]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(WORLD, place, (WIDTH, HEIGHT), flags=flags), np.uint8)


def clip() -> npt.NDArray[np.uint8]:
    """4 s frozen, 3 s of an even pan, 3 s trembling at 5 Hz by 3 samples, 3 s with only a little noise."""
    noise = np.random.default_rng(5).integers(-1, 2, (60, HEIGHT, WIDTH))
    trembling = 3 * np.sin(2 * np.pi * 5 * np.arange(60) / FPS + 0.3)
    parts = [
        np.repeat(view(20)[None], 80, axis=0),
        np.stack([view(20 + 2.0 * i) for i in range(1, 61)]),
        np.stack([view(140 + dx) for dx in trembling]),
        np.clip(view(250)[None] + noise, 0, 255).astype(np.uint8),
    ]
    return np.concatenate(parts)


CLIP = clip()


def stretches(luma: npt.NDArray[np.uint8], cuts: list[int], chunk: int = 50, **options: float) -> pa.Table:
    op, count = Stretches(StretchesOptions(**options), {}), len(luma)
    edges = [0, *sorted(set(cuts)), count]
    index = frame_index(count, FPS)
    partials = []
    for number, (start, end) in enumerate(pairwise(edges)):
        info = ShardInfo(index, start, end, number, len(edges) - 1, 640, 360, count / FPS)
        extractor = op.open(info)
        # Lead-in and lead-out are fed too, and must not count.
        for first in range(max(0, start - 3), min(count, end + 3), chunk):
            at = np.arange(first, min(first + chunk, count, end + 3))
            grey = np.zeros((len(at), 2, 2), np.uint8)
            extractor.feed(Signals(at, at / FPS, at % 5 == 0, luma[at], grey, grey), {})
        partials.append(extractor.finish())
    table = op.merge(partials)
    assert table.schema.equals(Stretches.schema, check_metadata=True)
    table.validate(full=True)
    return table


WHOLE = stretches(CLIP, [])


def test_each_kind_is_found_when_it_was() -> None:
    rows = WHOLE.to_pylist()
    long = [row for row in rows if row["end_seconds"] - row["start_seconds"] > 0.6]
    assert [row["kind"] for row in long] == ["frozen", "moving", "shaky", "static"]
    starts = [row["start_seconds"] for row in long]
    assert starts[0] == 0 and long[0]["end_seconds"] == 4.0
    assert starts == pytest.approx([0, 4, 7, 10], abs=0.6)
    assert long[0]["difference"] == 0 and 0 < long[3]["difference"] < 1
    # 3 samples of 160 at 5 Hz: steps of at most 4.2 samples 1/20 s apart, a root mean square of 0.37 a
    # second, less by the half seconds around it in which only a part of the window trembles.
    assert long[2]["shake"] == pytest.approx(0.32, abs=0.06) and long[1]["shake"] < 0.1


def test_they_cover_everything_once() -> None:
    rows = WHOLE.to_pylist()
    assert rows[0]["start_frame"] == 0 and rows[-1]["end_frame"] == len(CLIP)
    assert rows[-1]["end_seconds"] == pytest.approx(len(CLIP) / FPS)
    for row, after in pairwise(rows):
        assert row["end_frame"] == after["start_frame"] and row["end_seconds"] == after["start_seconds"]
        assert row["kind"] != after["kind"]


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, len(CLIP) - 1), max_size=4), chunk=st.integers(1, 120))
def test_where_a_source_is_cut_changes_nothing(cuts: list[int], chunk: int) -> None:
    assert stretches(CLIP, cuts, chunk).equals(WHOLE)


def test_something_that_moves_before_a_still_camera_is_not_shake() -> None:
    background = view(100)
    luma = np.repeat(background[None], 80, axis=0).copy()
    for i, frame in enumerate(luma):
        x = round(60 + 20 * np.sin(i))
        frame[30:60, x : x + 40] = 255 - background[30:60, :40]
    assert "shaky" not in stretches(luma, []).column("kind").to_pylist()


@pytest.mark.parametrize(("dx", "dy"), [(1.0, 0.0), (0.0, -2.0), (4.5, 3.0), (-8.0, 1.5)])
def test_a_shift_is_measured_in_long_sides(dx: float, dy: float) -> None:
    _, x, y = measure_step(view(100, 60), view(100 - dx, 60 - dy))
    assert (x * WIDTH, y * WIDTH) == (pytest.approx(dx, abs=0.3), pytest.approx(dy, abs=0.3))


def test_a_cut_and_flat_pictures_have_no_shift() -> None:
    grey = np.full((HEIGHT, WIDTH), 90, np.uint8)
    assert measure_step(grey, grey + 5) == (5.0, 0.0, 0.0)
    noise = np.random.default_rng(1).integers(0, 256, (2, HEIGHT, WIDTH), dtype=np.uint8)
    assert measure_step(noise[0], noise[1])[1:] == (0.0, 0.0)


@pytest.mark.parametrize("count", [1, 2])
def test_the_shortest_clips(count: int) -> None:
    (row,) = stretches(CLIP[:count], []).to_pylist()
    # Nothing lasts long enough to be called anything.
    assert (row["start_frame"], row["end_frame"], row["kind"]) == (
        0,
        count,
        "moving",
    )


@pytest.mark.parametrize(
    "options", [{"shake": -1.0}, {"frozen_difference": 300.0}, {"min_still_seconds": -2.0}]
)
def test_options_out_of_range_are_named(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        StretchesOptions(**options)


@pytest.mark.media
@pytest.mark.parametrize(("name", "end"), [("car-detection", 250), ("one-by-one-person-detection", 300)])
def test_cameras_at_rest_never_shake(media_dir: Path, name: str, end: int) -> None:
    import av

    with av.open(str(media_dir / "video" / f"{name}.mp4")) as container:
        frames = container.decode(video=0)
        planes = [next(frames).to_ndarray(format="gray")[::4, ::4].copy() for _ in range(end)]
    kinds = set(stretches(np.stack(planes), []).column("kind").to_pylist())
    assert "shaky" not in kinds and {"moving", "static"} <= kinds
