"""Reads one shard with PyAV: one pass over the file gives frames, signals and sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
from av.stream import Discard

from actors.indexing import SourceIndex
from actors.opening import open_media
from actors.plan import plan_decode
from actors.pyav_frames import PyavFrames, SignalsBatch
from actors.sound import SoundTrack
from ops.chunks import BoolArray, Chunk, Int64Array

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext

# What one batch of frames may hold, and how many signals travel together.
FRAMES_BYTES = 32 << 20
MAX_FRAMES = 64
MAX_SIGNALS = 64

# Fewer packets than this are read over rather than seeked over: a packet costs about 3 us, a seek 100.
SEEK_PACKETS = 64
# Containers whose own index leads to a key frame exactly.
_SEEKABLE = ("mov", "matroska")
# Decoders that leave out pictures nobody refers to, one packet at a time, without touching the others.
_DROPS_UNREFERENCED = ("h264", "hevc")


@dataclass(slots=True)
class ReadRequest:
    """What to read.

    Attributes:
        frames: sorted indices of the frames to deliver as `Frames`.
        signals: sorted indices of the frames to deliver as `Signals`.
        with_sound: whether to deliver the sound.
        threads: decoder threads for the picture, >= 1.
    """

    frames: Int64Array
    signals: Int64Array
    with_sound: bool
    threads: int


@dataclass(slots=True)
class ReadReport:
    """What a reader saw; filled while it runs.

    Attributes:
        num_decoded: frames that came out of the decoder.
        num_missing: frames asked for that did not come.
        num_errors: packets that could not be decoded.
        sound_seconds: length of the sound delivered.
        cut_off: whether the file ended in an error.
    """

    num_decoded: int = 0
    num_missing: int = 0
    num_errors: int = 0
    sound_seconds: float = 0.0
    cut_off: bool = False


def read_shard(path: str, index: SourceIndex, request: ReadRequest, report: ReadReport) -> Iterator[Chunk]:
    """Chunks of one shard, each kind in time order; closing the iterator ends the reading.

    Raises:
        MediaError: the file cannot be opened any more.
    """
    with open_media(path) as container:
        yield from _Reader(container, index, request, report).chunks()


class _Reader:
    def __init__(
        self, container: InputContainer, index: SourceIndex, request: ReadRequest, report: ReadReport
    ) -> None:
        self.container = container
        self.index = index
        self.request = request
        self.report = report
        self.wanted = np.union1d(request.frames, request.signals)
        self.plan = plan_decode(index.packets, self.wanted)
        num_frames = len(index.frames)
        self.is_frame = _mask(num_frames, request.frames)
        self.is_signal = _mask(num_frames, request.signals)
        self.delivered = np.zeros(num_frames, bool)
        self.signals = SignalsBatch(MAX_SIGNALS)
        self.batch: list[tuple[av.VideoFrame, int]] = []
        self.batch_bytes = 0

    def chunks(self) -> Iterator[Chunk]:
        streams: list[Any] = []
        sound: SoundTrack | None = None
        with_picture = len(self.wanted) > 0
        if with_picture:
            picture = self.container.streams[self.index.video_stream]
            picture.thread_type = "AUTO" if self.request.threads > 1 else "SLICE"
            picture.codec_context.thread_count = self.request.threads
            streams.append(picture)
        if self.request.with_sound and self.index.audio_stream >= 0:
            track = self.container.streams[self.index.audio_stream]
            sound = SoundTrack(track, self.index.origin_seconds)
            streams.append(track)
        for stream in self.container.streams:
            if stream not in streams:
                stream.discard = Discard.all
        if not streams:
            return
        if with_picture and sound is None:
            yield from self._picture_alone(streams[0])
        else:
            yield from self._in_one_pass(streams, sound)
        if with_picture:
            yield from self._rest()
        if sound is not None:
            yield from sound.finish()
            self.report.num_errors += sound.num_errors
            self.report.sound_seconds = sound.num_samples / 16000
        self.report.num_missing = int(np.count_nonzero(~self.delivered[self.wanted]))

    def _in_one_pass(self, streams: list[Any], sound: SoundTrack | None) -> Iterator[Chunk]:
        position = 0
        last = self._last_needed()
        context = streams[0].codec_context
        for packet in self._demux(streams):
            if sound is not None and packet.stream_index == self.index.audio_stream:
                yield from sound.feed(packet)
            elif packet.size:
                if position <= last:
                    yield from self._decode(context, packet, position)
                    if position == last:
                        yield from self._drain(context)
                position += 1

    def _picture_alone(self, stream: Any) -> Iterator[Chunk]:
        """Only the picture is wanted, so that stretches nobody needs can be jumped over."""
        context = stream.codec_context
        needed = np.flatnonzero(self.plan.needed)
        can_seek = self.container.format.name.startswith(_SEEKABLE)
        position = 0
        packets = self._demux([stream])
        for target in self._starts(needed):
            if can_seek and target - position >= SEEK_PACKETS:
                yield from self._drain(context)  # seeking empties the decoder
                packets, found = self._seek(stream, target)
                position = target if found else 0
                can_seek = found
            end = self._run_end(target)
            for packet in packets:
                if not packet.size:
                    continue
                if position >= target:
                    yield from self._decode(context, packet, position)
                position += 1
                if position >= end:
                    break
        yield from self._drain(context)

    def _starts(self, needed: Int64Array) -> list[int]:
        """First packets of each stretch that is decoded without a jump."""
        return [int(n) for n in needed[self.plan.restart[needed]]]

    def _run_end(self, start: int) -> int:
        rest = np.flatnonzero(~self.plan.needed[start:])
        end = start + int(rest[0]) if len(rest) else len(self.plan.needed)
        return end

    def _seek(self, stream: Any, target: int) -> tuple[Iterator[Any], bool]:
        """Packets from the key packet `target` on; or from the start of the file, and False."""
        pts = int(self.index.packets.pts[target])
        try:
            self.container.seek(pts, stream=stream, backward=True)
            packets = self._demux([stream])
            for count, packet in enumerate(packets):
                if packet.size and packet.pts == pts and packet.is_keyframe:
                    return _chain(packet, packets), True
                if count > 2 * SEEK_PACKETS:
                    break
        except av.error.FFmpegError:
            pass
        self.container.seek(0)
        return self._demux([stream]), False

    def _demux(self, streams: list[Any]) -> Iterator[Any]:
        try:
            yield from self.container.demux(streams)
        except av.error.FFmpegError:
            self.report.cut_off = True

    def _last_needed(self) -> int:
        needed = np.flatnonzero(self.plan.needed)
        return int(needed[-1]) if len(needed) else -1

    def _decode(self, context: VideoCodecContext, packet: Any, position: int) -> Iterator[Chunk]:
        if position >= len(self.plan.needed) or not self.plan.needed[position]:
            return
        if self.plan.restart[position]:
            yield from self._drain(context)
        if context.name in _DROPS_UNREFERENCED:
            context.skip_frame = "DEFAULT" if self.plan.wanted[position] else "NONREF"
        if packet.pts is None:
            packet.pts = int(self.index.packets.pts[position])
        try:
            frames = context.decode(packet)
        except av.error.FFmpegError:
            self.report.num_errors += 1
            return
        for frame in frames:
            yield from self._deliver(frame)

    def _drain(self, context: VideoCodecContext) -> Iterator[Chunk]:
        """Frames that the decoder still holds; afterwards it can start anew at a key packet."""
        if not context.is_open:
            return
        try:
            frames = context.decode(None)
        except av.error.FFmpegError:
            frames = []
        context.flush_buffers()
        for frame in frames:
            yield from self._deliver(frame)

    def _deliver(self, frame: av.VideoFrame) -> Iterator[Chunk]:
        self.report.num_decoded += 1
        frames = self.index.frames
        pts = frame.pts
        if pts is None:
            return
        i = int(np.searchsorted(frames.pts, pts))
        if i >= len(frames) or frames.pts[i] != pts or self.delivered[i]:
            return
        if self.is_signal[i]:
            self.signals.add(frame, i, float(frames.pts_seconds[i]), bool(frames.is_key[i]))
            self.delivered[i] = True
            if len(self.signals) >= MAX_SIGNALS:
                yield self.signals.take()
        if self.is_frame[i]:
            self.delivered[i] = True
            self.batch.append((frame, i))
            self.batch_bytes += sum(plane.buffer_size for plane in frame.planes)
            if self.batch_bytes >= FRAMES_BYTES or len(self.batch) >= MAX_FRAMES:
                yield self._take_frames()

    def _rest(self) -> Iterator[Chunk]:
        if len(self.signals):
            yield self.signals.take()
        if self.batch:
            yield self._take_frames()

    def _take_frames(self) -> PyavFrames:
        at = np.array([i for _, i in self.batch], np.int64)
        frames = self.index.frames
        chunk = PyavFrames(
            [frame for frame, _ in self.batch],
            at,
            frames.pts_seconds[at],
            frames.is_key[at],
            (self.index.display_width, self.index.display_height),
            self.index.rotation_quarters,
        )
        self.batch = []
        self.batch_bytes = 0
        return chunk


def _mask(length: int, at: Int64Array) -> BoolArray:
    mask = np.zeros(length, bool)
    mask[at] = True
    return mask


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
