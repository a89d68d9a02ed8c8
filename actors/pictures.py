"""A few named frames of a file, for showing them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from framemill.actors.indexing import AS_PLAYERS, index_and_keep
from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.stream_choice import Tracks
from framemill.errors import CorruptError
from framemill.ops.chunks import Int64Array


def read_pictures(path: str, frame_index: Int64Array, tracks: Tracks = AS_PLAYERS) -> Iterator[PyavFrames]:
    """Decodes frames of one file, in order, in batches.

    Args:
        frame_index: int64 [n], ascending positions among the presented frames.
        tracks: which picture track they are of.

    Raises:
        MediaError: the file cannot be opened, or has fewer frames than asked for.
    """
    index, container = index_and_keep(path, tracks)
    if len(frame_index) and frame_index[-1] >= len(index.frames):
        if container is not None:
            container.close()
        raise CorruptError(
            f"has {len(index.frames)} frames, but frame {frame_index[-1]} is asked for: "
            "it was changed since it was extracted; extract it again"
        )
    request = ReadRequest(frame_index, np.zeros(0, np.int64), with_sound=False, threads=1)
    for chunk in read_shard(path, index, request, ReadReport(), container):
        assert isinstance(chunk, PyavFrames)
        yield chunk
