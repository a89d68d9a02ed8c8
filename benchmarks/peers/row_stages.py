"""The stages of `benchmarks.peers.ray_frames_as_rows`: each takes rows and gives rows.

Every stage uses the library that most people take for it, on one thread, since Ray runs as many of them at
once as there are CPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

SIDE, PADDING = 416, 114
LEAST_SCORE, MOST_OVERLAP = 0.3, 0.45
RATE, WINDOWS_PER_SECOND = 16_000, 10
MEASURED_SIDE = 512
LEAST_SCENE = "0.2s"

OBJECT = pa.struct({"label_index": pa.int64(), "score": pa.float32(), "box": pa.list_(pa.float32())})

cv2.setNumThreads(1)


def probe(row: dict[str, Any]) -> dict[str, Any]:
    """What the container says of itself."""
    with av.open(row["path"]) as container:
        picture = container.streams.video[0]
        sound = next(iter(container.streams.audio), None)
        return {
            **row,
            "container": container.format.name,
            "duration_seconds": (container.duration or 0) / av.time_base,
            "video_codec": picture.codec_context.name,
            "width": picture.width,
            "height": picture.height,
            "fps": float(picture.average_rate or 0),
            "num_frames": picture.frames,
            "audio_codec": sound.codec_context.name if sound else "",
            "sample_rate": sound.rate if sound else 0,
            "num_channels": sound.channels if sound else 0,
        }


def find_scenes(row: dict[str, Any]) -> dict[str, Any]:
    """Shots by PySceneDetect, which opens and decodes the file by itself."""
    from scenedetect import ContentDetector, detect  # type: ignore[import-untyped]

    detector = ContentDetector(min_scene_len=LEAST_SCENE)
    found = detect(row["path"], detector, start_in_scene=True)
    scenes = [{"start_seconds": start.seconds, "end_seconds": end.seconds} for start, end in found]
    return {**row, "scenes": scenes}


def read_sound(row: dict[str, Any]) -> dict[str, Any]:
    """The sound as float32 [n] at 16 kHz, mono; nothing where there is none."""
    samples = np.empty(0, np.float32)
    with av.open(row["path"]) as container:
        if container.streams.audio:
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
            frames += resampler.resample(None)
            samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return {**row, "samples": samples}


def measure_levels(row: dict[str, Any]) -> dict[str, Any]:
    """Root mean square and peak in dBFS, ten times a second."""
    window = RATE // WINDOWS_PER_SECOND
    windows = np.pad(row["samples"], (0, -len(row["samples"]) % window)).reshape(-1, window)
    rms, peak = np.sqrt(np.mean(windows**2, axis=1)), np.abs(windows).max(axis=1)
    levels = {name: 20 * np.log10(np.maximum(some, 1e-6)) for name, some in (("rms", rms), ("peak", peak))}
    return {**row, "rms_db": levels["rms"].tolist(), "peak_db": levels["peak"].tolist()}


def find_speech(row: dict[str, Any]) -> dict[str, Any]:
    """Speech by Silero's network as faster-whisper brings it, which keeps it; the samples end here."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=0.5, min_speech_duration_ms=250, min_silence_duration_ms=100, speech_pad_ms=30
    )
    samples = row.pop("samples")
    found = get_speech_timestamps(samples, options) if len(samples) else []
    speech = [{"start_seconds": one["start"] / RATE, "end_seconds": one["end"] / RATE} for one in found]
    return {**row, "speech": speech}


def decode(row: dict[str, Any], step: float) -> Iterator[dict[str, Any]]:
    """A row for the last frame at or before each tick, counted from the first frame; uint8 [h, w, 3], BGR."""
    with av.open(row["path"]) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        frame_seconds = float(1 / stream.average_rate)
        first = 0.0
        held: av.VideoFrame | None = None
        tick = 0
        for frame in container.decode(stream):
            first = frame.time if held is None else first
            while held is not None and frame.time - first > tick * step + 1e-9:
                yield _row(row["path"], held)
                tick = int((frame.time - first) / step - 1e-9) + 1
            held = frame
        # A tick within the last frame is one, too.
        if held is not None and tick * step < held.time - first + frame_seconds:
            yield _row(row["path"], held)


def _row(path: str, frame: av.VideoFrame) -> dict[str, Any]:
    # PyAV would start threads for every frame that it converts.
    pixels = frame.to_ndarray(format="bgr24", threads=1)
    return {"path": path, "time": frame.time, "is_key": frame.key_frame, "frame": pixels}


def measure_frames(batch: dict[str, Any]) -> dict[str, Any]:
    """Sharpness, brightness, contrast and a perceptual hash of each frame, from its grey copy."""
    measures: dict[str, list[Any]] = {"sharpness": [], "brightness": [], "contrast": [], "phash": []}
    for frame in batch["frame"]:
        pixels = np.asarray(frame)
        scale = min(1.0, MEASURED_SIDE / max(pixels.shape[:2]))
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        measures["sharpness"].append(cv2.Laplacian(grey, cv2.CV_64F).var())
        measures["brightness"].append(grey.mean() / 255)
        measures["contrast"].append(grey.std() / 255)
        low = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[:8, :8]
        bits = np.packbits(low > np.median(low))
        measures["phash"].append(int.from_bytes(bits.tobytes(), "big"))
    kinds = {"phash": np.uint64}
    return {**batch, **{name: np.array(some, kinds.get(name, np.float32)) for name, some in measures.items()}}


class FindObjects:
    """An actor with YOLOX; the frames end here.

    Its published file takes one picture a call, and on a CPU larger batches gain nothing.
    """

    def __init__(self, model: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name
        self._places, self._strides = _grid()

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        objects = [self._find(np.asarray(frame)) for frame in batch.pop("frame")]
        columns = {name: pa.array(values) for name, values in batch.items()}
        return pa.table({**columns, "objects": pa.array(objects, pa.list_(OBJECT))})

    def _find(self, frame: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:
        """As the model's authors show it: letterbox, grid to boxes, suppression within each label."""
        scale = min(SIDE / frame.shape[0], SIDE / frame.shape[1])
        scaled = cv2.resize(frame, (int(frame.shape[1] * scale), int(frame.shape[0] * scale)))
        picture = np.full((SIDE, SIDE, 3), PADDING, np.uint8)
        picture[: scaled.shape[0], : scaled.shape[1]] = scaled
        pixels = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)
        (cells,) = self._session.run(None, {self._name: pixels})[0]
        # Class scores are at most 1, so that objectness alone rules out nearly every cell.
        near = np.flatnonzero(cells[:, 4] >= LEAST_SCORE)
        cells, places, strides = cells[near], self._places[near], self._strides[near]
        if not len(cells):
            return []
        labels = cells[:, 5:].argmax(axis=1)
        scores = cells[:, 4] * cells[:, 5:].max(axis=1)
        sizes = np.exp(cells[:, 2:4]) * strides / scale
        corners = (cells[:, :2] + places) * strides / scale - sizes / 2
        boxes = np.concatenate([corners, sizes], axis=1)
        kept = cv2.dnn.NMSBoxesBatched(
            boxes.tolist(), scores.tolist(), labels.tolist(), LEAST_SCORE, MOST_OVERLAP
        )
        return [
            {
                "label_index": int(labels[k]),
                "score": float(scores[k]),
                "box": [*corners[k].tolist(), *(corners[k] + sizes[k]).tolist()],
            }
            for k in kept
        ]


def _grid() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Column and row of each cell of the model, float32 [cells, 2], and its stride, float32 [cells, 1]."""
    places, strides = [], []
    for stride in (8, 16, 32):
        rows, columns = np.mgrid[: SIDE // stride, : SIDE // stride]
        places.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(strides).astype(np.float32)
