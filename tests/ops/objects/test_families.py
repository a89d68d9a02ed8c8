"""Families of object detectors: tiny networks of their layouts, added and run as a user would."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from framemill.errors import ModelError
from framemill.models.adding import add
from framemill.models.registry import MORE_FAMILIES, label_set, resolve, user_folder
from framemill.models.session import open_model
from framemill.models.store import find
from framemill.ops.objects.decoders import FAMILIES
from framemill.ops.objects.objects import Objects, ObjectsOptions
from tests.ops.frames_stub import ArrayFrames
from tests.ops.objects.object_networks import write_network

SIZE = (64, 64)
LABELS = ["cat", "dog", "cow"]
# A frame of 80 x 40 pixels fills 64 x 32 of the model's picture: rows 16 to 48 of a centred one.
RED, GREEN, BLUE = 204, 102, 51
GREY = 114 / 255
IN_FRAME, IN_PADDING = (32, 5), (3, 5)  # row, column


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("FRAMEMILL_MODEL_MIRROR", raising=False)


def frames(count: int = 2, width: int = 80, height: int = 40) -> ArrayFrames:
    pixels = np.empty((count, height, width, 3), np.uint8)
    pixels[:] = RED, GREEN, BLUE
    return ArrayFrames(pixels)


def run(name: str, frames: ArrayFrames, **options: Any) -> pa.Table:
    entry = resolve("objects", name)
    model, _ = open_model(entry, find(entry), 1, "cpu")
    table = Objects(ObjectsOptions(**options), {"objects": model}).run(frames, {})
    table.validate(full=True)
    assert table.schema.equals(Objects.schema, check_metadata=True)
    return table


def rows(table: pa.Table, frame_index: int = 0) -> list[tuple[str, float, list[float]]]:
    return [
        (row["label"], round(row["score"], 4), [round(edge, 3) for edge in row["box"].values()])
        for row in table.to_pylist()
        if row["frame_index"] == frame_index
    ]


def yolov8(path: Path, **changes: Any) -> Path:
    """Five guesses: a dog, its double, a cat in the same place, one of padding's score, one of nothing."""
    guesses = np.zeros((7, 5), np.float32)
    guesses[:4] = np.array([[32, 32, 16, 8], [32, 32, 16, 9], [32, 32, 16, 8], [8, 24, 8, 8], [9, 9, 9, 9]]).T
    guesses[5, 1] = 0.5
    picks = [((5, 0), (0, *IN_FRAME)), ((4, 2), (1, *IN_FRAME)), ((6, 3), (2, *IN_PADDING))]
    return write_network(path, SIZE, {"output0": guesses}, {"output0": picks}, **changes)


YOLOV8_ROWS = [
    ("dog", 0.8, [30, 15, 50, 25]),
    ("cow", round(GREY, 4), [5, 5, 15, 15]),
    ("cat", 0.4, [30, 15, 50, 25]),
]


def test_a_toml_block_is_all_that_a_yolov8_needs(tmp_path: Path) -> None:
    path = yolov8(tmp_path / "weights.onnx")
    user_folder().mkdir(parents=True)
    (user_folder() / "mine.toml").write_text(
        f'name = "mine"\nrole = "objects"\nfamily = "yolov8"\npath = {str(path)!r}\n'
        f'sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}"\n'
        f"input_size = [64, 64]\nlabels = {LABELS}\n"
    )
    table = run("mine", frames())
    assert rows(table) == rows(table, 1) == YOLOV8_ROWS
    assert table["label_index"].to_pylist() == [1, 2, 0] * 2


@pytest.mark.parametrize("batch", [1, "n"])
def test_an_added_yolov8_runs(tmp_path: Path, batch: int | str) -> None:
    told = add(str(yolov8(tmp_path / "tiny.onnx", batch=batch)), "objects", family="yolov8", labels=LABELS)
    assert (told["colour"], told["scale"], told["input_size"]) == ("rgb", (1 / 255,), SIZE)
    assert told["batching"] == ("fixed" if batch == 1 else "dynamic")
    assert rows(run("tiny", frames(3)), 2) == YOLOV8_ROWS


def test_a_tall_frame_is_centred_across(tmp_path: Path) -> None:
    add(str(yolov8(tmp_path / "tiny.onnx")), "objects", family="yolov8", labels=LABELS)
    # 41 x 82 pixels fill columns 16 to 48: the pixel picked at the left is padding, and so is the cow.
    assert rows(run("tiny", frames(1, 41, 82), score=0.44)) == [
        ("dog", 0.5, [10.25, 35.234, 30.75, 46.766]),
        ("cat", round(GREY, 4), [10.25, 35.875, 30.75, 46.125]),
    ]


def test_values_given_win_over_the_family(tmp_path: Path) -> None:
    add(
        str(yolov8(tmp_path / "tiny.onnx")),
        "objects",
        family="yolov8",
        labels=LABELS,
        colour="bgr",
        mean=[0, 1, 4],  # of blue, green, red
        scale=[0.01, 0.01, 0.004],
    )
    assert rows(run("tiny", frames(1), score=0.41))[:2] == [
        ("cat", 1.01, [30, 15, 50, 25]),
        ("dog", 0.51, [30, 15, 50, 25]),
    ]


def test_end_to_end_rows_are_taken_as_they_are(tmp_path: Path) -> None:
    given = np.zeros((6, 6), np.float32)
    given[0] = 24, 28, 40, 36, 0.5, 2
    given[1] = 24, 28, 40, 36, 0, 2  # the same again, scored by the picture's red: nothing is thinned out
    given[2] = 0, 0, 8, 12, 0.9, 0  # in the padding above: no row
    given[3] = -9, 10, 8, 24, 0.7, 0  # clipped
    path = write_network(
        tmp_path / "tiny.onnx", SIZE, {"out": given}, {"out": [((1, 4), (0, *IN_FRAME))]}, input_name="x"
    )
    add(str(path), "objects", family="yolo_end_to_end", labels=LABELS)
    assert rows(run("tiny", frames())) == [
        ("cow", 0.8, [30, 15, 50, 25]),
        ("cat", 0.7, [0, 0, 10, 10]),
        ("cow", 0.5, [30, 15, 50, 25]),
    ]
    assert len(rows(run("tiny", frames(1), score=0.0))) == 3


@pytest.mark.parametrize("family", ["rtdetr", "dfine"])
def test_deployed_transformers_are_told_the_size(tmp_path: Path, family: str) -> None:
    answers = {
        "labels": np.array([1, 0, 2]),
        "boxes": np.array([[0.25, 0.5, 0.75, 1], [0, 0, 0.5, 0.5], [0, 0, 1, 1]], np.float32),
        "scores": np.array([0, 0.75, 0.1], np.float32),
    }
    picks = {"scores": [((0,), (2, *IN_PADDING))]}  # the frame is stretched: there is no padding
    path = write_network(tmp_path / "tiny.onnx", SIZE, answers, picks, sized=True)
    told = add(str(path), "objects", family=family, labels=LABELS)
    assert told["batching"] == "dynamic"
    assert rows(run("tiny", frames(), score=0.15), 1) == [
        ("cat", 0.75, [0, 0, 40, 20]),
        ("dog", 0.2, [20, 20, 60, 40]),
    ]


def test_a_query_may_be_several_objects(tmp_path: Path) -> None:
    logits = np.full((3, 3), -20, np.float32)
    logits[0, 1], logits[0, 2], logits[1, 0] = np.log(3), 0, -200  # 0.75, 0.5, 0
    logits[2, 0] = 0  # sigmoid(red / 255)
    boxes = np.array([[0.5, 0.5, 0.5, 0.25], [0.5] * 4, [0.25, 0.25, 0.5, 0.5]], np.float32)
    path = write_network(
        tmp_path / "tiny.onnx",
        SIZE,
        {"logits": logits, "pred_boxes": boxes, "hidden": np.zeros((2, 2), np.float32)},
        {"logits": [((2, 0), (0, *IN_FRAME))]},
        input_name="pixel_values",
    )
    add(str(path), "objects", family="detr", labels=LABELS)
    assert rows(run("tiny", frames())) == [
        ("dog", 0.75, [20, 15, 60, 25]),
        ("cat", round(1 / (1 + np.exp(-0.8)), 4), [0, 0, 40, 20]),
        ("cow", 0.5, [20, 15, 60, 25]),
    ]


def test_rf_detr_numbers_its_classes_as_coco_does(tmp_path: Path) -> None:
    logits = np.full((2, 91), -20, np.float32)
    logits[0, 18], logits[1, 90] = np.log(3), 0
    boxes = np.array([[0.5, 0.5, 0.5, 0.25], [0.5] * 4], np.float32)
    path = write_network(
        tmp_path / "tiny.onnx", SIZE, {"logits": logits, "pred_boxes": boxes}, input_name="pixel_values"
    )
    told = add(str(path), "objects", family="rfdetr")
    assert (told["mean"], told["colour"]) == ((123.675, 116.28, 103.53), "rgb")
    found = rows(run("tiny", frames()))
    assert [(label, score) for label, score, _ in found] == [("dog", 0.75), ("toothbrush", 0.5)]
    names = label_set("coco91")
    assert len(names) == len(set(names)) == 91
    assert [name for name in names if not name.startswith("unused")] == list(label_set("coco80"))


def test_nothing_seen_gives_no_row(tmp_path: Path) -> None:
    add(str(yolov8(tmp_path / "tiny.onnx")), "objects", family="yolov8", labels=LABELS)
    assert run("tiny", frames(), score=0.95).num_rows == 0


def test_families_are_the_registry_s() -> None:
    assert set(FAMILIES) == set(MORE_FAMILIES["objects"])


OUT = {"out": np.zeros((7, 5), np.float32)}


@pytest.mark.parametrize(
    ("family", "network", "request_", "words"),
    [
        (
            "yolov8",
            {},
            {"labels": label_set("coco80")},
            r"gives out \[n, 7, 5\], .* 80 labels asks for \[any, 84, any\]",
        ),
        ("yolov8", {}, {"input_size": (32, 64)}, r"takes images \[n, 3, 64, 64\], .* \[any, 3, 64, 32\]"),
        ("yolov8", {"answers": {**OUT, "masks": OUT["out"]}}, {}, r"gives out .*, masks .* asks for"),
        ("yolov8", {"half": True}, {}, "takes float16"),
        ("yolo_end_to_end", {}, {}, r"gives out \[n, 7, 5\], .* asks for \[any, any, 6\]"),
        ("rtdetr", {}, {}, r"takes images .*asks for images .*, orig_target_sizes \[any, 2\]"),
        ("dfine", {"sized": True}, {}, r"gives out .*asks for labels \[any, any\], boxes \[any, any, 4\]"),
        ("detr", {}, {}, r"gives out .*asks for logits \[any, any, 3\], pred_boxes"),
        ("yolox", {"sized": True}, {}, r"takes images .*, orig_target_sizes \[n, 2\], .* asks for \[any, 3"),
    ],
)
def test_another_layout_is_refused_when_added(
    tmp_path: Path, family: str, network: Mapping[str, Any], request_: Mapping[str, Any], words: str
) -> None:
    path = write_network(tmp_path / "tiny.onnx", SIZE, **{"answers": OUT, **network})
    with pytest.raises(ModelError, match=words):
        add(str(path), "objects", family=family, **{"labels": LABELS, **request_})
    assert not user_folder().exists()


def test_another_layout_is_refused_when_run(tmp_path: Path) -> None:
    path = yolov8(tmp_path / "weights.onnx")
    user_folder().mkdir(parents=True)
    block = (
        f'name = "mine"\nrole = "objects"\npath = {str(path)!r}\n'
        f'sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}"\ninput_size = [64, 64]\n'
    )
    for family, words in {"yolov8": r"asks for \[any, 84, any\]", "yolox": r"ask for \[n, 84, 85\]"}.items():
        (user_folder() / "mine.toml").write_text(f'{block}family = "{family}"\nlabels = "coco80"\n')
        with pytest.raises(ModelError, match=words):
            run("mine", frames())


def test_a_class_without_a_label_is_refused(tmp_path: Path) -> None:
    answer = np.array([[1, 20, 30, 40, 0.9, 3]], np.float32)
    path = write_network(tmp_path / "tiny.onnx", SIZE, {"out": answer})
    add(str(path), "objects", family="yolo_end_to_end", labels=LABELS)
    with pytest.raises(ModelError, match="classes 3 to 3, but has 3 labels"):
        run("tiny", frames())
