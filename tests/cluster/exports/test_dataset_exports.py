"""Sampled frames exported as data sets, each read by the library that it is meant for."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from framemill.cluster.cli.main import main
from framemill.cluster.exports import training_sets
from tests.cluster.results.hand_made import make_folder

Capture = pytest.CaptureFixture[str]
JPEG = cv2.imencode(".jpg", np.full((100, 200, 3), 90, np.uint8))[1].tobytes()


def found(
    frame: int, item: int, label: str, index: int, box: tuple[float, float, float, float]
) -> dict[str, Any]:
    return {
        "frame_index": frame, "pts_seconds": frame / 10, "object_index": item, "label": label,
        "label_index": index, "score": 0.5, "box": dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
    }  # fmt: skip


def make(
    root: Path, with_tracks: bool = True, with_pictures: bool = True, uri: str = "/clips/a.b.mp4"
) -> str:
    """One video of 200x100 with frames 0, 10 and 20; a dog in the first and last, a cat over the edge."""
    frames = [
        {"frame_index": at, "pts_seconds": at / 10, "image": JPEG if with_pictures else None}
        for at in (0, 10, 20)
    ]
    objects = [
        found(0, 0, "dog", 16, (20, 10, 60, 50)),
        found(0, 1, "cat", 15, (150, 50, 220, 100)),
        found(20, 0, "dog", 16, (40, 10, 80, 50)),
    ]
    tracks = [
        {"table": "objects", "frame_index": at, "pts_seconds": at / 10, "item_index": 0, "track_id": 7}
        for at in (0, 20)
    ]
    scene = {"scene_index": 0, "start_frame": 0, "end_frame": 15, "start_seconds": 0.0, "end_seconds": 1.5}
    late = {"scene_index": 1, "start_frame": 15, "end_frame": 30, "start_seconds": 1.5, "end_seconds": 3.0}
    vectors = [{"frame_index": at, "pts_seconds": at / 10, "vector": [1.0, 0.0, 0.5]} for at in (0, 10, 20)]
    media = [{"uri": "", "width": 200, "height": 100, "fps": 10.0, "num_frames": 30}]
    tables = {
        "media": media, "frames": frames, "objects": objects, "scenes": [scene, late],
        "image_embeddings": vectors, **({"tracks": tracks} if with_tracks else {}),
    }  # fmt: skip
    make_folder(root / "out", {name: {"a": rows} for name, rows in tables.items()}, {"a": [uri]})
    return str(root / "out")


def export(root: str, form: str, *more: str) -> Path:
    target = Path(root).parent / form
    assert main(["export", root, "--format", form, "-o", str(target), *more]) == 0
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []
    return target


def test_coco_is_read_and_scored_by_pycocotools(tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    target = export(make(tmp_path), "coco")
    truth = COCO(str(target / "annotations.json"))
    assert truth.loadCats(truth.getCatIds()) == [
        {"id": 1, "name": "cat", "supercategory": ""}, {"id": 2, "name": "dog", "supercategory": ""},
    ]  # fmt: skip
    assert truth.dataset["videos"] == [{"id": 1, "name": "/clips/a.b.mp4"}]
    images = truth.loadImgs(truth.getImgIds())
    assert [(one["id"], one["file_name"], one["frame_id"], one["video_id"]) for one in images] == [
        (1, "a_b-000000.jpg", 0, 1), (2, "a_b-000010.jpg", 10, 1), (3, "a_b-000020.jpg", 20, 1),
    ]  # fmt: skip
    assert all((target / "images" / one["file_name"]).read_bytes() == JPEG for one in images)
    boxes = [
        (b["image_id"], b["category_id"], b["bbox"], b["area"], b.get("track_id"))
        for b in truth.anns.values()
    ]
    assert boxes == [
        (1, 2, [20, 10, 40, 40], 1600, 7), (1, 1, [150, 50, 50, 50], 2500, None),
        (3, 2, [40, 10, 40, 40], 1600, 7),
    ]  # fmt: skip
    scored = COCOeval(truth, truth.loadRes(list(truth.anns.values())), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] == pytest.approx(1.0)


def test_yolo_has_centres_and_sizes_as_shares(tmp_path: Path) -> None:
    target = export(make(tmp_path), "yolo")
    assert yaml.safe_load((target / "data.yaml").read_text())["names"] == {0: "cat", 1: "dog"}
    lines = (target / "labels" / "a_b-000000.txt").read_text().splitlines()
    assert lines == ["1 0.200000 0.300000 0.200000 0.400000", "0 0.875000 0.750000 0.250000 0.500000"]
    assert (target / "labels" / "a_b-000010.txt").read_text() == ""
    stems = {path.stem for path in (target / "labels").iterdir()}
    assert stems == {path.stem for path in (target / "images").iterdir()} and len(stems) == 3


def test_cvat_tracks_are_outside_where_they_are_not_seen(tmp_path: Path) -> None:
    target = export(make(tmp_path), "cvat")
    root = ET.parse(target / "a_b.xml").getroot()
    assert (root.findtext("version"), root.findtext("meta/task/size")) == ("1.1", "30")
    dog, cat = root.findall("track")
    assert (dog.get("label"), cat.get("label")) == ("dog", "cat")
    assert [(box.get("frame"), box.get("outside")) for box in dog] == [
        ("0", "0"), ("10", "1"), ("20", "0"), ("21", "1"),
    ]  # fmt: skip
    assert [(box.get("frame"), box.get("outside")) for box in cat] == [("0", "0"), ("1", "1")]
    assert [dog[2].get(side) for side in ("xtl", "ytl", "xbr", "ybr")] == ["40.00", "10.00", "80.00", "50.00"]


def test_label_studio_has_percent_and_a_timeline_of_tracks(tmp_path: Path) -> None:
    target = export(make(tmp_path), "labelstudio")
    (task,) = json.loads((target / "tasks.json").read_text())
    dog, _ = task["predictions"][0]["result"]
    assert task["data"]["video"] == "/data/local-files/?d=clips/a.b.mp4"
    assert (dog["type"], dog["value"]["labels"], dog["value"]["framesCount"]) == (
        "videorectangle",
        ["dog"],
        30,
    )
    first, last = dog["value"]["sequence"]
    assert (first["frame"], first["x"], first["width"], first["enabled"]) == (1, 10, 20, False)
    assert (last["frame"], last["time"], last["y"]) == (21, 2.0, 10)
    assert ET.parse(target / "config.xml").getroot().find("VideoRectangle") is not None


def test_label_studio_has_pictures_where_there_are_no_tracks(tmp_path: Path) -> None:
    target = export(make(tmp_path, with_tracks=False), "labelstudio")
    first, second, _ = json.loads((target / "tasks.json").read_text())
    assert first["data"]["image"] == "/data/local-files/?d=labelstudio/images/a_b-000000.jpg"
    dog = first["predictions"][0]["result"][0]
    assert dog["type"] == "rectanglelabels" and dog["value"] == {
        "x": 10, "y": 10, "width": 20, "height": 40, "rotation": 0, "rectanglelabels": ["dog"],
    }  # fmt: skip
    assert second["predictions"][0]["result"] == []


def test_fiftyone_has_a_label_list_for_each_picture(tmp_path: Path) -> None:
    target = export(make(tmp_path), "fiftyone")
    read = json.loads((target / "labels.json").read_text())
    assert read["classes"] == ["cat", "dog"]
    assert set(read["labels"]) == {path.stem for path in (target / "data").iterdir()}
    dog = read["labels"]["a_b-000000"][0]
    assert dog["bounding_box"] == pytest.approx([0.1, 0.1, 0.2, 0.4])
    assert (dog["label"], dog["confidence"], dog["attributes"]["track_id"]) == ("dog", 0.5, 7)


def test_webdataset_reads_pictures_beside_what_is_known(tmp_path: Path, monkeypatch: Any) -> None:
    import webdataset

    monkeypatch.setattr(training_sets, "SHARD_BYTES", 10_240)
    target = export(make(tmp_path), "webdataset")
    shards = sorted(path.name for path in target.iterdir())
    assert shards[0] == "000000.tar" and len(shards) > 1
    assert all((target / name).stat().st_size <= 10_240 for name in shards)
    rows = list(
        webdataset.WebDataset([str(target / name) for name in shards], shardshuffle=False).decode("rgb8")
    )
    assert [row["__key__"] for row in rows] == ["a_b-000000", "a_b-000010", "a_b-000020"]
    assert rows[0]["jpg"].shape == (100, 200, 3)
    assert rows[0]["json"]["objects"][0]["bbox"] == [20, 10, 40, 40]
    assert (rows[2]["json"]["pts_seconds"], rows[2]["json"]["caption"]) == (2.0, "dog")


def test_names_of_many_bytes_fit_into_shards(tmp_path: Path) -> None:
    import webdataset

    name = "\u65e5" * 60
    target = export(make(tmp_path, uri=f"/clips/{name}.mp4"), "webdataset")
    rows = list(webdataset.WebDataset(str(target / "000000.tar"), shardshuffle=False))
    assert [row["__key__"] for row in rows] == [f"{name}-{frame:06}" for frame in (0, 10, 20)]


def test_hugging_face_reads_pictures_and_vectors_of_fixed_size(tmp_path: Path) -> None:
    import datasets

    target = export(make(tmp_path), "hf")
    read = datasets.load_dataset(str(target), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(read.features["image"], datasets.Image)
    rows = sorted(read, key=lambda row: row["frame_index"])
    assert rows[0]["image"].size == (200, 100)
    assert rows[0]["objects"]["label"] == ["dog", "cat"] and rows[1]["objects"]["label"] == []
    vectors = datasets.load_dataset(str(target), "vectors", split="train", cache_dir=str(tmp_path / "cache"))
    assert vectors.features["vector"].length == 3
    assert vectors[0]["vector"] == [1.0, 0.0, 0.5] and vectors[0]["image"].size == (200, 100)


def test_a_condition_takes_the_frames_of_its_shots(tmp_path: Path, capsys: Capture) -> None:
    root = make(tmp_path)
    target = export(root, "yolo", "--where", "scene_index = 1")
    assert [path.name for path in (target / "images").iterdir()] == ["a_b-000020.jpg"]
    nothing = str(tmp_path / "nothing")
    assert main(["export", root, "--format", "coco", "-o", nothing, "--where", "false"]) == 0
    assert "nothing to export" in capsys.readouterr().err and not Path(nothing).exists()


def test_tracks_do_not_run_over_shots_that_are_left_out(tmp_path: Path) -> None:
    """The dog is seen at frames 0, 10 and 20; the shot of frame 10 is left out."""
    frames = [{"frame_index": at, "pts_seconds": at / 10, "image": JPEG} for at in (0, 5, 10, 20, 25)]
    dogs = [found(at, 0, "dog", 16, (20 + at, 10, 60 + at, 50)) for at in (0, 5, 10, 20, 25)]
    tracks = [
        {"table": "objects", "frame_index": at, "pts_seconds": at / 10, "item_index": 0, "track_id": 7}
        for at in (0, 5, 10, 20, 25)
    ]
    scenes = [
        {"scene_index": i, "start_frame": a, "end_frame": b, "start_seconds": a / 10, "end_seconds": b / 10}
        for i, (a, b) in enumerate(((0, 3), (3, 8), (8, 15), (15, 30)))
    ]
    media = [{"uri": "", "width": 200, "height": 100, "fps": 10.0, "num_frames": 30}]
    tables = {"media": media, "frames": frames, "objects": dogs, "tracks": tracks, "scenes": scenes}
    make_folder(tmp_path / "out", {name: {"a": rows} for name, rows in tables.items()})
    root = str(tmp_path / "out")
    track = ET.parse(export(root, "cvat", "--where", "scene_index <> 2") / "a.xml").getroot().find("track")
    assert track is not None
    assert [(box.get("frame"), box.get("outside")) for box in track] == [
        ("0", "0"), ("5", "0"), ("6", "1"), ("20", "0"), ("25", "0"), ("26", "1"),
    ]  # fmt: skip
    tasks = json.loads(
        (export(root, "labelstudio", "--where", "scene_index <> 2") / "tasks.json").read_text()
    )
    sequence = tasks[0]["predictions"][0]["result"][0]["value"]["sequence"]
    assert [(box["frame"], box["enabled"]) for box in sequence] == [
        (1, True), (6, False), (21, True), (26, False),
    ]  # fmt: skip


def test_data_sets_do_not_mix_and_say_what_is_missing(tmp_path: Path, capsys: Capture) -> None:
    root = make(tmp_path)
    target = export(root, "yolo")
    assert main(["export", root, "--format", "coco", "-o", str(target)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["export", root, "--format", "coco", "--beside"]) == 2
    bare = tmp_path / "bare"
    make_folder(bare, {"media": {"a": []}, "frames": {"a": []}})
    assert main(["export", str(bare), "--format", "coco", "-o", str(tmp_path / "c")]) == 2
    assert "--ops objects" in capsys.readouterr().err
    gone = make(tmp_path / "gone", with_pictures=False)
    assert main(["export", gone, "--format", "coco", "-o", str(tmp_path / "c")]) == 2
    assert "/clips/a.b.mp4 is not there any more" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
