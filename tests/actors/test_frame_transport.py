"""Chunks that travel to another process give the same views there."""

from __future__ import annotations

import pickle
from pathlib import Path

import av
import numpy as np
import pytest

from framemill.actors.indexing import index_source
from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.errors import MediaError
from framemill.ops.chunks import Chunk, Frames, Signals
from tests.actors.clips import moving, write_clip
from tests.actors.kinds import KINDS
from tests.actors.real import real_files

BOX = np.array([[3.0, 2.0, 29.0, 31.0]], np.float32)


def _travelled(chunk: Chunk) -> Chunk:
    """As Ray sends it: large arrays apart from the pickle, and not to be written to."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(chunk, protocol=5, buffer_callback=buffers.append)
    there: Chunk = pickle.loads(text, buffers=[bytes(buffer.raw()) for buffer in buffers])
    return there


def _same(here: Frames, there: Frames) -> None:
    for name in ("frame_index", "pts_seconds", "is_key"):
        assert np.array_equal(getattr(here, name), getattr(there, name)), name
    assert (here.width, here.height) == (there.width, there.height)
    for view in ("luma", "rgb"):
        for size in (None, (40, 30)):
            assert np.array_equal(getattr(here, view)(size), getattr(there, view)(size)), (view, size)
    first = np.zeros(1, np.int64)
    assert np.array_equal(here.crops(first, BOX, (16, 16)), there.crops(first, BOX, (16, 16)))
    assert here.jpeg(80) == there.jpeg(80)


def _check(path: Path, frames: slice) -> None:
    index = index_source(str(path))
    wanted = np.arange(len(index.frames))[frames]
    request = ReadRequest(wanted, wanted, with_sound=False, threads=1)
    pictures = 0
    for chunk in read_shard(str(path), index, request, ReadReport()):
        there = _travelled(chunk)
        if isinstance(chunk, Frames):
            assert isinstance(there, PyavFrames)
            _same(chunk, there)
            pictures += len(chunk)
        elif isinstance(chunk, Signals):
            assert isinstance(there, Signals)
            assert np.array_equal(chunk.luma, there.luma) and np.array_equal(chunk.chroma_v, there.chroma_v)
    assert pictures or not len(wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_views_of_every_kind_of_clip(kind: str, tmp_path: Path) -> None:
    _check(KINDS[kind](tmp_path), slice(0, 12))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv411p", "yuv420p10le", "gray10le", "nv12"])
@pytest.mark.parametrize("size", [(96, 62), (97, 61)])
def test_views_of_other_formats(pixel_format: str, size: tuple[int, int], tmp_path: Path) -> None:
    codec = "rawvideo" if pixel_format == "nv12" else "ffv1"
    path = write_clip(tmp_path / "clip.mkv", moving(3, *size), codec=codec, pixel_format=pixel_format)
    _check(path, slice(0, 3))


@pytest.mark.media
@pytest.mark.slow
@pytest.mark.parametrize("name", real_files("video", "gif"))
def test_views_of_real_files(media_dir: Path, name: str) -> None:
    try:
        _check(media_dir / name, slice(0, 8))
    except MediaError as error:
        pytest.skip(f"not to be read: {error}")


def test_a_picture_with_a_palette() -> None:
    frame = av.VideoFrame(32, 24, "pal8")
    frame.planes[0].update(np.arange(frame.planes[0].buffer_size, dtype=np.uint32).astype(np.uint8))
    frame.planes[1].update(np.arange(256, dtype=np.uint32) * 0x010305 | 0xFF000000)
    one = np.zeros(1, np.int64)
    here = PyavFrames([frame], one, np.zeros(1), np.ones(1, bool), (24, 32), 1)
    there = _travelled(here)
    assert isinstance(there, PyavFrames)
    assert np.array_equal(here.rgb(), there.rgb()) and here.rgb().std() > 10
