"""Lines of text beside RapidOCR's own pipeline, with the weights of its wheel, on the same pixels."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.accuracy.media import frames_of, operation, present
from benchmarks.accuracy.table import Comparison
from benchmarks.harness import Setting, SkippedError
from framemill.ops.text.text import Text

CLIPS = {"counter.mp4": 10, "nasa_13013_hdr.mp4": 160, "testvideo.mp4": 300}
PIXELS = 2.0


def measure(setting: Setting) -> list[Comparison]:
    if find_spec("rapidocr") is None:
        raise SkippedError("rapidocr is not installed")
    from rapidocr import RapidOCR

    paths = present(setting.media / "video", *CLIPS)
    ours = operation(Text, setting, {}, reuse=False)
    engine: Any = RapidOCR(params={"Global.log_level": "error"})
    num_lines = num_equal = num_frames = 0
    apart: list[float] = []
    for path in paths:
        extractor = ours.open(None)
        for frames in frames_of(path, CLIPS[path.name]):
            rows = extractor.feed(frames, {}).to_pylist()
            num_frames += len(frames)
            for at, pixels in zip(frames.frame_index.tolist(), frames.rgb(), strict=True):
                mine = [row for row in rows if row["frame_index"] == at]
                found: Any = engine(np.ascontiguousarray(pixels[..., ::-1]))
                theirs = list(zip(found.txts or (), found.boxes if found.txts else (), strict=True))
                pairs = matched(mine, theirs)
                num_lines += max(len(mine), len(theirs))
                num_equal += sum(same for same, _ in pairs)
                apart += [distance for _, distance in pairs]
    share = num_equal / max(1, num_lines)
    far = sum(distance > PIXELS for distance in apart)
    return [
        Comparison(
            family="ppocr",
            reference=f"RapidOCR {version('rapidocr')}, its pipeline with the same files",
            compared=f"`text` by the default models, {num_frames} frames of {len(paths)} clips",
            num_rows=num_lines,
            figure=f"{num_equal} of {num_lines} lines have the same text; corners: median "
            f"{np.median(apart or [0]):.1f} px, {far} beyond {PIXELS:g} px",
            goal=f"all texts equal, corners within {PIXELS:g} px",
            met=share == 1 and far == 0,
        )
    ]


def matched(ours: list[dict[str, Any]], theirs: list[tuple[str, Any]]) -> list[tuple[bool, float]]:
    """For each line of ours and the nearest of theirs: whether the text is equal, and their distance, px.

    Args:
        ours: rows of `text`. theirs: text and corners, [4, 2], of each line.
    """
    pairs = []
    free = list(theirs)
    for row in ours:
        if not free:
            break
        polygon = np.array(row["polygon"]).reshape(4, 2)
        distances = [float(np.abs(polygon - np.asarray(corners)).max()) for _, corners in free]
        best = int(np.argmin(distances))
        text, _ = free.pop(best)
        pairs.append((row["text"] == text, distances[best]))
    return pairs
