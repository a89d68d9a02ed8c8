"""YOLOX beside its publisher's own way: its resizing, its grid, its suppression within each class."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.accuracy.boxes import Agreement, Found
from benchmarks.accuracy.media import frames_of, model_of, operation, present
from benchmarks.accuracy.table import Comparison
from benchmarks.harness import Setting
from framemill.models.runner import Model
from framemill.ops.chunks import UInt8Array
from framemill.ops.objects.objects import Objects

MODEL, SIDE, GREY = "yolox_nano", 416, 114
LEAST_SCORE, MOST_OVERLAP = 0.3, 0.45
CLIPS = {
    "bottle-detection.mp4": 30,
    "car-detection.mp4": 25,
    "one-by-one-person-detection.mp4": 40,
    "dog_eating_854132.mp4": 30,
}


def measure(setting: Setting) -> list[Comparison]:
    paths = present(setting.media / "video", *CLIPS)
    ours = operation(Objects, setting, {"objects": MODEL}, score=LEAST_SCORE, nms=MOST_OVERLAP)
    network = model_of("objects", MODEL, setting)
    agreement, num_frames = Agreement(LEAST_SCORE), 0
    for path in paths:
        for frames in frames_of(path, CLIPS[path.name]):
            rows = ours.run(frames, {}).to_pylist()
            num_frames += len(frames)
            for at, pixels in zip(frames.frame_index.tolist(), frames.rgb(), strict=True):
                mine = [row for row in rows if row["frame_index"] == at]
                agreement.add(
                    Found(
                        np.array([[*row["box"].values()] for row in mine], np.float32).reshape(-1, 4),
                        np.array([row["score"] for row in mine], np.float32),
                        np.array([row["label_index"] for row in mine], np.int64),
                    ),
                    published(pixels, network),
                )
    return [
        Comparison(
            family="yolox",
            reference="YOLOX, its published steps around the same network, in NumPy",
            compared=f"`objects` by {MODEL}, {num_frames} frames of {len(paths)} clips",
            num_rows=agreement.num_rows,
            figure=agreement.words(),
            goal="99% within 1 px and 0.01",
            met=agreement.share >= 0.99,
        )
    ]


def published(pixels: UInt8Array, network: Model) -> Found:
    """Objects in an RGB picture, uint8 [h, w, 3], step by step as YOLOX's README and paper describe them."""
    high, wide = pixels.shape[:2]
    ratio = min(SIDE / high, SIDE / wide)
    # Exactly rounded: OpenCV's faster INTER_LINEAR is up to a level off, differently on every processor.
    small = cv2.resize(pixels, (int(wide * ratio), int(high * ratio)), interpolation=cv2.INTER_LINEAR_EXACT)
    padded = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    padded[: small.shape[0], : small.shape[1]] = small[..., ::-1]
    batch = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], dtype=np.float32)
    cells = next(iter(network.runner.run({"images": batch}).values()))[0].astype(np.float64)
    start = 0
    for stride in (8, 16, 32):
        count = SIDE // stride
        rows, columns = np.indices((count, count))
        part = cells[start : start + count * count]
        part[:, 0] = (part[:, 0] + columns.ravel()) * stride
        part[:, 1] = (part[:, 1] + rows.ravel()) * stride
        part[:, 2:4] = np.exp(part[:, 2:4]) * stride
        start += count * count
    corners = np.concatenate([cells[:, :2] - cells[:, 2:4] / 2, cells[:, :2] + cells[:, 2:4] / 2], axis=1)
    labels = cells[:, 5:].argmax(axis=1)
    scores = cells[:, 4] * cells[:, 5:].max(axis=1)
    kept: list[int] = []
    for at in sorted(np.flatnonzero(scores >= LEAST_SCORE).tolist(), key=lambda one: -scores[one]):
        rivals = [one for one in kept if labels[one] == labels[at]]
        if all(_overlap(corners[at], corners[one]) <= MOST_OVERLAP for one in rivals):
            kept.append(at)
    boxes = np.clip(corners[kept] / ratio, 0, (wide, high, wide, high)).astype(np.float32)
    return Found(boxes, scores[kept].astype(np.float32), labels[kept])


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / (float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared)
