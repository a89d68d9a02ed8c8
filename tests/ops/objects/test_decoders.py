"""Decoders of whole batches give, on any kind of array, what each picture gives by itself: the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import array_api_strict
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framemill.actors.dali_frames import DaliFrames
from framemill.models.arrays import is_on_host
from framemill.models.runner import Model
from framemill.ops.objects import objects
from framemill.ops.objects.decoders import FAMILIES, cell_grid
from framemill.ops.objects.objects import Objects, ObjectsOptions
from tests.ops.objects.test_objects import CELLS, ENTRY, pictures, random_raw

SIZE = (96, 64)
CLASSES = 3
Array = npt.NDArray[Any]
Plain = tuple[Array, Array, Array]


def around(centres: Array, sizes: Array) -> Array:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def yolox(cells: Array, least: float) -> Plain:
    labels = cells[:, 5:].argmax(axis=1)
    scores = cells[:, 4] * cells[np.arange(len(cells)), 5 + labels]
    good = (cells[:, 4] >= least) & (scores >= least)
    places, strides = (part[good] for part in cell_grid(SIZE))
    picked = cells[good]
    sizes = np.exp(picked[:, 2:4]) * strides
    return scores[good], labels[good], around((picked[:, :2] + places) * strides, sizes)


def yolov8(guesses: Array, least: float) -> Plain:
    good = guesses[4:].max(axis=0) >= least
    picked = guesses[:, good].T
    return picked[:, 4:].max(axis=1), picked[:, 4:].argmax(axis=1), around(picked[:, :2], picked[:, 2:4])


def end_to_end(rows: Array, least: float) -> Plain:
    picked = rows[rows[:, 4] >= least]
    return picked[:, 4], picked[:, 5].astype(np.int64), picked[:, :4]


def sized(scores: Array, labels: Array, boxes: Array, least: float) -> Plain:
    good = scores >= least
    return scores[good], labels[good], boxes[good]


def detr(logits: Array, boxes: Array, least: float) -> Plain:
    scores = np.reciprocal(1 + np.exp(-logits))
    query, labels = np.nonzero(scores >= least)
    scaled = boxes[query] * np.array(SIZE * 2, np.float32)
    return scores[query, labels], labels, around(scaled[:, :2], scaled[:, 2:])


def made(family: str, seed: int, count: int) -> dict[str, Array]:
    """Outputs of a family for `count` pictures, with equal scores and ones that are no number among them."""
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> Array:
        values = (rng.integers(0, 40, (count, *shape)) / 40).astype(np.float32)
        values[rng.random(values.shape) < 0.01] = np.nan
        return values

    if family == "yolox":
        return {"output": numbers(CELLS, 5 + CLASSES)}
    if family == "yolov8":
        return {"output0": numbers(4 + CLASSES, 50)}
    if family == "yolo_end_to_end":
        rows = numbers(30, 6)
        rows[..., 5] = rng.integers(0, CLASSES, (count, 30))
        return {"out": rows}
    if family in ("rtdetr", "dfine"):
        labels = rng.integers(0, CLASSES, (count, 30))
        return {"labels": labels, "boxes": numbers(30, 4), "scores": numbers(30)}
    return {"logits": numbers(30, CLASSES) * 8 - 4, "pred_boxes": numbers(30, 4)}


def plainly(family: str, outputs: Mapping[str, Array], row: int, least: float) -> Plain:
    mine = {name: values[row] for name, values in outputs.items()}
    match family:
        case "yolox":
            return yolox(mine["output"], least)
        case "yolov8":
            return yolov8(mine["output0"], least)
        case "yolo_end_to_end":
            return end_to_end(mine["out"], least)
        case "rtdetr" | "dfine":
            return sized(mine["scores"], mine["labels"], mine["boxes"], least)
        case _:
            return detr(mine["logits"], mine["pred_boxes"], least)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.sampled_from([1, 2, 8]),
    least=st.sampled_from([0.0, 0.25, 0.3, 0.9, 1.0]),
    xp=st.sampled_from([np, array_api_strict]),
)
def test_a_batch_gives_what_its_pictures_give(
    family: str, seed: int, count: int, least: float, xp: Any
) -> None:
    outputs = made(family, seed, count)
    given_ = {name: xp.asarray(values) for name, values in outputs.items()}
    found = FAMILIES[family].decode(given_, SIZE, least)
    assert all(is_on_host(part) == (xp is np) for part in found)
    rows, scores, labels, boxes = (np.asarray(part) for part in found)
    assert (rows.dtype, scores.dtype, labels.dtype, boxes.dtype) == tuple(
        map(np.dtype, ("int64", "float32", "int64", "float32"))
    )
    parts = [plainly(family, outputs, row, least) for row in range(count)]
    np.testing.assert_array_equal(rows, np.repeat(np.arange(count), [len(part[0]) for part in parts]))
    for got, of_pictures in zip((scores, labels, boxes), zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(got, np.concatenate(of_pictures))


class There:
    """A runner of a device: outputs stay there, as arrays that NumPy cannot look at."""

    max_batch = 8

    def __init__(self, raw: npt.NDArray[np.float32]) -> None:
        self.raw, self.start = raw, 0

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        raise AssertionError("all of the outputs would be copied to the host")

    run_whole = run

    def run_in_place(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        assert not is_on_host(inputs["images"])
        start, self.start = self.start, self.start + inputs["images"].shape[0]
        return {"output": array_api_strict.asarray(self.raw[start : self.start])}


class Here(There):
    """One that cannot leave them: they come as NumPy's."""

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        start, self.start = self.start, self.start + inputs["images"].shape[0]
        return {"output": self.raw[start : self.start]}

    run_in_place = None  # type: ignore[assignment]


@pytest.mark.parametrize("runner", [There, Here])
def test_of_a_devices_outputs_objects_alone_reach_the_host(
    runner: type[There], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    real = objects.to_host

    def counting(array: Any) -> Any:
        copied.append(int(np.prod(array.shape)))
        return real(array)

    monkeypatch.setattr(objects, "to_host", counting)
    raw, pixels = random_raw(4, 20), pictures(20)
    at = (np.arange(20), np.arange(20) / 25, np.ones(20, bool), (160, 90), 0, "bt601")

    def table(kind: type[There], frames: DaliFrames) -> Any:
        return Objects(ObjectsOptions(score=0.8), {"objects": Model(ENTRY, kind(raw))}).run(frames, {})

    there = table(runner, DaliFrames(array_api_strict.asarray(pixels), *at))
    # A picture's number, score, label and box of each that reaches the score.
    assert sum(copied) == 7 * sum(len(yolox(cells, 0.8)[0]) for cells in raw) < raw.size / 10
    assert there.num_rows > 20 and there.equals(table(Here, DaliFrames(pixels, *at)))
