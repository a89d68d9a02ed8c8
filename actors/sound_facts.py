"""Rate and channels of a sound track, also where they are known only once it is decoded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import av
import av.error
from av.stream import Discard

from framemill.actors.safe_open import open_media

if TYPE_CHECKING:
    from av.audio.stream import AudioStream


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """Of a sound track.

    Attributes:
        sample_rate: hertz. num_channels: >= 1. Both are None where nothing of it can be decoded.
    """

    sample_rate: int | None
    num_channels: int | None


def sound_facts(track: AudioStream, path: str) -> SoundFacts:
    """What the container states; else, where the sound begins after what is looked at when a file is opened
    (in transport streams), what its first frame has.

    Args:
        path: the same file, read on until that frame where it must be.
    """
    if track.rate and track.channels:
        return SoundFacts(track.rate, track.channels)
    with open_media(path) as container, contextlib.suppress(av.error.FFmpegError):
        for other in container.streams:
            if other.index != track.index:
                other.discard = Discard.all
        stream = cast("AudioStream", container.streams[track.index])
        for packet in container.demux(stream):
            with contextlib.suppress(av.error.FFmpegError):  # a decoder may have to find its way into a track
                for frame in stream.codec_context.decode(packet):
                    return SoundFacts(frame.sample_rate, frame.layout.nb_channels)
    return SoundFacts(None, None)
