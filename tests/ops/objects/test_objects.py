"""Objects: the arithmetic against a plain second writing of the contract, real weights on real clips."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.errors import ModelError, UsageError
from framemill.models.runner import Model
from framemill.ops.objects.decoders import cell_grid, placed
from framemill.ops.objects.objects import Objects, ObjectsOptions
from framemill.ops.pixels.boxes import overlaps
from framemill.ops.pixels.model_input import letterbox
from tests.ops.frames_stub import ArrayFrames
from tests.small_models import SMALL

ENTRY = replace(SMALL["objects"], input_size=(96, 64), labels=("cat", "dog", "cow"))
CELLS = (12 * 8) + (6 * 4) + (3 * 2)


class Canned:
    """Gives each frame its share of a raw output, and remembers what it was fed."""

    def __init__(self, raw: npt.NDArray[np.float32], max_batch: int = 1) -> None:
        self.raw, self.max_batch = raw, max_batch
        self.fed: list[npt.NDArray[np.float32]] = []

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        start = sum(map(len, self.fed))
        self.fed.append(inputs["images"])
        return {"output": self.raw[start : start + len(inputs["images"])]}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("objects are batched")


def random_raw(seed: int, count: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    raw = np.empty((count, CELLS, 8), np.float32)
    raw[..., :2] = rng.normal(0, 1, (count, CELLS, 2))
    raw[..., 2:4] = rng.normal(0.5, 1, (count, CELLS, 2))
    raw[..., 4:] = rng.random((count, CELLS, 4))
    return raw


def plainly(
    raw: npt.NDArray[np.float32], width: int, height: int, options: ObjectsOptions
) -> list[dict[str, Any]]:
    """The rows of one frame, cell by cell."""
    scale = 1 / min(96 / width, 64 / height)
    cells = [(c, r, s) for s in (8, 16, 32) for r in range(64 // s) for c in range(96 // s)]
    assert len(cells) == len(raw)
    found = []
    for (column, row, stride), (x, y, w, h, objectness, *classes) in zip(cells, raw, strict=True):
        label = max(range(3), key=lambda i: classes[i])
        score = objectness * classes[label]
        if score < np.float32(options.score):
            continue
        x, y = (x + column) * stride, (y + row) * stride
        w, h = math.exp(w) * stride, math.exp(h) * stride
        box = [(x - w / 2) * scale, (y - h / 2) * scale, (x + w / 2) * scale, (y + h / 2) * scale]
        clipped = [min(max(e, 0), limit) for e, limit in zip(box, [width, height] * 2, strict=True)]
        if clipped[0] < clipped[2] and clipped[1] < clipped[3]:
            found.append((score, label, np.array(box, np.float32), clipped))
    found.sort(key=lambda item: -item[0])
    kept: list[Any] = []
    for item in found:
        if len(kept) < options.max_objects and all(
            k[1] != item[1] or overlaps(k[2], item[2][None])[0] <= options.nms for k in kept
        ):
            kept.append(item)
    return [
        {"object_index": i, "label": ENTRY.labels[item[1]], "score": item[0], "box": item[3]}
        for i, item in enumerate(kept)
    ]


def objects(runner: Any, **options: Any) -> Objects:
    return Objects(ObjectsOptions(**options), {"objects": Model(ENTRY, runner)})


def pictures(count: int, width: int = 160, height: int = 90) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.sampled_from([(160, 90), (90, 160), (96, 64), (31, 33), (400, 3)]),
    score=st.sampled_from([0.05, 0.3, 0.6]),
    nms=st.sampled_from([0.2, 0.45, 1.0]),
    max_objects=st.sampled_from([3, 100]),
)
def test_rows_equal_the_plain_ones(
    seed: int, size: tuple[int, int], score: float, nms: float, max_objects: int
) -> None:
    raw = random_raw(seed, 2)
    options = ObjectsOptions(score=score, nms=nms, max_objects=max_objects)
    frames = ArrayFrames(pictures(2, *size), frame_index=[7, 20], pts_seconds=[0.5, 1.25])
    table = Objects(options, {"objects": Model(ENTRY, Canned(raw))}).run(frames, {})
    assert table.schema.equals(Objects.schema, check_metadata=True)
    table.validate(full=True)
    for position, (index, pts) in enumerate([(7, 0.5), (20, 1.25)]):
        got = [row for row in table.to_pylist() if row["frame_index"] == index]
        expected = plainly(raw[position], *size, options)
        assert len(got) == len(expected)
        for row, want in zip(got, expected, strict=True):
            assert row["pts_seconds"] == pts and row["object_index"] == want["object_index"]
            assert row["label"] == want["label"] == ENTRY.labels[row["label_index"]]
            assert row["score"] == pytest.approx(want["score"], abs=1e-6)
            assert list(row["box"].values()) == pytest.approx(want["box"], rel=1e-4, abs=1e-3)


def test_a_frame_is_laid_in_as_the_authors_of_yolox_do() -> None:
    """432 * 416 / 768 is 234; the same in floating point is less, and is cut off."""
    assert placed((768, 432), (416, 416), "corner")[0] == (416, 233)
    assert placed((640, 360), (416, 416), "corner")[0] == (416, 234)
    assert placed((4000, 3), (416, 416), "corner")[0] == (416, 1)
    assert placed((768, 432), (416, 416), "corner")[1:] == ((0, 0), pytest.approx((768 / 416, 768 / 416)))


def test_pictures_lie_top_left_on_grey_in_bgr() -> None:
    pixels = pictures(2, 5, 3)
    batch = letterbox(pixels, (8, 6), (0, 0), 114, "bgr")
    assert batch.shape == (2, 3, 6, 8) and batch.dtype == np.float32
    np.testing.assert_array_equal(batch[:, :, :3, :5], pixels.transpose(0, 3, 1, 2)[:, ::-1])
    assert (batch[:, :, 3:] == 114).all() and (batch[:, :, :, 5:] == 114).all()


def test_cells_cover_the_picture_stride_by_stride() -> None:
    places, strides = cell_grid((416, 416))
    assert len(places) == len(strides) == 3549
    assert places[53].tolist() == [1, 1] and strides[[0, 52 * 52, -1], 0].tolist() == [8, 16, 32]


@pytest.mark.parametrize("max_batch", [1, 32])
def test_batches_are_bounded_and_change_nothing(max_batch: int) -> None:
    runner = Canned(random_raw(5, 40), max_batch)
    table = objects(runner).run(ArrayFrames(pictures(40)), {})
    assert max(map(len, runner.fed)) == max(8, max_batch) and sum(map(len, runner.fed)) == 40
    single = [
        objects(Canned(runner.raw[i : i + 1])).run(ArrayFrames(pictures(40)[i : i + 1], frame_index=[i]), {})
        for i in range(40)
    ]
    assert table.to_pylist() == [row for part in single for row in part.to_pylist()]


def test_no_object_gives_no_row() -> None:
    table = objects(Canned(np.zeros((1, CELLS, 8), np.float32))).run(ArrayFrames(pictures(1)), {})
    assert table.num_rows == 0 and table.schema.equals(Objects.schema, check_metadata=True)


def test_infinite_and_undefined_outputs_cost_nothing_else() -> None:
    raw = np.zeros((1, CELLS, 8), np.float32)
    raw[0, 0] = np.nan
    raw[0, 1] = [0, 0, 1e4, 1e4, 1, 1, 0, 0]  # beyond float32: clipped to the frame
    (row,) = objects(Canned(raw)).run(ArrayFrames(pictures(1)), {}).to_pylist()
    assert list(row["box"].values()) == [0, 0, 160, 90]


@pytest.mark.parametrize("options", [{"score": 1.5}, {"nms": -0.1}, {"max_objects": 0}])
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        ObjectsOptions(**options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": "silero"}, "family 'silero'"),
        ({"input_size": None}, "has no picture size"),
        ({"input_size": (100, 64)}, "multiples of 32"),
    ],
)
def test_a_model_of_another_contract_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Objects(ObjectsOptions(), {"objects": Model(replace(ENTRY, **change), Canned(random_raw(0, 1)))})


def test_an_output_of_another_shape_is_refused() -> None:
    with pytest.raises(ModelError, match=r"3 labels ask for \[n, 126, 8\]"):
        objects(Canned(np.zeros((1, 126, 85), np.float32))).run(ArrayFrames(pictures(1)), {})


def decoded(path: Path, every: int) -> ArrayFrames:
    import av

    with av.open(str(path)) as container:
        kept = [
            f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i % every == 0
        ]
    return ArrayFrames(np.stack(kept))


@pytest.fixture
def detector(models_dir: Path) -> Objects:
    from framemill.models.session import open_model

    model, _ = open_model(SMALL["objects"], models_dir / "yolox_nano.onnx", threads=2)
    return Objects(ObjectsOptions(), {"objects": model})


# Looked at by eye: at which seconds of the clip somebody is to be seen. At second 6 a head is just coming in.
SHOWN = {6, *range(7, 20), *range(23, 45), *range(51, 70), *range(75, 87), *range(93, 120), *range(124, 136)}


@pytest.mark.media
def test_a_person_is_found_in_one_by_one_wherever_one_is(detector: Objects, media_dir: Path) -> None:
    frames = decoded(media_dir / "video" / "one-by-one-person-detection.mp4", 10)  # at 10 frames a second
    rows = detector.run(frames, {}).to_pylist()
    with_person = {row["frame_index"] for row in rows if row["label"] == "person"}
    assert len(frames) == 140 and with_person <= SHOWN
    assert len(with_person) >= 0.9 * len(SHOWN)  # measured: 104 of 106
    for row in rows:
        box = row["box"]
        assert 0 <= box["x0"] < box["x1"] <= frames.width and 0 <= box["y0"] < box["y1"] <= frames.height


@pytest.mark.media
def test_cars_are_found_and_the_empty_road_is_empty(detector: Objects, media_dir: Path) -> None:
    frames = decoded(media_dir / "video" / "car-detection.mp4", 6)  # at 12.5 frames a second
    rows = detector.run(frames, {}).to_pylist()
    assert "car" in {row["label"] for row in rows}
    seconds = [row["frame_index"] * 6 / 12.5 for row in rows]
    assert not [t for t in seconds if t < 4 or 9.5 < t < 14 or 20 < t < 25]  # bare asphalt
    # The white car of frame 84, measured on the picture; seen from above, its label is the model's guess.
    (car,) = [row for row in rows if row["frame_index"] == 14]
    place = np.array(list(car["box"].values()), np.float32)
    assert overlaps(place, np.array([[273, 41, 427, 276]], np.float32))[0] > 0.8
