"""Faces, emotions and face embeddings as a plain script has them: a picture, then a face, at a time.

python -m benchmarks.peers.faces_one_by_one MODELS FOLDER STEP_SECONDS OUTPUT.json
The same models in sessions of ONNX Runtime's defaults, the same steps, one file after the other: PyAV decodes
each frame to RGB, and a tick takes the last frame at or before it. Writes, by file name, a list of
[frame_index, score, x0, y0, x1, y1, emotion, vector] for each face. Prints {"bare_seconds"}: CPU
seconds in the decoder and in the networks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from benchmarks.extracting import named_model
from benchmarks.peers.bare import Bare
from framemill.models.runner import Model
from framemill.ops.chunks import Float32Array, Frames, Int64Array, UInt8Array
from framemill.ops.faces.embeddings import FaceEmbeddings
from framemill.ops.faces.emotions import Emotions
from framemill.ops.faces.faces import Faces


class OnePicture(Frames):
    """One RGB picture, uint8 [height, width, 3]."""

    def __init__(self, pixels: UInt8Array, frame_index: int) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]
        self.frame_index, self.pts_seconds = np.array([frame_index]), np.zeros(1)
        self.is_key = np.ones(1, np.bool_)

    def luma(self, size: tuple[int, int] | None = None) -> UInt8Array:
        raise NotImplementedError  # none of the three looks at brightness

    def rgb(self, size: tuple[int, int] | None = None) -> UInt8Array:
        return np.asarray(cv2.resize(self.pixels, size or (self.width, self.height)), np.uint8)[None]

    def crops(self, index: Int64Array, boxes: Float32Array, size: tuple[int, int]) -> UInt8Array:
        found = []
        for x0, y0, x1, y1 in boxes:
            across, down = (x1 - x0) / size[0], (y1 - y0) / size[1]
            back = np.array([[across, 0, x0 + across / 2 - 0.5], [0, down, y0 + down / 2 - 0.5]], np.float32)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            found.append(cv2.warpAffine(self.pixels, back, size, flags=flags))
        return np.stack(found).astype(np.uint8)

    def jpeg(self, quality: int) -> list[bytes]:
        raise NotImplementedError  # no picture is kept


class OneRow:
    """A session that is called for one row at a time."""

    max_batch = 1

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # warnings about the files would drown everything else
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        (values,) = inputs.values()
        rows = [self.run_whole({self.input: values[row : row + 1]}) for row in range(len(values))]
        return {name: np.concatenate([row[name] for row in rows]) for name in self.outputs}

    def run_whole(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        (values,) = inputs.values()
        return dict(zip(self.outputs, self.session.run(None, {self.input: values}), strict=True))


def _rgb(frame: av.VideoFrame) -> UInt8Array:
    # The clips are of HD, where a picture without a tag is BT.709; PyAV would take BT.601.
    return np.asarray(frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray(), np.uint8)


def ticks(path: Path, step: float, bare: Bare) -> Iterator[tuple[int, UInt8Array]]:
    """Position and picture of the last frame at or before each tick."""
    with av.open(str(path)) as container:
        held, first, tick = None, None, 0
        for index, frame in enumerate(bare.of_each(container.decode(video=0))):
            first = frame.time if first is None else first
            while held is not None and frame.time - first > tick * step + 1e-9:
                yield held[0], _rgb(held[1])
                tick = int((frame.time - first) / step - 1e-9) + 1
            held = index, frame
        # The last tick is no later than the last frame.
        if held is not None and first is not None and held[1].time - first >= tick * step - 1e-9:
            yield held[0], _rgb(held[1])


def main() -> None:
    models, folder, step, output = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    bare = Bare()
    bare.of_sessions()
    kinds = (Faces, Emotions, FaceEmbeddings)
    loaded = {
        role: Model(named_model(role), OneRow(models / named_model(role).file_name))
        for kind in kinds
        for role in kind.models
    }
    faces, emotions, embeddings = (kind(kind.Options(), loaded) for kind in kinds)
    found: dict[str, list[list[Any]]] = {}
    for path in sorted(folder.iterdir()):
        rows = found[path.name] = []
        for index, pixels in ticks(path, step, bare):
            picture = OnePicture(pixels, index)
            seen = faces.run(picture, {})
            for at in range(seen.num_rows):
                one = {"faces": seen.slice(at, 1)}
                (face,) = one["faces"].to_pylist()
                (emotion,) = emotions.run(picture, one)["label"].to_pylist()
                (vector,) = embeddings.run(picture, one)["vector"].to_pylist()
                rows.append([index, face["score"], *face["box"].values(), emotion, vector])
    Path(output).write_text(json.dumps(found), encoding="utf-8")
    json.dump({"bare_seconds": bare.seconds}, sys.stdout)


if __name__ == "__main__":
    main()
