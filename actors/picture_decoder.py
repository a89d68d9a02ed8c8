"""Which decoder reads a picture track."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import av

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

# FFmpeg's own decoders of VP8 and VP9 leave out the alpha channel that WebM keeps beside the pictures
# (BlockAdditional, announced by AlphaMode); libvpx' read it.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_TAGS = ("color_range", "colorspace", "color_primaries", "color_trc")


def picture_decoder(stream: VideoStream) -> VideoCodecContext:
    """The track's own decoder; where alpha is kept beside the pictures, a new one that reads it."""
    own = stream.codec_context
    # A tag of the same name, in capitals, replaces what the header says.
    has_alpha = any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())
    name = _WITH_ALPHA.get(own.name) if has_alpha else None
    if name is None:
        return own
    context = cast("VideoCodecContext", av.CodecContext.create(name, "r"))
    for tag in _TAGS:
        setattr(context, tag, getattr(own, tag))
    context.thread_count = 1
    context.options = dict(own.options)  # the limit of pixels among them
    return context
