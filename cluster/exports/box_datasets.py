"""Sampled frames with their objects for training and measuring detectors: COCO, YOLO and FiftyOne."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import IO, Any

from framemill.cluster.exports.sampled_frames import Frame, SampledFrames, Source
from framemill.errors import UsageError


def write_coco(sampled: SampledFrames, folder: Path) -> int:
    """`annotations.json` beside `images/`: ids from 1, boxes as [left, top, width, height] in pixels.

    Categories are numbered from 1 in the model's order. Images carry `video_id` and `frame_id`, and
    annotations `track_id` where there are tracks, as in the extensions of COCO for video.

    Returns:
        The number of frames written.
    """
    sampled.need_objects()
    (folder / "images").mkdir()
    category = {label: number for number, label in enumerate(sampled.categories, 1)}
    images = _JsonItems(folder / "annotations.json")
    num_boxes = 0
    # Annotations stand behind all images; they wait in a file, as there may be millions.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as waiting, images:
        begin = {
            "info": {"description": "Objects that Framemill found", "version": "1.0"},
            "licenses": [],
            "categories": [{"id": at, "name": label, "supercategory": ""} for label, at in category.items()],
        }
        images.file.write(json.dumps(begin)[:-1] + ', "images": [')
        videos: list[dict[str, Any]] = []
        for source in sampled.sources():
            videos.append({"id": len(videos) + 1, "name": source.uri})
            for frame, jpeg in sampled.pictures(source):
                name = f"{source.name(frame)}.jpg"
                (folder / "images" / name).write_bytes(jpeg)
                images.add(
                    {
                        "id": images.count + 1, "file_name": name, "width": source.width,
                        "height": source.height, "video_id": len(videos), "frame_id": frame.frame_index,
                        "pts_seconds": frame.pts_seconds,
                    }
                )  # fmt: skip
                for box in frame.boxes:
                    num_boxes += 1
                    width, height = box.x1 - box.x0, box.y1 - box.y0
                    row: dict[str, Any] = {
                        "id": num_boxes, "image_id": images.count, "category_id": category[box.label],
                        "bbox": [box.x0, box.y0, width, height], "area": width * height, "iscrowd": 0,
                        "score": box.score,
                    }  # fmt: skip
                    if box.track_id is not None:
                        row["track_id"] = box.track_id
                    waiting.write(f"{',' if num_boxes > 1 else ''}\n{json.dumps(row)}")
        images.file.write(f'\n], "videos": {json.dumps(videos)}, "annotations": [')
        waiting.seek(0)
        while text := waiting.read(1 << 20):
            images.file.write(text)
        images.file.write("\n]}\n")
    return images.count


def write_yolo(sampled: SampledFrames, folder: Path) -> int:
    """`data.yaml`, `images/` and `labels/`: a line for each object, shares of the picture from its centre.

    Classes are numbered from 0 in the model's order. A frame without objects has an empty file of labels.

    Returns:
        The number of frames written.
    """
    sampled.need_objects()
    for name in ("images", "labels"):
        (folder / name).mkdir()
    classes = {label: number for number, label in enumerate(sampled.categories)}
    # A JSON string is a YAML one too, whatever stands in it.
    names = "".join(f"  {number}: {json.dumps(label)}\n" for label, number in classes.items())
    text = (
        "# Without `path`, the folders are looked for beside this file. There is no split: make one before\n"
        f"# you train.\ntrain: images\nval: images\nnames:\n{names}"
    )
    (folder / "data.yaml").write_text(text if names else text.replace("names:\n", "names: {}\n"), "utf-8")
    count = 0
    for source in sampled.sources():
        for frame, jpeg in sampled.pictures(source):
            name = source.name(frame)
            (folder / "images" / f"{name}.jpg").write_bytes(jpeg)
            lines = []
            for box in frame.boxes:
                left, top, width, height = box.relative(source)
                x, y = left + width / 2, top + height / 2
                lines.append(f"{classes[box.label]} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n")
            (folder / "labels" / f"{name}.txt").write_text("".join(lines), "utf-8")
            count += 1
    return count


def write_fiftyone(sampled: SampledFrames, folder: Path) -> int:
    """`labels.json` and `data/`: the layout that `fiftyone.types.FiftyOneImageDetectionDataset` reads.

    Boxes are [left, top, width, height] as shares of the picture; tracks stand among the attributes.

    Returns:
        The number of frames written.
    """
    sampled.need_objects()
    (folder / "data").mkdir()
    labels = _JsonItems(folder / "labels.json")
    with labels:
        labels.file.write(f'{{"classes": {json.dumps(sampled.categories)}, "labels": {{')
        for source in sampled.sources():
            for frame, jpeg in sampled.pictures(source):
                name = source.name(frame)
                (folder / "data" / f"{name}.jpg").write_bytes(jpeg)
                labels.add(_detections(source, frame), name)
        labels.file.write("\n}}\n")
    return labels.count


def _detections(source: Source, frame: Frame) -> list[dict[str, Any]]:
    found = []
    for box in frame.boxes:
        known = {"pts_seconds": frame.pts_seconds}
        if box.track_id is not None:
            known["track_id"] = box.track_id
        found.append(
            {
                "label": box.label, "bounding_box": box.relative(source), "confidence": box.score,
                "attributes": known,
            }
        )  # fmt: skip
    return found


class _JsonItems:
    """Items of a JSON array or object, written one by one so that none has to be held."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        try:
            self.file: IO[str] = path.open("w", encoding="utf-8")
        except OSError as exc:
            raise UsageError(f"{path} cannot be written ({exc.strerror}): choose another folder") from exc

    def __enter__(self) -> None:
        self.file.__enter__()

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def add(self, item: object, key: str | None = None) -> None:
        begin = "," if self.count else ""
        self.file.write(f"{begin}\n{'' if key is None else json.dumps(key) + ': '}{json.dumps(item)}")
        self.count += 1
