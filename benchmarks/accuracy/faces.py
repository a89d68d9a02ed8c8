"""Faces beside UltraFace's demo and OpenCV's FaceDetectorYN, and the upright face beside OpenCV's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from benchmarks.accuracy.boxes import Agreement, Found
from benchmarks.accuracy.media import frames_of, model_of, operation, present
from benchmarks.accuracy.table import Comparison, skipped
from benchmarks.harness import Setting, SkippedError
from framemill.models.runner import Model
from framemill.ops.chunks import UInt8Array
from framemill.ops.faces.alignment import TEMPLATE, similarities
from framemill.ops.faces.faces import Faces
from framemill.ops.pixels.boxes import nms

LEAST_SCORE, MOST_OVERLAP = 0.7, 0.3
ULTRAFACE, YUNET, EMBEDDER = "ultraface_rfb_320", "yunet_2023mar", "mobilefacenet"
CLIPS = {"gif/head-pose-face-detection-female-and-male.gif": 4, "video/one-by-one-person-detection.mp4": 10}
Reference = Callable[[UInt8Array], Found]


def measure(setting: Setting) -> list[Comparison]:
    present(setting.media, *CLIPS)
    found = []
    for family, part in (("ultraface", _ultraface), ("yunet", _yunet), ("arcface", _upright)):
        try:
            found.append(part(setting))
        except SkippedError as exc:
            found.append(skipped(family, str(exc)))
    try:
        present(setting.models, "face_recognition_sface_2021dec.onnx")
    except SkippedError as exc:
        found.append(skipped("sface", str(exc)))
    return found


def _ultraface(setting: Setting) -> Comparison:
    network = model_of("faces", ULTRAFACE, setting)
    return _compare(
        setting,
        ULTRAFACE,
        "ultraface",
        "UltraFace, its demo's steps around the same network, in NumPy",
        lambda p: _demo(p, network),
    )


def _yunet(setting: Setting) -> Comparison:
    (path,) = present(setting.models, f"{YUNET}.onnx")
    detector = cv2.FaceDetectorYN.create(str(path), "", (640, 640), LEAST_SCORE, MOST_OVERLAP, 5000)
    name = f"OpenCV {cv2.__version__} FaceDetectorYN, of the frame in 640 x 640"
    return _compare(setting, YUNET, "yunet", name, lambda p: opencv_faces(p, detector))


def _compare(setting: Setting, model: str, family: str, reference: str, theirs: Reference) -> Comparison:
    ours = operation(Faces, setting, {"faces": model}, score=LEAST_SCORE, nms=MOST_OVERLAP)
    agreement, num_frames = Agreement(LEAST_SCORE), 0
    for clip, step in CLIPS.items():
        for frames in frames_of(setting.media / clip, step):
            rows = ours.run(frames, {}).to_pylist()
            num_frames += len(frames)
            for at, pixels in zip(frames.frame_index.tolist(), frames.rgb(), strict=True):
                agreement.add(_of([row for row in rows if row["frame_index"] == at]), theirs(pixels))
    return Comparison(
        family=family,
        reference=reference,
        compared=f"`faces` by {model}, {num_frames} frames of {len(CLIPS)} clips",
        num_rows=agreement.num_rows,
        figure=agreement.words(),
        goal="99% within 1 px and 0.01",
        met=agreement.share >= 0.99,
    )


def _of(rows: list[dict[str, Any]]) -> Found:
    boxes = np.array([[*row["box"].values()] for row in rows], np.float32).reshape(-1, 4)
    return Found(boxes, np.array([row["score"] for row in rows], np.float32), np.zeros(len(rows), np.int64))


def _demo(pixels: UInt8Array, network: Model) -> Found:
    """UltraFace as its demo runs it: the frame stretched to 320 x 240, boxes as parts of both sides."""
    high, wide = pixels.shape[:2]
    small = cv2.resize(pixels, (320, 240), interpolation=cv2.INTER_LINEAR_EXACT)
    batch = ((small.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
    outputs = network.runner.run({"input": np.ascontiguousarray(batch)})
    scores, boxes = outputs["scores"][0, :, 1], outputs["boxes"][0]
    sure = scores > LEAST_SCORE
    return _suppressed(boxes[sure] * np.array([wide, high] * 2, np.float32), scores[sure], (wide, high))


def opencv_faces(pixels: UInt8Array, detector: Any) -> Found:
    """FaceDetectorYN of an RGB picture, laid into the top left of 640 x 640 pixels."""
    high, wide = pixels.shape[:2]
    ratio = min(640 / wide, 640 / high)
    inner = (int(wide * ratio), int(high * ratio))
    picture = np.zeros((640, 640, 3), np.uint8)
    small = cv2.resize(pixels, inner, interpolation=cv2.INTER_LINEAR_EXACT)
    picture[: inner[1], : inner[0]] = small[..., ::-1]
    faces = detector.detect(picture)[1]
    rows = np.zeros((0, 15), np.float32) if faces is None else faces
    enlarge = np.array([wide / inner[0], high / inner[1]] * 2, np.float32)
    boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) * enlarge
    boxes = np.clip(boxes, 0, np.array([wide, high] * 2, np.float32))
    return Found(boxes, rows[:, 14], np.zeros(len(rows), np.int64))


def _suppressed(boxes: np.ndarray, scores: np.ndarray, display: tuple[int, int]) -> Found:
    labels = np.zeros(len(scores), np.int64)
    kept = nms(boxes, scores, labels, MOST_OVERLAP, 500)
    clipped = np.clip(boxes[kept], 0, np.array(display * 2, np.float32))
    return Found(clipped, scores[kept], labels[kept])


def _upright(setting: Setting) -> Comparison:
    """The picture that embeddings take, by the same five points: our transform and OpenCV's alignCrop."""
    (path,) = present(setting.models, f"{EMBEDDER}.onnx")
    aligner = cv2.FaceRecognizerSF.create(str(path), "")
    network = model_of("face_embeddings", EMBEDDER, setting)
    detect = operation(Faces, setting, {"faces": YUNET}, score=LEAST_SCORE)
    cosines = []
    for clip, step in CLIPS.items():
        for frames in frames_of(setting.media / clip, step):
            for row in detect.run(frames, {}).to_pylist():
                pixels = frames.rgb()[frames.frame_index.tolist().index(row["frame_index"])]
                points = np.array([[*point.values()] for point in row["landmarks"]], np.float64)
                warp = similarities(points[None], TEMPLATE)[0]
                face = np.array([[0.0, 0, 0, 0, *points.ravel(), 1]], np.float32)
                pair = (
                    cv2.warpAffine(pixels, warp, (112, 112), flags=cv2.INTER_LINEAR),
                    aligner.alignCrop(np.ascontiguousarray(pixels), face),
                )
                batch = (np.stack(pair).astype(np.float32) - 127.5) / 127.5
                (vectors,) = network.runner.run(
                    {"input0": np.ascontiguousarray(batch.transpose(0, 3, 1, 2))}
                ).values()
                vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
                cosines.append(float(vectors[0] @ vectors[1]))
    return Comparison(
        family="arcface",
        reference=f"OpenCV {cv2.__version__} FaceRecognizerSF.alignCrop",
        compared=f"the upright face by five points of {YUNET}, as embeddings of {EMBEDDER}",
        num_rows=len(cosines),
        figure=f"cosine at least {min(cosines):.5f}, median {np.median(cosines):.5f}",
        goal="cosine at least 0.999",
        met=min(cosines) >= 0.999,
    )
