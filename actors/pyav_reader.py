"""Reads one shard with PyAV: one pass over the file gives frames, signals and sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import av.error
import numpy as np
from av.stream import Discard

from framemill.actors.in_order import InOrder
from framemill.actors.indexing import SourceIndex
from framemill.actors.limits import PictureAllowance, SoundAllowance, TextAllowance, count_packets
from framemill.actors.picture_decoder import drops_unreferenced, palette_of, picture_decoder
from framemill.actors.plan import plan_decode
from framemill.actors.pyav_colours import without_empty_alpha
from framemill.actors.pyav_frames import PyavFrames, SignalsBatch
from framemill.actors.range_reader import raise_failure, skip_unneeded
from framemill.actors.safe_open import open_media, rewind
from framemill.actors.sound import SoundTrack
from framemill.actors.sound_tags import UNTIMED
from framemill.actors.subtitles import SubtitleTrack
from framemill.actors.timeline import Shift
from framemill.ops.chunks import BoolArray, Chunk, Int64Array

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.subtitles.stream import SubtitleStream
    from av.video.stream import VideoStream

# What one batch of frames may hold, and how many signals travel together.
FRAMES_BYTES = 16 << 20
MAX_FRAMES = 16
MAX_SIGNALS = 64

# Fewer packets than this are read over rather than seeked over: a packet costs about 3 us, a seek 100.
SEEK_PACKETS = 64
# Containers whose own index leads to a key frame exactly.
SEEKABLE = ("mov", "matroska")


@dataclass(slots=True)
class ReadRequest:
    """What to read.

    Attributes:
        frames: sorted indices of the frames to deliver as `Frames`.
        signals: sorted indices of the frames to deliver as `Signals`.
        with_sound: whether to deliver the sound.
        threads: decoder threads for the picture, >= 1.
        sound_rates: hertz of the mono sound to deliver, each once.
        native_sound: whether to deliver the sound as it was recorded too.
        subtitles: whether to deliver the subtitles that are text.
    """

    frames: Int64Array
    signals: Int64Array
    with_sound: bool
    threads: int
    sound_rates: tuple[int, ...] = (16_000,)
    native_sound: bool = False
    subtitles: bool = False


@dataclass(slots=True)
class ReadReport:
    """What a reader saw; filled while it runs.

    Attributes:
        num_decoded: frames that came out of the decoder.
        num_missing: frames asked for that did not come.
        num_leading: those before the first key frame that were not decoded: they may lean on what is cut off.
        num_damaged: packets and frames besides those, from the first key on, that the decoder called damaged.
        num_errors: packets that could not be decoded.
        num_text_lost: subtitles that could not be decoded, or not whole.
        num_sound_lost: packets of sound that were lost between others, or all where none could be decoded.
        sound_seconds: length of the sound delivered.
        sound_end_seconds: where the sound delivered ends on the timeline of the file; None before its end.
        sample_rate, num_channels: of the first sound decoded, 0 without.
        cut_off: whether the file ended in an error.
        decoder: who decoded the frames, and why where it was not the device; empty for PyAV as ever.
    """

    num_decoded: int = 0
    num_missing: int = 0
    num_leading: int = 0
    num_damaged: int = 0
    num_errors: int = 0
    num_text_lost: int = 0
    num_sound_lost: int = 0
    sound_seconds: float = 0.0
    sound_end_seconds: float | None = None
    sample_rate: int = 0
    num_channels: int = 0
    cut_off: bool = False
    decoder: str = ""


def read_shard(
    path: str,
    index: SourceIndex,
    request: ReadRequest,
    report: ReadReport,
    container: InputContainer | None = None,
) -> Iterator[Chunk]:
    """Chunks of one shard, each kind in time order; closing the iterator ends the reading.

    Args:
        container: what `index_and_keep` left open, to be closed here; only for pictures, on one thread.

    Raises:
        MediaError: the file cannot be opened any more.
    """
    if container is not None:
        with container:
            yield from _Reader(container, path, index, request, report).chunks()
        return
    # A decoder must know how far pictures are reordered, which in some files is known only after looking
    # ahead. Where none are, the tables of an MP4 hold everything else: looking ahead can be left out.
    is_stated = (index.description.container or "").startswith("mov")
    in_order = bool(np.all(np.diff(index.packets.pts) > 0))
    with open_media(path, look_ahead=not (is_stated and in_order)) as container:
        yield from _Reader(container, path, index, request, report).chunks()


class _Reader:
    def __init__(
        self,
        container: InputContainer,
        path: str,
        index: SourceIndex,
        request: ReadRequest,
        report: ReadReport,
    ) -> None:
        self.container, self.path, self.index = container, path, index
        self.request, self.report = request, report
        self.allowance = PictureAllowance(index.description.num_bytes)
        self.wanted = np.union1d(request.frames, request.signals)
        self.plan = plan_decode(index.packets, self.wanted)
        num_frames = len(index.frames)
        self.is_frame, self.is_signal = (_mask(num_frames, w) for w in (request.frames, request.signals))
        self.decoded, self.delivered = np.zeros((2, num_frames), bool)
        self.damaged: set[int] = set()
        self.order = InOrder(self.wanted)
        first_keys = np.flatnonzero(index.packets.is_key)
        self.first_key = int(first_keys[0]) if len(first_keys) else 0
        self.counts_corrupt = index.description.container != "mpegts"  # there a join makes the mark
        self.signals = SignalsBatch(MAX_SIGNALS)
        self.batch: list[tuple[av.VideoFrame, int]] = []
        self.batch_bytes = 0
        self.ready: list[Chunk] = []

    def chunks(self) -> Iterator[Chunk]:
        picture: VideoStream | None = None
        track: AudioStream | None = None
        if len(self.wanted):
            picture = cast("VideoStream", self.container.streams[self.index.video_stream])
            self._set_up(picture)
        if self.request.with_sound and self.index.audio_stream >= 0:
            track = cast("AudioStream", self.container.streams[self.index.audio_stream])
        texts = [
            cast("SubtitleStream", self.container.streams[i])
            for i in (self.index.text_streams if self.request.subtitles else ())
        ]
        wanted = {stream.index for stream in (picture, track, *texts) if stream is not None}
        for stream in self.container.streams:
            if stream.index not in wanted:
                stream.discard = Discard.all
        if picture is not None:
            skip_unneeded(self.container, picture, self.plan.needed, [s for s in (track, *texts) if s])
        if track is not None or texts:
            yield from self._in_one_pass(picture, track, texts)
        elif picture is not None:
            yield from self._picture_alone(picture)
        if len(self.signals):
            yield self.signals.take(self.index.frames)
        if self.batch:
            yield self._take_frames()
        missing = self.wanted[~self.delivered[self.wanted]]
        self.report.num_missing = len(missing)
        is_leading = (missing < self._first_key_frame()) & ~self.decoded[missing]
        self.report.num_leading = int(np.count_nonzero(is_leading))
        lost = set(missing[~is_leading].tolist())
        self.report.num_damaged = sum(int(self.index.packets.frame[at]) not in lost for at in self.damaged)

    def _first_key_frame(self) -> int:
        """The first frame shown from which on all can be decoded; 0 where no key frame is shown."""
        keys = np.flatnonzero(self.index.frames.is_key)
        return int(keys[0]) if len(keys) else 0

    def _set_up(self, picture: VideoStream) -> None:
        context = picture_decoder(picture)
        self.context = context
        self.palette = palette_of(self.path, picture, self.container.format.name)
        self.drops_unreferenced = drops_unreferenced(context.name, context.extradata)
        threads = self.request.threads
        if np.array_equal(self.plan.needed, self.plan.restart):
            # Where the decoder is emptied after each packet, further threads would only wait.
            threads = 1
        elif self.drops_unreferenced and 2 * self.plan.wanted.sum() < self.plan.needed.sum():
            # What is left to decode are frames that wait for each other: a core does more for who computes.
            # Measured on 2 cores, four operations on 60 of 1500 frames: one thread 2.9 s, two 3.4 s.
            threads = max(1, threads - 1)
        if not context.is_open:  # else it decoded the first frame for the index
            context.thread_type = "AUTO" if threads > 1 else "SLICE"
            context.thread_count = threads

    def _in_one_pass(
        self, picture: VideoStream | None, track: AudioStream | None, texts: list[SubtitleStream]
    ) -> Iterator[Chunk]:
        request, origin = self.request, self.index.origin_seconds
        sound = None
        if track is not None:
            timed = self.container.format.name not in UNTIMED
            sound = SoundTrack(track, origin, request.sound_rates, request.native_sound, timed)
        allowance = SoundAllowance(self.index.description.num_bytes)
        words = TextAllowance()
        subtitles = {text.index: SubtitleTrack(text, origin) for text in texts}
        shifts = {s.index: Shift(self.index.timeline, s) for s in (track, *texts) if s is not None}
        streams = [stream for stream in (picture, track, *texts) if stream is not None]
        last = int(np.flatnonzero(self.plan.needed)[-1]) if picture is not None else -1
        position = 0
        for packet in self._demux(streams):
            if packet.stream_index in shifts:
                shifts[packet.stream_index].apply(packet)
            if sound is not None and packet.stream_index == self.index.audio_stream:
                yield from allowance.check(sound.feed(packet))
            elif packet.stream_index in subtitles:
                words.spend(packet.size)
                cues = subtitles[packet.stream_index].feed(packet)
                if cues is not None:
                    yield cues
            elif packet.size:
                if position <= last:
                    self._decode(packet, position)
                    if position == last:
                        self._drain()
                    if self.ready:
                        yield from self._take_ready()
                position += 1
        if picture is not None:
            self._drain()  # a file that is cut off never came to its last packet
            yield from self._take_ready()
        if sound is not None:
            yield from allowance.check(sound.finish())
            self.report.num_errors += sound.num_errors
            self.report.num_sound_lost = sound.num_lost if sound.seconds else sound.num_errors
            self.report.sound_seconds = sound.seconds
            self.report.sound_end_seconds = sound.end_seconds
            self.report.sample_rate, self.report.num_channels = sound.described
        self.report.num_text_lost = sum(text.num_errors for text in subtitles.values())
        self.report.num_errors += self.report.num_text_lost

    def _picture_alone(self, picture: VideoStream) -> Iterator[Chunk]:
        """Only the picture is wanted, so that stretches nobody needs can be jumped over."""
        can_seek = self.container.format.name.startswith(SEEKABLE) and not self.index.timeline.offsets
        position = 0
        packets = self._demux([picture])
        for start, end in zip(*_runs(self.plan.needed), strict=True):
            if can_seek and start - position >= SEEK_PACKETS:
                self._drain()  # seeking empties the decoder
                packets, can_seek = self._seek(picture, start)
                position = start if can_seek else 0
            for packet in packets:
                if not packet.size:
                    continue
                if position >= start:
                    self._decode(packet, position)
                    if self.ready:
                        yield from self._take_ready()
                position += 1
                if position >= end:
                    break
        self._drain()
        yield from self._take_ready()

    def _seek(self, picture: VideoStream, target: int) -> tuple[Iterator[Any], bool]:
        """Packets from the key packet `target` on; or from the start of the file, and False."""
        pts = int(self.index.packets.pts[target])
        try:
            self.container.seek(pts, stream=picture, backward=True)
            packets = self._demux([picture])
            for count, packet in enumerate(packets):
                if packet.size and packet.pts == pts and packet.is_keyframe:
                    return chain([packet], packets), True
                if count > 2 * SEEK_PACKETS:
                    break
        except av.error.FFmpegError:
            pass
        rewind(self.container)
        return self._demux([picture]), False

    def _demux(self, streams: list[Any]) -> Iterator[Any]:
        try:
            yield from count_packets(self.container.demux(streams), self.index.description.num_bytes)
        except av.error.FFmpegError:
            self.report.cut_off = True
        raise_failure(self.container)

    def _decode(self, packet: Any, position: int) -> None:
        plan, context = self.plan, self.context
        if position >= len(plan.needed) or not plan.needed[position]:
            return
        if plan.restart[position]:
            self._drain()
        if self.drops_unreferenced:
            context.skip_frame = "DEFAULT" if plan.wanted[position] else "NONREF"
        # Its place in the file is what a picture is known by: times may be absent, twice there or untrue.
        packet.pts = position
        if self.palette is not None and not packet.has_sidedata("palette"):
            packet.set_sidedata(self.palette)
        is_damaged = packet.is_corrupt and self.counts_corrupt
        try:
            frames = context.decode(packet)
        except av.error.FFmpegError:
            self.report.num_errors += 1
            is_damaged, frames = position >= self.first_key, []
        if is_damaged:
            self.damaged.add(position)
        for frame in frames:
            self._deliver(frame)

    def _drain(self) -> None:
        """Takes the frames that the decoder still holds; afterwards it can start anew at a key packet."""
        if not self.context.is_open:
            return
        try:
            frames = self.context.decode(None)
        except av.error.FFmpegError:
            frames = []
        self.context.flush_buffers()
        for frame in frames:
            self._deliver(frame)
        self._take(self.order.flush())

    def _deliver(self, frame: av.VideoFrame) -> None:
        self.report.num_decoded += 1
        self.allowance.spend(frame.width, frame.height)
        packets = self.index.packets
        if frame.pts is None or not 0 <= frame.pts < len(packets.frame):
            return
        i = int(packets.frame[frame.pts])
        if i < 0:
            return
        self.decoded[i] = True  # perhaps too late to be put in order, which makes it lost
        if frame.is_corrupt and frame.pts >= self.first_key:
            self.damaged.add(frame.pts)
        if i in self.order:
            self._take(self.order.put(i, frame))

    def _take(self, pictures: Iterator[tuple[int, av.VideoFrame]]) -> None:
        for i, picture in pictures:
            self.delivered[i] = True
            frame = without_empty_alpha(picture, self.context.name)
            if self.is_signal[i]:
                self.signals.add(frame, i)
                if len(self.signals) >= MAX_SIGNALS:
                    self.ready.append(self.signals.take(self.index.frames))
            if self.is_frame[i]:
                self.batch.append((frame, i))
                # Views are as large as what is shown, which pixels that are not square may stretch.
                shown_bytes = self.index.display_width * self.index.display_height * 3 // 2
                self.batch_bytes += max(shown_bytes, sum(plane.buffer_size for plane in frame.planes))
                if self.batch_bytes >= FRAMES_BYTES or len(self.batch) >= MAX_FRAMES:
                    self.ready.append(self._take_frames())

    def _take_ready(self) -> Iterator[Chunk]:
        ready, self.ready = self.ready, []
        return iter(ready)

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
            self.index.is_mirrored,
        )
        self.batch, self.batch_bytes = [], 0
        return chunk


def _mask(length: int, at: Int64Array) -> BoolArray:
    mask = np.zeros(length, bool)
    mask[at] = True
    return mask


def _runs(needed: BoolArray) -> tuple[list[int], list[int]]:
    """Starts and ends of the stretches that are decoded without a gap."""
    edges = np.flatnonzero(np.diff(needed, prepend=False, append=False))
    return edges[::2].tolist(), edges[1::2].tolist()
