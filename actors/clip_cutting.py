"""Cuts clips out of one file: copied where that is exact, else decoded once for all of them and encoded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

from framemill.actors.clip_copying import can_copy, can_copy_of, copy_clips
from framemill.actors.clip_encoding import EncodedPicture, fitted_size
from framemill.actors.clip_files import SAME_SECONDS, Clip, ClipRequest, clip_file, locate
from framemill.actors.clip_sound import EncodedSound
from framemill.actors.indexing import AS_PLAYERS, SourceIndex, index_source
from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.stream_choice import Tracks
from framemill.errors import MediaError
from framemill.ops.chunks import NativeAudio

# Sound is rounded to whole frames of AAC, so that a little of what follows may be taken.
_AFTER_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How clips are cut.

    Attributes:
        encoder: a key of `clip_encoding.ENCODERS`.
        size: width and height that pictures are made to fit into; None as they are. They never grow.
        fps: pictures a second; None as they are. Of a lower rate some are left out, of a higher repeated.
        may_copy: whether a clip may be copied; never where `size` or `fps` is given.
        threads: that decode.
    """

    encoder: str
    size: tuple[int, int] | None = None
    fps: int | None = None
    may_copy: bool = True
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a cut gave.

    Attributes:
        problem: why there is no clip; "" where its file is whole.
        start_frame, end_frame, start_seconds, end_seconds: as in `Clip`; zeros where there is none.
        num_frames: that it shows. width, height: of its pictures as shown.
        is_copied: whether its packets are those of the source.
    """

    problem: str = ""
    start_frame: int = 0
    end_frame: int = 0
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    num_frames: int = 0
    width: int = 0
    height: int = 0
    is_copied: bool = False


@dataclass(frozen=True, slots=True)
class CutClip(Cut):
    """What became of a clip; `number` is its place among those asked for."""

    number: int


def cut_clips(
    path: str, requests: Sequence[ClipRequest], settings: CutSettings, tracks: Tracks = AS_PLAYERS
) -> Iterator[CutClip]:
    """Cuts clips, each to the frame, in any order; of one that fails no file is left.

    A file is decoded once at most, however many clips it gives.

    Raises:
        MediaError: the file cannot be opened.
        OSError: a clip cannot be written.
    """
    try:
        yield from _cut_all(path, requests, settings, tracks)
    except av.error.FFmpegError as exc:  # what is met in reading has become a MediaError, or is left out
        raise OSError(exc.errno, f"a clip cannot be written: {exc.strerror}") from exc


def _cut_all(
    path: str, requests: Sequence[ClipRequest], settings: CutSettings, tracks: Tracks
) -> Iterator[CutClip]:
    index = index_source(path, tracks)
    clips: dict[int, Clip] = {}
    for number, asked in enumerate(requests):
        try:
            clips[number] = locate(index, asked)
        except MediaError as exc:
            yield CutClip(number, problem=index.picture_problem or str(exc))
    copied: set[int] = set()
    if settings.may_copy and settings.size is None and settings.fps is None and clips:
        exact = [(number, clip) for number, clip in clips.items() if can_copy(index, clip)]
        if exact and can_copy_of(path, index):
            for number, is_whole in copy_clips(path, index, exact):
                if is_whole:
                    copied.add(number)
                    yield _cut(
                        number, clips[number], index, clips[number].end_frame - clips[number].start_frame
                    )
    rest = {number: clip for number, clip in clips.items() if number not in copied}
    if rest:
        yield from _Encoding(path, index, rest, settings).run()


def _cut(
    number: int, clip: Clip, index: SourceIndex, num_frames: int, size: tuple[int, int] = (0, 0)
) -> CutClip:
    width, height = size if size[0] else (index.display_width, index.display_height)
    return CutClip(
        number,
        start_frame=clip.start_frame,
        end_frame=clip.end_frame,
        start_seconds=clip.start_seconds,
        end_seconds=clip.end_seconds,
        num_frames=num_frames,
        width=width,
        height=height,
        is_copied=not size[0],
    )


@dataclass(slots=True)
class _Making:
    """A clip that is being encoded.

    Attributes:
        shown: frame -> (time, length) of each picture that it gives, in units of the clip's time base.
        first, last: of these frames.
        sounds: what was heard before the first picture came.
    """

    number: int
    clip: Clip
    time_base: Fraction
    shown: dict[int, list[tuple[int, int]]]
    first: int
    last: int
    out: Any = None
    picture: EncodedPicture | None = None
    sound: EncodedSound | None = None
    sounds: list[NativeAudio] = field(default_factory=list)
    num_shown: int = 0
    last_frame: int = -1
    is_shown: bool = False
    is_heard: bool = False
    problem: str = ""


class _Encoding:
    def __init__(self, path: str, index: SourceIndex, clips: dict[int, Clip], settings: CutSettings) -> None:
        self.path, self.index, self.settings = path, index, settings
        made = []
        for number, clip in clips.items():
            time_base, shown = _timed(index, clip, settings.fps)
            made.append(_Making(number, clip, time_base, shown, min(shown), max(shown)))
        self.waiting = deque(sorted(made, key=lambda each: each.clip.start_frame))
        self.open: list[_Making] = []
        self.size = fitted_size(index.display_width, index.display_height, settings.size)
        self.with_sound = index.audio_stream >= 0 and not index.sound_problem

    def run(self) -> Iterator[CutClip]:
        frames = np.unique(np.concatenate([list(each.shown) for each in self.waiting])).astype(np.int64)
        request = ReadRequest(
            frames, np.zeros(0, np.int64), self.with_sound, self.settings.threads,
            sound_rates=(), native_sound=self.with_sound,
        )  # fmt: skip
        try:
            for chunk in read_shard(self.path, self.index, request, ReadReport()):
                if isinstance(chunk, PyavFrames):
                    self._take_pictures(chunk)
                elif isinstance(chunk, NativeAudio):
                    self._take_sound(chunk)
                yield from self._finished()
            for each in self.open:
                each.is_shown = each.is_heard = True
            yield from self._finished()
            for each in self.waiting:
                yield CutClip(each.number, problem="none of its frames can be decoded")
            self.waiting.clear()
        finally:
            for each in self.open:  # an error, or nobody wants the rest
                _abandon(each)

    def _take_pictures(self, chunk: PyavFrames) -> None:
        for frame, decoded in zip(chunk.frame_index.tolist(), chunk.decoded, strict=True):
            while self.waiting and self.waiting[0].clip.start_frame <= frame:
                self.open.append(self.waiting.popleft())
            for each in self.open:
                if each.is_shown:
                    continue
                if frame in each.shown:
                    self._show(each, frame, decoded)
                if frame >= each.last:
                    each.is_shown = True
                    if each.picture is not None:
                        each.picture.finish()

    def _show(self, each: _Making, frame: int, decoded: av.VideoFrame) -> None:
        if each.picture is None:
            if frame != each.first:
                each.problem = "its first frame cannot be decoded"
                each.is_shown = each.is_heard = True
                return
            self._begin(each, decoded)
        assert each.picture is not None
        for pts, duration in each.shown[frame]:
            each.picture.add(decoded, pts, duration)
            each.num_shown += 1
        each.last_frame = frame

    def _begin(self, each: _Making, first: av.VideoFrame) -> None:
        index, clip = self.index, each.clip
        seconds = clip.end_seconds - clip.start_seconds
        rate = Fraction(self.settings.fps or max(1, clip.end_frame - clip.start_frame) / seconds)
        each.out = clip_file(clip.path)
        each.picture = EncodedPicture(
            each.out, self.settings.encoder, self.size, (index.rotation_quarters, index.is_mirrored),
            each.time_base, rate.limit_denominator(1001), first,
        )  # fmt: skip
        if self.with_sound:
            facts = index.description
            each.sound = EncodedSound(
                each.out,
                clip.start_seconds,
                clip.end_seconds,
                facts.sample_rate or 0,
                facts.num_channels or 2,
            )
            for chunk in each.sounds:
                each.sound.add(chunk)
            each.sounds.clear()

    def _take_sound(self, chunk: NativeAudio) -> None:
        start = chunk.start_sample / chunk.sample_rate
        end = start + chunk.samples.shape[1] / chunk.sample_rate
        for each in (*self.open, *self.waiting):
            if each.clip.start_seconds >= end:
                if each in self.waiting:
                    break
                continue
            if each.is_heard:
                continue
            if each.sound is not None:
                each.sound.add(chunk)
            elif not each.is_shown and each.clip.end_seconds + _AFTER_SECONDS > start:
                each.sounds.append(chunk)
            each.is_heard = end >= each.clip.end_seconds + _AFTER_SECONDS

    def _finished(self) -> Iterator[CutClip]:
        for each in [each for each in self.open if each.is_shown]:
            if not each.is_heard and self.with_sound and not each.problem:
                continue
            self.open.remove(each)
            if not each.problem and each.last_frame != each.last:
                each.problem = "its last frame cannot be decoded"
            if each.problem or each.picture is None:
                _abandon(each)
                yield CutClip(each.number, problem=each.problem or "none of its frames can be decoded")
                continue
            if each.sound is not None:
                each.sound.finish()
            each.out.close()
            yield _cut(each.number, each.clip, self.index, each.num_shown, self.size)


def _abandon(each: _Making) -> None:
    if each.out is not None:
        each.out.close()
        os.unlink(each.clip.path)


def _timed(
    index: SourceIndex, clip: Clip, fps: int | None
) -> tuple[Fraction, dict[int, list[tuple[int, int]]]]:
    """The clip's time base, and which frame gives which pictures."""
    if fps is None:
        frames = range(clip.start_frame, clip.end_frame)
        times = zip(clip.pts.tolist(), clip.durations.tolist(), strict=True)
        return index.time_base, {frame: [time] for frame, time in zip(frames, times, strict=True)}
    count = max(1, round((clip.end_seconds - clip.start_seconds) * fps))
    seconds = index.frames.pts_seconds[clip.start_frame : clip.end_frame]
    ticks = clip.start_seconds + np.arange(count) / fps + SAME_SECONDS
    shown: dict[int, list[tuple[int, int]]] = {}
    for number, frame in enumerate(np.searchsorted(seconds, ticks, side="right").tolist()):
        shown.setdefault(clip.start_frame + max(0, frame - 1), []).append((number, 1))
    return Fraction(1, fps), shown
