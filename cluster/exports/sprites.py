"""Sheets of thumbnails with a WebVTT file that says which part of which sheet belongs to which time.

Players show them while one seeks; the part is a media fragment (W3C, "Media Fragments URI 1.0", 4.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from urllib.parse import quote

import numpy as np

from framemill.cluster.editing.sheets import COLUMNS, ROWS, make_sheet
from framemill.cluster.exports.sampled_frames import SampledFrames, Source
from framemill.ops.chunks import UInt8Array

LONG_SIDE = 160  # of a thumbnail, in pixels


def write_sprites(sampled: SampledFrames, folder: Path) -> int:
    """`{stem}.vtt` for each source, and its sheets `{stem}-001.jpg` and on, all cells of a source equal.

    A frame is shown from its own time, the first one from the start, until the next one's.

    Returns:
        The number of frames written.
    """
    written = 0
    for source in sampled.sources():
        cues: list[tuple[float, str]] = []
        tiles = ((frame, _shrink(jpeg, source)) for frame, jpeg in sampled.pictures(source))
        for number in count(1):
            some = list(islice(tiles, COLUMNS * ROWS))
            if not some:
                break
            sheet = make_sheet([tile for _, tile in some])
            name = f"{source.stem}-{number:03}.jpg"
            (folder / name).write_bytes(sheet.jpeg)
            cues += [
                (frame.pts_seconds, f"{quote(name)}#xywh={','.join(map(str, cell))}")
                for (frame, _), cell in zip(some, sheet.cells, strict=True)
            ]
        if cues:
            (folder / f"{source.stem}.vtt").write_text(_vtt(cues, source.duration_seconds), "utf-8")
            written += len(cues)
    return written


def _shrink(jpeg: bytes, source: Source) -> UInt8Array:
    import cv2

    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, "a frame's picture is a JPEG"
    scale = min(1.0, LONG_SIDE / max(source.width, source.height))
    size = max(1, round(source.width * scale)), max(1, round(source.height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _vtt(cues: Sequence[tuple[float, str]], duration_seconds: float) -> str:
    starts = [0, *(round(seconds * 1000) for seconds, _ in cues[1:])]
    ends = [*starts[1:], round(duration_seconds * 1000)]
    blocks = [
        f"{_clock(start)} --> {_clock(max(end, start + 1))}\n{place}\n"
        for start, end, (_, place) in zip(starts, ends, cues, strict=True)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _clock(milliseconds: int) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"
