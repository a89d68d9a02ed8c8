"""How well faces tell two people apart, cut from the whole frame and from a quarter of its width.

python -m benchmarks.peers.small_faces MODELS CLIP
The clip shows one person on the left and one on the right; it is put into a 1080p frame as it is. Prints, for
`full` and `small`, the median similarity of two faces of one person less the largest of two people.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa

from benchmarks.extracting import named_model
from benchmarks.peers.faces_one_by_one import OnePicture, OneRow
from framemill.models.runner import Model
from framemill.ops.faces.embeddings import FaceEmbeddings
from framemill.ops.faces.faces import Faces

EVERY = 6
CORNER = (900, 500)
ZOOM = 0.25


def main() -> None:
    models, clip = Path(sys.argv[1]), sys.argv[2]
    loaded = {
        role: Model(named_model(role), OneRow(models / named_model(role).file_name))
        for kind in (Faces, FaceEmbeddings)
        for role in kind.models
    }
    faces, embed = Faces(Faces.Options(), loaded), FaceEmbeddings(None, loaded)
    vectors: dict[str, dict[str, list[np.ndarray]]] = {
        "full": {"left": [], "right": []},
        "small": {"left": [], "right": []},
    }
    with av.open(clip) as container:
        frames = [frame for index, frame in enumerate(container.decode(video=0)) if index % EVERY == 0]
        pictures = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]
    for pixels in pictures:
        near = faces.run(OnePicture(pixels, 0), {})
        sides = ["left" if box["x1"] < pixels.shape[1] / 2 else "right" for box in near["box"].to_pylist()]
        frame = np.zeros((1080, 1920, 3), np.uint8)
        frame[CORNER[1] : CORNER[1] + pixels.shape[0], CORNER[0] : CORNER[0] + pixels.shape[1]] = pixels
        shrunk = np.asarray(cv2.resize(frame, None, fx=ZOOM, fy=ZOOM), np.uint8)
        for name, whole, zoom in (("full", frame, 1.0), ("small", shrunk, ZOOM)):
            moved = [
                {edge: (box[edge] + CORNER[edge[0] == "y"]) * zoom for edge in box}
                for box in near["box"].to_pylist()
            ]
            boxes = pa.array(moved, near.schema.field("box").type)
            rows = embed.run(OnePicture(whole, 0), {"faces": near.set_column(4, "box", boxes)})
            for side, vector in zip(sides, rows["vector"].to_pylist(), strict=True):
                vectors[name][side].append(np.array(vector))
    gaps = {}
    for name, by_side in vectors.items():
        left, right = np.stack(by_side["left"]), np.stack(by_side["right"])
        own = [side @ side.T for side in (left, right)]
        alike = np.concatenate([pairs[np.triu_indices(len(pairs), 1)] for pairs in own])
        gaps[name] = float(np.median(alike) - (left @ right.T).max())
    json.dump(gaps, sys.stdout)


if __name__ == "__main__":
    main()
