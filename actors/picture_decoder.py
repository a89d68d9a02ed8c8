"""Which decoder reads a picture track."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import av

from framemill.actors.safe_open import open_media

if TYPE_CHECKING:
    from av.packet import PacketSideData
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


def palette_of(path: str, stream: VideoStream, container_name: str) -> PacketSideData | None:
    """The palette of a track of palette colours in a MOV; None for others.

    The demuxer gives it once, beside the first packet it ever reads, and not again after seeking.
    """
    if stream.codec_context.pix_fmt != "pal8" or not container_name.startswith("mov"):
        return None
    with open_media(path) as fresh:
        for packet in fresh.demux(fresh.streams[stream.index]):
            return packet.get_sidedata("palette") if packet.has_sidedata("palette") else None
    return None


def drops_unreferenced(codec: str, extradata: bytes | None) -> bool:
    """Whether the decoder may leave out pictures nobody refers to, without touching any other.

    In HEVC a picture marked so may still serve those of higher temporal layers, so that there must be
    one layer: numTemporalLayers of HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1).
    """
    if codec == "hevc":
        return (
            extradata is not None
            and len(extradata) > 21
            and extradata[0] == 1
            and extradata[21] >> 3 & 7 == 1
        )
    return codec == "h264"
