"""Clips that are copied: packets as they are, where these give the planned pictures and no others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np
from av.stream import Discard

from framemill.actors.clip_files import Clip, clip_file
from framemill.actors.h264_fields import FieldPairs
from framemill.actors.indexing import SourceIndex
from framemill.actors.limits import count_packets
from framemill.actors.packets import slice_kinds
from framemill.actors.picture_decoder import picture_decoder
from framemill.actors.range_reader import raise_failure
from framemill.actors.safe_open import open_media
from framemill.ops.chunks import Int64Array

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.video.stream import VideoStream

# Those that state times of their own.
_CONTAINERS = ("mov", "matroska", "mpegts", "flv")
# What an MP4 holds and players read there.
_PICTURES = ("h264", "hevc", "vp9", "av1")
# Sound, and how many packets before the first a decoder needs to find its way: transforms overlap, and Opus
# asks for 80 ms (RFC 7845, 4.6).
_SOUNDS = {"aac": 1, "mp3": 1, "ac3": 1, "eac3": 1, "opus": 4}
# Packets are taken or left whole, so that sound may end half of one from the picture; so much may it lack.
MAX_PACKET_SECONDS = 0.04
LACKING_SECONDS = 0.02
# Muxers put sound and picture of one time next to each other; what comes later than this comes never.
_APART_SECONDS = 10.0
_IDR_SLICE = 5


def can_copy_of(path: str, index: SourceIndex) -> bool:
    """Whether clips of a file may be copied at all: an MP4 holds its picture and sound, in square pixels."""
    with open_media(path) as container:
        if not container.format.name.startswith(_CONTAINERS) or index.timeline.offsets:
            return False
        picture = cast("VideoStream", container.streams[index.video_stream])
        context = picture.codec_context
        name = context.codec.canonical_name
        aspect = picture.sample_aspect_ratio or context.sample_aspect_ratio
        if name not in _PICTURES or (aspect and aspect != 1):
            return False
        if picture_decoder(picture) is not context:  # alpha lies beside the packets
            return False
        if name == "h264" and FieldPairs(context.extradata).may_have_fields:
            return False
        return index.audio_stream < 0 or bool(_packet_seconds(container.streams[index.audio_stream]))


def can_copy(index: SourceIndex, clip: Clip) -> bool:
    """Whether the packets of a clip, taken by themselves, are its pictures, as far as the index tells.

    They are where the first is a key packet and the others follow it in the file without one of another
    picture between them: packets lean on earlier ones alone. So no picture of the clip leans on one behind
    it, and none that is shown before the first, of an open group, comes behind that.
    """
    frames, packets = index.frames, index.packets
    own = np.flatnonzero((packets.frame >= clip.start_frame) & (packets.frame < clip.end_frame))
    behind = packets.frame[own[-1] + 1 : own[-1] + 1 + len(own)]
    return bool(
        packets.frame[own[0]] == clip.start_frame
        and packets.is_key[own[0]]
        and own[-1] - own[0] + 1 == len(own) == clip.end_frame - clip.start_frame
        and np.all(behind >= clip.end_frame)
        and np.array_equal(
            frames.pts[clip.start_frame : clip.end_frame], frames.pts[clip.start_frame] + clip.pts
        )
    )


def _packet_seconds(sound: Any) -> float:
    """Length of a packet of sound that is copied; 0 where it is not."""
    context = cast("AudioStream", sound).codec_context
    if context is None or context.codec.canonical_name not in _SOUNDS or not context.sample_rate:
        return 0.0
    seconds = float((context.frame_size or 0) / context.sample_rate)
    return seconds if seconds <= MAX_PACKET_SECONDS else 0.0


@dataclass(slots=True)
class _Copy:
    """A clip at work.

    Attributes:
        place: of the clip among those asked for. first, last: numbers of its packets, both included.
        pts, dts: int64 [n], of its packets.
        sound_offset: time of its first picture, in units of the sound's time base.
        sound_start, sound_end: what of its time has been heard, since the start of the presentation.
    """

    place: int
    clip: Clip
    first: int
    last: int
    pts: Int64Array
    dts: Int64Array
    out: Any = None
    picture: Any = None
    sound: Any = None
    refused: bool = False
    is_shown: bool = False
    sound_offset: int = 0
    sound_start: float = np.inf
    sound_end: float = -np.inf

    @property
    def is_heard(self) -> bool:
        return (
            self.sound_start <= self.clip.start_seconds + LACKING_SECONDS
            and self.sound_end >= self.clip.end_seconds - LACKING_SECONDS
        )


def copy_clips(
    path: str, index: SourceIndex, clips: Sequence[tuple[int, Clip]]
) -> Iterator[tuple[int, bool]]:
    """Copies clips for which `can_copy`, in one pass over the packets of a file.

    Args:
        clips: each with a number of its own.

    Yields:
        The number of each, and whether it was copied: not where its packets turn out not to stand alone, or
        its sound is not there from its first picture to its last. Then nothing of use is in its file.

    Raises:
        MediaError: the file cannot be opened any more.
    """
    with open_media(path) as container:
        picture = cast("VideoStream", container.streams[index.video_stream])
        sound = container.streams[index.audio_stream] if index.audio_stream >= 0 else None
        wanted = [stream for stream in (picture, sound) if stream is not None]
        for stream in container.streams:
            if stream not in wanted:
                stream.discard = Discard.all
        copying = _Copying(index, picture, sound, [_prepared(index, *each) for each in clips])
        try:
            yield from copying.run(count_packets(container.demux(wanted), index.description.num_bytes))
        except av.error.FFmpegError:
            pass  # broken from here on: what is not whole is not copied
        finally:
            copying.close()
        raise_failure(container)
        yield from copying.rest()


def _prepared(index: SourceIndex, place: int, clip: Clip) -> _Copy:
    own = np.flatnonzero((index.packets.frame >= clip.start_frame) & (index.packets.frame < clip.end_frame))
    pts = clip.pts[index.packets.frame[own] - clip.start_frame]
    rising = np.sort(pts)
    # As late as each may be decoded so that none is decoded after it is shown.
    return _Copy(place, clip, int(own[0]), int(own[-1]), pts, rising - np.max(rising - pts))


class _Copying:
    def __init__(self, index: SourceIndex, picture: VideoStream, sound: Any, copies: list[_Copy]) -> None:
        self.index, self.picture, self.sound = index, picture, sound
        self.waiting = deque(sorted(copies, key=lambda copy: copy.clip.start_seconds))
        self.open: list[_Copy] = []
        self.is_h264 = picture.codec_context.codec.canonical_name == "h264"
        self.packet_seconds = _packet_seconds(sound) if sound is not None else 0.0
        self.before_seconds = 0.0
        # Asked for once: PyAV makes a fraction each time, which took a fifth of the time of copying.
        self.sound_base: Any = sound.time_base if sound is not None else None
        self.sound_unit = float(self.sound_base or 0)
        if sound is not None:
            self.before_seconds = self.packet_seconds * _SOUNDS[sound.codec_context.codec.canonical_name]
        self.seen_seconds = self.heard_seconds = -np.inf

    def run(self, packets: Iterator[Any]) -> Iterator[tuple[int, bool]]:
        position = 0
        for packet in packets:
            if not packet.size:
                continue
            if packet.stream_index == self.picture.index:
                self._take_picture(packet, position)
                position += 1
            elif packet.pts is not None:
                self._take_sound(packet)
            yield from self._finished(is_end=False)
        yield from self._finished(is_end=True)

    def rest(self) -> Iterator[tuple[int, bool]]:
        """Those before whose end the file ended."""
        for copy in (*self.open, *self.waiting):
            yield copy.place, False

    def close(self) -> None:
        for copy in self.open:
            _close(copy)

    def _take_picture(self, packet: Any, position: int) -> None:
        frame = int(self.index.packets.frame[position]) if position < len(self.index.packets.frame) else -1
        if frame < 0:
            return
        self.seen_seconds = max(self.seen_seconds, float(self.index.frames.pts_seconds[frame]))
        self._activate(self.seen_seconds)
        for copy in self.open:
            if copy.refused or not copy.first <= position <= copy.last:
                continue
            at = position - copy.first
            if packet.is_corrupt or (at == 0 and self.is_h264 and _IDR_SLICE not in slice_kinds(packet)):
                copy.refused = True
                continue
            self._begin(copy)
            made = _copied(packet, copy.picture, self.index.time_base)
            made.pts, made.dts = int(copy.pts[at]), int(copy.dts[at])
            made.duration = int(copy.clip.durations[frame - copy.clip.start_frame])
            made.is_keyframe = bool(self.index.packets.is_key[position])
            copy.out.mux(made)
            copy.is_shown = position == copy.last

    def _take_sound(self, packet: Any) -> None:
        length = self.packet_seconds
        start = packet.pts * self.sound_unit - self.index.origin_seconds
        self.heard_seconds = max(self.heard_seconds, start)
        self._activate(start + length + self.before_seconds)
        for copy in self.open:
            clip = copy.clip
            is_inside = start + length / 2 < clip.end_seconds
            if copy.refused or not is_inside or start + length <= clip.start_seconds - self.before_seconds:
                continue
            self._begin(copy)
            made = _copied(packet, copy.sound, self.sound_base)
            made.pts = made.dts = packet.pts - copy.sound_offset
            made.duration = packet.duration
            copy.out.mux(made)
            copy.sound_start = min(copy.sound_start, start)
            copy.sound_end = max(copy.sound_end, start + length)

    def _activate(self, seconds: float) -> None:
        while self.waiting and self.waiting[0].clip.start_seconds <= seconds:
            self.open.append(self.waiting.popleft())

    def _begin(self, copy: _Copy) -> None:
        if copy.out is None:
            copy.out = clip_file(copy.clip.path)
            copy.picture = copy.out.add_stream_from_template(self.picture, opaque=True)
            copy.picture.time_base = self.index.time_base
            if self.sound is not None:
                copy.sound = copy.out.add_stream_from_template(self.sound, opaque=True)
                origin = copy.clip.start_seconds + self.index.origin_seconds
                copy.sound_offset = round(origin / self.sound_base)

    def _finished(self, is_end: bool) -> Iterator[tuple[int, bool]]:
        for copy in [copy for copy in self.open if copy.refused or copy.is_shown]:
            is_over = is_end or self.sound is None or self.heard_seconds >= copy.clip.end_seconds
            is_over |= self.seen_seconds >= copy.clip.end_seconds + _APART_SECONDS
            if copy.refused or is_over:
                self.open.remove(copy)
                _close(copy)
                yield copy.place, not copy.refused and (self.sound is None or copy.is_heard)


def _copied(packet: Any, stream: Any, time_base: Any) -> Any:
    made: Any = av.Packet(bytes(packet))
    made.stream, made.time_base = stream, time_base
    return made


def _close(copy: _Copy) -> None:
    if copy.out is not None:
        copy.out.close()
