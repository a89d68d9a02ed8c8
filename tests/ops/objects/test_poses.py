"""Poses: crops, the families' contracts, and real weights against golden keypoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from framemill.errors import ModelError, UsageError
from framemill.models.entry import ModelEntry
from framemill.models.runner import Model
from framemill.ops.objects.objects import Objects, ObjectsOptions
from framemill.ops.objects.pose_families import BLAZEPOSE_33, COCO_17
from framemill.ops.objects.poses import PosesOp, PosesOptions, crop_regions, pair_boxes
from tests.ops.frames_stub import ArrayFrames
from tests.ops.objects.object_tables import objects_table
from tests.ops.stand_ins import OrtRunner
from tests.small_models import SMALL

BLAZEPOSE = SMALL["poses"]
IMAGENET = {"mean": (123.675, 116.28, 103.53), "scale": (1 / 58.395, 1 / 57.12, 1 / 57.375)}
RTMPOSE = replace(
    BLAZEPOSE, name="tiny", family="rtmpose", input_size=(192, 256), batching="dynamic", **IMAGENET
)

RTMO = replace(BLAZEPOSE, name="tiny_rtmo", family="rtmo", input_size=(640, 640), colour="bgr", scale=())


class Canned:
    """Gives the same outputs for every crop, and remembers the crops."""

    max_batch = 1

    def __init__(self, **outputs: npt.NDArray[Any]) -> None:
        self.outputs = outputs
        self.fed: list[npt.NDArray[np.float32]] = []

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        (batch,) = inputs.values()
        self.fed.append(batch)
        return {name: np.repeat(value[None], len(batch), axis=0) for name, value in self.outputs.items()}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("poses are batched")


def poses(entry: ModelEntry, runner: Any, **options: Any) -> PosesOp:
    return PosesOp(PosesOptions(**options), {"poses": Model(entry, runner)})


def blazepose(presence: float = 0.9, wide: int = 195) -> Canned:
    points = np.zeros((39, 5), np.float32)
    points[:, 0], points[:, 1], points[:, 3] = np.arange(39) * 4, 128, 2
    return Canned(
        landmarks=points.ravel()[:wide], presence=np.array([presence], np.float32), mask=np.zeros((8, 8, 1))
    )


def still(count: int = 3) -> ArrayFrames:
    pixels = np.random.default_rng(1).integers(0, 256, (count, 200, 300, 3), dtype=np.uint8)
    return ArrayFrames(pixels, frame_index=[4, 9, 20][:count], pts_seconds=[0.4, 0.9, 2.0][:count])


PEOPLE = objects_table(
    [
        (20, "person", 0.9, (100, 50, 140, 150)),
        (4, "car", 0.9, (0, 0, 100, 100)),
        (4, "person", 0.8, (10, 20, 110, 60)),
        (4, "person", 0.7, (200, 20, 220, 120)),
    ]
)


def test_people_get_a_row_each_and_other_things_none() -> None:
    rows = poses(BLAZEPOSE, blazepose()).run(still(), {"objects": PEOPLE}).to_pylist()
    assert [(r["frame_index"], r["person_index"], r["object_index"]) for r in rows] == [
        (4, 0, 1), (4, 1, 2), (20, 0, 0),
    ]  # fmt: skip
    assert [r["pts_seconds"] for r in rows] == [0.4, 0.4, 2.0]
    assert all(r["score"] == pytest.approx(0.9) for r in rows)
    assert [p["name"] for p in rows[0]["keypoints"]] == list(BLAZEPOSE_33)


def test_keypoints_are_in_display_pixels() -> None:
    rows = poses(BLAZEPOSE, blazepose()).run(still(), {"objects": PEOPLE}).to_pylist()
    first = rows[0]["keypoints"]  # box 10..110 x 20..60: a square of 125 around (60, 40)
    assert first[0]["x"] == pytest.approx(60 - 62.5) and first[0]["y"] == pytest.approx(40)
    assert first[32]["x"] == pytest.approx(60 - 62.5 + 32 * 4 * 125 / 256)
    assert first[5]["score"] == pytest.approx(1 / (1 + np.exp(-2)))


def test_crops_are_rgb_of_0_to_1_with_channels_last() -> None:
    runner = blazepose()
    pixels = np.zeros((1, 200, 300, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 255, 51
    frames = ArrayFrames(pixels, frame_index=[4])
    poses(BLAZEPOSE, runner).run(frames, {"objects": objects_table([(4, "person", 1, (90, 90, 110, 110))])})
    (batch,) = runner.fed
    assert batch.shape == (1, 256, 256, 3) and batch.dtype == np.float32
    np.testing.assert_allclose(batch[0, 128, 128], [1, 0.2, 0], atol=1e-6)


def test_a_crop_without_a_person_gives_no_row() -> None:
    frames = still()
    assert poses(BLAZEPOSE, blazepose(0.4)).run(frames, {"objects": PEOPLE}).num_rows == 0
    assert poses(BLAZEPOSE, blazepose(0.4), score=0.4).run(frames, {"objects": PEOPLE}).num_rows == 3
    empty = poses(BLAZEPOSE, blazepose()).run(frames, {"objects": objects_table([])})
    assert empty.num_rows == 0 and empty.schema.equals(PosesOp.schema, check_metadata=True)


def test_batches_are_bounded() -> None:
    runner = blazepose()
    crowd = objects_table([(4, "person", 0.9, (i, 0, i + 10, 30)) for i in range(20)])
    table = poses(BLAZEPOSE, runner).run(still(), {"objects": crowd})
    assert table.num_rows == 20 and [len(batch) for batch in runner.fed] == [8, 8, 4]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((256, 256), (37.5, 37.5, 162.5, 162.5)), ((192, 256), (53.125, 37.5, 146.875, 162.5))],
)
def test_a_crop_is_larger_than_its_box_and_of_the_pictures_shape(
    size: tuple[int, int], expected: tuple[float, ...]
) -> None:
    box = np.array([[80, 50, 120, 150]], np.float32)
    assert crop_regions(box, size)[0].tolist() == pytest.approx(expected)


def test_rtmpose_points_are_where_both_axes_peak() -> None:
    simcc_x, simcc_y = np.zeros((17, 384), np.float32), np.zeros((17, 512), np.float32)
    at = np.arange(17)
    simcc_x[at, 100 + at], simcc_y[at, 300 + at] = 0.9, 0.6 + at / 100
    simcc_x[3] = -0.1  # nothing speaks for it
    table = objects_table([(4, "person", 0.9, (100, 50, 140, 150))])  # a region of 93.75 x 125
    runner = Canned(simcc_x=simcc_x, simcc_y=simcc_y)
    (row,) = poses(RTMPOSE, runner).run(still(), {"objects": table}).to_pylist()
    assert runner.fed[0].shape == (1, 3, 256, 192)
    points = row["keypoints"]
    assert [p["name"] for p in points] == list(COCO_17)
    assert points[6]["x"] == pytest.approx(120 - 93.75 / 2 + (106 / 2) * 93.75 / 192, abs=1e-3)
    assert points[6]["y"] == pytest.approx(100 - 125 / 2 + (306 / 2) * 125 / 256, abs=1e-3)
    assert points[6]["score"] == pytest.approx(0.66) and points[3]["score"] == 0
    assert row["score"] == pytest.approx(np.mean([p["score"] for p in points]), abs=1e-6)


def test_a_network_of_the_rtmpose_contract_runs(tmp_path: Path) -> None:
    """Joint k sees the brightness of every column and row of the picture: the peak is where a dot is."""
    from onnx import helper

    from tests.models.graphs import save

    def axis(over: int, side: int, name: str) -> list[Any]:
        return [
            helper.make_node("ReduceMax", ["input"], [f"{name}_line"], axes=[1, over], keepdims=0),
            helper.make_node("Unsqueeze", [f"{name}_line", "one"], [f"{name}_row"]),
            helper.make_node("Unsqueeze", [f"{name}_row", "last"], [f"{name}_cell"]),
            helper.make_node("Expand", [f"{name}_cell", f"{name}_twice"], [f"{name}_pair"]),
            helper.make_node("Reshape", [f"{name}_pair", f"{name}_shape"], [name]),
        ]

    path = save(
        tmp_path / "tiny.onnx",
        [*axis(2, 192, "simcc_x"), *axis(3, 256, "simcc_y")],
        {"input": [1, 3, 256, 192]},
        {"simcc_x": [1, 17, 384], "simcc_y": [1, 17, 512]},
        {
            "one": np.array([1]),
            "last": np.array([3]),
            "simcc_x_twice": np.array([1, 17, 192, 2]),
            "simcc_y_twice": np.array([1, 17, 256, 2]),
            "simcc_x_shape": np.array([1, 17, 384]),
            "simcc_y_shape": np.array([1, 17, 512]),
        },
    )
    pixels = np.zeros((1, 400, 400, 3), np.uint8)
    pixels[0, 196:204, 146:154] = 255  # around (150, 200)
    frames = ArrayFrames(pixels, frame_index=[4])
    table = objects_table([(4, "person", 0.9, (100, 80, 220, 320))])
    (row,) = poses(RTMPOSE, OrtRunner(path)).run(frames, {"objects": table}).to_pylist()
    for point in row["keypoints"]:
        assert point["x"] == pytest.approx(150, abs=5) and point["y"] == pytest.approx(200, abs=5)
        assert point["score"] == 1  # a peak beyond 1 is not more than sure


class Whole:
    """Gives the same people for every frame, and remembers the frames."""

    max_batch = 1

    def __init__(self, dets: Any, keypoints: Any) -> None:
        self.outputs = {"dets": np.array(dets, np.float32), "keypoints": np.array(keypoints, np.float32)}
        self.fed: list[npt.NDArray[np.float32]] = []

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("frames differ in how many people there are")

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        (frame,) = inputs.values()
        self.fed.append(frame)
        return self.outputs


def test_people_that_a_whole_frame_shows_go_to_those_that_objects_found() -> None:
    """Frames of 300 x 200 lie in the corner of the picture, 640 / 300 times as large."""
    ratio = 640 / 300
    boxes = np.array([[200, 20, 222, 121], [400, 0, 410, 9], [12, 18, 108, 61]]) * ratio
    dets = [[[*box, score] for box, score in zip(boxes, (0.8, 0.9, 0.7), strict=True)]]
    points = np.zeros((1, 3, 17, 3))
    points[0, :, :, 0] = np.array([210, 405, 60])[:, None] * ratio
    points[0, :, :, 1], points[0, :, :, 2] = np.arange(17) * ratio, 1.5
    runner = Whole(dets, points)
    rows = poses(RTMO, runner).run(still(), {"objects": PEOPLE}).to_pylist()
    # The person of frame 20 is nowhere near; one guess of frame 4 is nobody whom objects found.
    assert [(r["frame_index"], r["person_index"], r["object_index"]) for r in rows] == [(4, 0, 1), (4, 1, 2)]
    assert [r["score"] for r in rows] == pytest.approx([0.7, 0.8])
    assert [p["name"] for p in rows[0]["keypoints"]] == list(COCO_17)
    first = rows[0]["keypoints"][5]
    assert (first["x"], first["y"]) == pytest.approx((60, 5), abs=1e-3) and first["score"] == 1
    assert [frame.shape for frame in runner.fed] == [(1, 3, 640, 640)] * 2
    sure = poses(RTMO, Whole(dets, points), score=0.75).run(still(), {"objects": PEOPLE}).to_pylist()
    assert [(r["person_index"], r["object_index"]) for r in sure] == [(0, 2)]


def test_a_whole_frame_is_fed_as_its_authors_do_it() -> None:
    """Blue, green, red in 0..255 in the upper left, and their grey around it."""
    runner = Whole(np.zeros((1, 0, 5)), np.zeros((1, 0, 17, 3)))
    pixels = np.zeros((1, 200, 300, 3), np.uint8)
    pixels[..., 0] = 200
    frames = ArrayFrames(pixels, frame_index=[4])
    table = objects_table([(4, "person", 1, (90, 90, 110, 110))])
    assert poses(RTMO, runner).run(frames, {"objects": table}).num_rows == 0
    (fed,) = runner.fed
    assert fed[0, :, 100, 100].tolist() == [0, 0, 200] and fed[0, :, 500, 100].tolist() == [114] * 3


def test_each_guess_is_one_person_and_the_nearest() -> None:
    people = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], np.float32)
    guesses = np.array([[2, 0, 12, 10], [1, 0, 11, 10], [50, 50, 60, 54]], np.float32)
    assert pair_boxes(people, guesses) == [(0, 1), (1, 0)]  # the last two share less than half
    assert pair_boxes(people, guesses[:1]) == [(1, 0)]
    assert pair_boxes(people, np.zeros((0, 4), np.float32)) == []


def test_a_network_of_the_rtmo_contract_runs(tmp_path: Path) -> None:
    """One person as wide as the red of the frame is bright, by a graph with a batch axis."""
    from onnx import helper

    from framemill.models.session import open_model
    from tests.models.graphs import save

    path = save(
        tmp_path / "tiny.onnx",
        [
            helper.make_node("Slice", ["input", "from", "to"], ["corner"]),
            helper.make_node("Reshape", ["corner", "cell"], ["red"]),
            helper.make_node("Mul", ["red", "box"], ["dets"]),
            helper.make_node("Reshape", ["red", "point"], ["wide"]),
            helper.make_node("Mul", ["wide", "points"], ["keypoints"]),
        ],
        {"input": ["n", 3, 640, 640]},
        {"dets": ["n", 1, 5], "keypoints": ["n", 1, 17, 3]},
        {
            "from": np.array([0, 2, 0, 0]),
            "to": np.array([1, 3, 1, 1]),
            "cell": np.array([1, 1, 1]),
            "point": np.array([1, 1, 1, 1]),
            "box": np.array([[[0, 0, 1, 1, 0.005]]], np.float32),
            "points": np.full((1, 1, 17, 3), 0.005, np.float32),
        },
    )
    model, _ = open_model(RTMO, path, 1, "cpu")
    pixels = np.full((1, 320, 320, 3), 200, np.uint8)
    frames = ArrayFrames(pixels, frame_index=[4])
    table = objects_table([(4, "person", 0.9, (0, 0, 100, 100))])  # 200 of the 640, in a frame half as large
    op = PosesOp(PosesOptions(), {"poses": model})
    (row,) = op.run(frames, {"objects": table}).to_pylist()
    assert row["score"] == pytest.approx(1.0) and row["keypoints"][0]["x"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("entry", "runner", "words"),
    [
        (RTMO, Whole(np.zeros((1, 2, 6)), np.zeros((1, 2, 17, 3))), r"gives dets \[1, n, 5\]"),
        (RTMO, Whole(np.zeros((1, 2, 5)), np.zeros((1, 2, 26, 3))), r"keypoints \[1, n, 17, 3\]"),
        (RTMO, Whole(np.zeros((1, 2, 5)), np.zeros((1, 3, 17, 3))), "rtmo with 17 keypoints"),
        (BLAZEPOSE, blazepose(wide=165), r"one output \[n, 195\]"),
        (BLAZEPOSE, Canned(landmarks=np.zeros(195, np.float32)), r"one \[n, 1\]"),
        (replace(BLAZEPOSE, labels=("head",)), blazepose(), "names 33 keypoints"),
        (RTMPOSE, blazepose(), r"gives simcc_x \[n, 17, a multiple of 192\]"),
        (RTMPOSE, Canned(simcc_x=np.zeros((17, 384)), simcc_y=np.zeros((17, 500))), "a multiple of 256"),
        (RTMPOSE, Canned(simcc_x=np.zeros((26, 384)), simcc_y=np.zeros((26, 512))), "17 keypoints"),
    ],
)
def test_outputs_of_another_contract_are_refused(entry: ModelEntry, runner: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        poses(entry, runner).run(still(), {"objects": PEOPLE})


@pytest.mark.parametrize("change", [{"family": "openpose"}, {"input_size": None}])
def test_a_model_of_another_family_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="blazepose, rtmpose, rtmo"):
        poses(replace(BLAZEPOSE, **change), blazepose())


def test_a_score_out_of_range_is_named() -> None:
    with pytest.raises(UsageError, match=r"poses\.score is 1\.5"):
        PosesOptions(score=1.5)


@pytest.mark.media
def test_squats_are_within_a_tenth_of_the_body_of_the_golden_keypoints(
    media_dir: Path, models_dir: Path
) -> None:
    import av

    from framemill.models.session import open_model

    golden = np.array(json.loads((media_dir / "video" / "pose_squats.full.json").read_text()))[:, :, :2]
    with av.open(str(media_dir / "video" / "pose_squats.mp4")) as container:
        every = [
            (i, f.to_ndarray(format="rgb24")) for i, f in enumerate(container.decode(video=0)) if i % 5 == 0
        ]
    indices = [i for i, _ in every]
    frames = ArrayFrames(np.stack([pixels for _, pixels in every]), frame_index=indices)
    detector, _ = open_model(SMALL["objects"], models_dir / "yolox_nano.onnx", threads=2)
    model, _ = open_model(BLAZEPOSE, models_dir / "blazepose_landmark_lite.onnx", threads=2)
    objects = Objects(ObjectsOptions(), {"objects": detector}).run(frames, {})
    rows = PosesOp(PosesOptions(), {"poses": model}).run(frames, {"objects": objects}).to_pylist()
    assert [row["frame_index"] for row in rows] == indices  # one person, in every frame
    found = np.array([[(p["x"], p["y"]) for p in row["keypoints"]] for row in rows])
    expected = golden[indices]
    heights = np.ptp(expected[..., 1], axis=1)
    distance = np.linalg.norm(found - expected, axis=2) / heights[:, None]
    assert distance.mean() < 0.03  # the figure to reach is 0.1; measured 0.021
    assert distance.mean(axis=1).max() < 0.06
