"""Whether pictures themselves say that their samples use the full range.

Where the bitstream says nothing, FFmpeg's decoders take the container's word (`colr` of MP4, Colour of
Matroska), each attribute by itself; where both speak, the bitstream's. That of HEVC never asks the container,
and VP8, VP9 and AV1 always state a range. Decoders of devices look at the bitstream alone.
"""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING, cast

import av
import av.error

from framemill.actors.packets import MAX_START_PACKETS
from framemill.actors.safe_open import open_media

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

    from framemill.actors.indexing import SourceIndex

_FULL = 2


def is_full_range_coded(path: str, index: SourceIndex) -> bool:
    """Decodes the first picture without the container's tags; False where none can be decoded."""
    with open_media(path) as container:
        stream = cast("VideoStream", container.streams[index.video_stream])
        own = stream.codec_context
        context = cast("VideoCodecContext", av.CodecContext.create(own.name, "r"))
        context.extradata, context.thread_count = own.extradata, 1
        context.options = dict(own.options)  # the limit of pixels among them
        for packet in islice(container.demux(stream), MAX_START_PACKETS):
            with contextlib.suppress(av.error.FFmpegError):
                for frame in context.decode(packet):
                    return int(frame.color_range) == _FULL
    return False
