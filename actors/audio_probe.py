"""Whether a file's sound is missed, and one operation fed with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.actors.indexing import SourceIndex, index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.errors import UnsupportedError
from framemill.ops import load_op
from framemill.ops.chunks import ShardInfo, Subtitles
from framemill.ops.operation import Op, Reads


def lack_of_sound(index: SourceIndex, ops: Iterable[str]) -> str:
    """Why a file without sound gives nothing, where sound is all that was asked for; else empty.

    Args:
        ops: every operation that was asked for or is needed.
    """
    if index.has_more_than_pictures or {load_op(op).reads for op in ops} - {Reads.AUDIO, Reads.TABLES}:
        return ""
    return "no sound track in the file, and nothing but sound was asked for"


def reads_subtitles(options: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether one of these operations, each with its options, reads the subtitles of files."""
    kinds = {name: load_op(name) for name in options}
    return any(
        kind.reads is Reads.AUDIO and Subtitles in kind.takes_under(kind.Options(**options[name]))
        for name, kind in kinds.items()
    )


def run_on_sound(path: str, op: Op) -> tuple[pa.Table, float]:
    """Rows of an operation that reads sound, for a whole file, and the file's length in seconds.

    Raises:
        MediaError: the file cannot be opened, or has no sound that can be decoded.
    """
    index = index_source(path)
    if index.audio_stream < 0:
        raise UnsupportedError(index.sound_problem or "no sound track in the file")
    shard = ShardInfo(
        index=index.frames,
        start_frame=0,
        end_frame=0,
        shard_index=0,
        num_shards=1,
        width=index.display_width,
        height=index.display_height,
        duration_seconds=index.duration_seconds,
        audio_stream=index.audio_stream,
    )
    extractor = op.open(shard)
    nothing = np.zeros(0, np.int64)
    request = ReadRequest(nothing, nothing, with_sound=True, threads=1)
    for chunk in read_shard(path, index, request, ReadReport()):
        extractor.feed(chunk, {})
    return op.merge([extractor.finish()]), index.duration_seconds
