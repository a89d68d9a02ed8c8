"""What containers state of the length of their tracks, and what is missing of it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import av.error

from framemill.actors.limits import count_packets, size_of
from framemill.actors.safe_open import open_media
from framemill.actors.subtitles import text_streams
from framemill.actors.timeline import Shift, Timeline
from framemill.ops.chunks import FrameIndex

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Missing more than this much of the promised length makes a file `partial`.
MISSING_SECONDS = 0.5
MISSING_SHARE = 0.05
# Muxers of AVI count a frame that they did not write.
_SPARE_FRAMES = 1


def missing_seconds(
    container: InputContainer, video: VideoStream, frames: FrameIndex, promised: float, path: str
) -> float:
    """Seconds that the container promises beyond the last picture; 0 where that is within tolerance.

    What it states of the picture track counts. Where it states one length for all of them, any may reach it.

    Args:
        frames: at least one. promised: seconds that the container states for the whole file, 0 for none.
        path: the same file, for those whose other tracks must be looked at.
    """
    assert video.time_base is not None
    name = container.format.name
    own = _own_promise(video, name)
    wanted = own or promised
    if not wanted or (name.startswith("mpegts") and not own):
        return 0.0
    start = 0.0 if video.start_time is None else float(video.start_time * video.time_base)
    end = float(frames.pts[-1] * video.time_base) + frames.end_seconds - float(frames.pts_seconds[-1])
    # What Matroska states is where the track ends, not how long it lasts.
    begin = start if own and not name.startswith("matroska") else min(0.0, start)
    missing = wanted - (end - begin)
    if name == "avi" and own:
        return missing if missing > (_SPARE_FRAMES + 0.5) / float(video.average_rate or 25) else 0.0
    if missing <= max(min(MISSING_SECONDS, wanted / 4), MISSING_SHARE * wanted):
        return 0.0
    others = [stream.index for stream in (*container.streams.audio, *container.streams.subtitles)]
    if not own and others:
        missing = min(missing, wanted - last_end(path, others, Timeline()))
        return missing if missing > max(MISSING_SECONDS, MISSING_SHARE * wanted) else 0.0
    return missing


def _own_promise(video: VideoStream, format_name: str) -> float:
    """Seconds that the container states of the picture track itself, else 0."""
    if format_name == "avi" and video.frames and video.average_rate:
        return float(video.frames / video.average_rate)  # FFmpeg cuts the stated length to the file's
    if format_name.startswith("matroska"):
        # FFmpeg gives some tracks the length of the whole file; what muxers write of each is a tag.
        return _tagged_seconds(video.metadata)
    return float(video.duration * video.time_base) if video.duration and video.time_base else 0.0


def promised_frames(video: VideoStream, frames: FrameIndex, num_packets: int, format_name: str) -> int | None:
    """Frames to present by the container's own count of those in the track; None where it states none."""
    if not video.frames or format_name == "ivf":  # there some muxers write the length in ticks
        return None
    return len(frames) + max(0, video.frames - num_packets)


def _tagged_seconds(metadata: Mapping[str, str]) -> float:
    """Seconds of Matroska's tag DURATION (hours:minutes:seconds), 0 where there is none that can be read."""
    for name, value in metadata.items():
        parts = value.split(":")
        if name.upper().startswith("DURATION") and len(parts) == 3:
            with contextlib.suppress(ValueError):
                seconds = 3600 * int(parts[0]) + 60 * int(parts[1]) + float(parts[2])
                return seconds if 0 <= seconds < math.inf else 0.0
    return 0.0


def sound_promise(container: InputContainer, audio: AudioStream, promised: float) -> float:
    """Seconds up to which the sound lasts, for containers that state one length for the whole file.

    A subtitle far behind the end makes that length absurd.
    """
    tagged = _tagged_seconds(audio.metadata)
    if tagged and tagged < promised - 1 and text_streams(container):
        return tagged
    return promised


def stated_sound(container: InputContainer, audio: AudioStream | None) -> float:
    """Length of the sound where the container states it reliably, else 0."""
    if audio is None or audio.duration is None or audio.time_base is None:
        return 0.0
    # Elsewhere (MP3, AAC, transport streams) the length is a guess from the bit rate.
    is_stated = container.format.name.startswith(("mov", "flac", "wav"))
    return float(audio.duration * audio.time_base) if is_stated else 0.0


def last_end(path: str, indices: Sequence[int], timeline: Timeline) -> float:
    """Where the last packet of these streams ends, in seconds of the container's time."""
    end = 0.0
    with open_media(path) as fresh:
        streams = [fresh.streams[i] for i in indices]
        shifts = {stream.index: Shift(timeline, stream) for stream in streams}
        with contextlib.suppress(av.error.FFmpegError):  # what was read until there is what there is
            for packet in count_packets(fresh.demux(streams), size_of(fresh)):
                if not packet.size:
                    continue
                shifts[packet.stream_index].apply(packet)
                if packet.pts is not None and packet.time_base is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return end
