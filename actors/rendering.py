"""Rendering clips of files, one after another and with music under them, to an MP4 that plays everywhere.

H.264 with 4:2:0 in BT.709 and AAC, the index at the start of the file. Pictures of other shapes are fitted
into the frame with black bars.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from framemill.actors.indexing import AS_PLAYERS, SourceIndex, index_source
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.safe_open import open_media
from framemill.actors.stream_choice import Tracks
from framemill.errors import CorruptError, MediaError, UnsupportedError, UsageError
from framemill.ops.chunks import Frames, UInt8Array

if TYPE_CHECKING:
    from av.container import OutputContainer

SOUND_RATE = 48_000
SOUND_BIT_RATE = 192_000
SOUND_FRAME = 1024  # samples in one frame of AAC
FADE_OUT_SECONDS = 1.0
# Constant quality: 18 is taken to be indistinguishable, 23 is x264's default.
QUALITY = 20
KEY_SECONDS = 2
# Colour tags of BT.709 (ITU-T H.273).
_BT709 = 1


@dataclass(frozen=True, slots=True)
class RenderClip:
    """What to show.

    Attributes:
        path: the file. start_seconds: where it starts, from the start of the file's presentation.
        num_frames: how long, in frames of the rendered picture.
        tracks: which picture track of the file.
    """

    path: str
    start_seconds: float
    num_frames: int
    tracks: Tracks = AS_PLAYERS


def render(
    clips: Sequence[RenderClip],
    target: str,
    *,
    fps: int,
    width: int,
    height: int,
    music: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes the film; `target` appears when it is whole.

    Args:
        fps: frames a second. width, height: even, in pixels.
        music: a file whose sound is played from its start, faded out at the end; silence without one.
        progress: called with frames done and in all.

    Raises:
        UsageError: the target cannot be written.
        MediaError: a file cannot be decoded; the message names it.
    """
    total = sum(clip.num_frames for clip in clips)
    hidden = os.path.join(
        os.path.dirname(os.path.abspath(target)), f".{os.path.basename(target)}.{os.getpid()}.tmp"
    )
    try:
        with av.open("file:" + hidden, "w", format="mp4", options={"movflags": "+faststart"}) as out:
            _Film(out, fps, width, height, bool(music)).write(clips, total, music, progress)
        os.replace(hidden, target)
    except (av.error.FFmpegError, OSError) as exc:  # what readers meet has become a MediaError
        raise UsageError(f"{target} cannot be written: {exc}") from exc
    finally:
        if os.path.exists(hidden):
            os.unlink(hidden)


class _Film:
    def __init__(self, out: OutputContainer, fps: int, width: int, height: int, with_sound: bool) -> None:
        self.out, self.fps, self.size = out, fps, (width, height)
        options = {"preset": "medium", "crf": str(QUALITY), "profile": "high"}
        picture: Any = out.add_stream("libx264", rate=fps, options=options)
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        picture.time_base = Fraction(1, fps)
        context = picture.codec_context
        context.gop_size = KEY_SECONDS * fps
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_trc = context.color_primaries = _BT709
        self.picture = picture
        self.scaler = VideoReformatter()
        self.sound: Any = None
        if with_sound:
            self.sound = out.add_stream("aac", rate=SOUND_RATE, layout="stereo")
            self.sound.bit_rate = SOUND_BIT_RATE

    def write(
        self,
        clips: Sequence[RenderClip],
        total: int,
        music: str,
        progress: Callable[[int, int], None],
    ) -> None:
        sound = self._sound(music, total / self.fps) if music else iter(())
        num_samples = 0
        for done, pixels in enumerate(_pictures(clips, self.fps, self.size), 1):
            self._encode(pixels, done - 1)
            # Side by side, so that players need not jump between the two.
            while self.sound is not None and num_samples * self.fps < done * SOUND_RATE:
                frame = next(sound, None)
                if frame is None:
                    break
                frame.pts = num_samples
                num_samples += frame.samples
                self.out.mux(self.sound.encode(frame))
            progress(done, total)
        self.out.mux(self.picture.encode(None))
        if self.sound is not None:
            for frame in sound:
                frame.pts = num_samples
                num_samples += frame.samples
                self.out.mux(self.sound.encode(frame))
            self.out.mux(self.sound.encode(None))

    def _encode(self, pixels: UInt8Array, at: int) -> None:
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        shown = self.scaler.reformat(
            frame, format="yuv420p", threads=1,
            src_colorspace=Colorspace.ITU709, dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG,
        )  # fmt: skip
        shown.colorspace, shown.color_range = Colorspace.ITU709, ColorRange.MPEG
        shown.pts, shown.time_base = at, Fraction(1, self.fps)
        self.out.mux(self.picture.encode(shown))

    def _sound(self, path: str, seconds: float) -> Iterator[av.AudioFrame]:
        """The music in frames of the encoder's size, exactly as long as the picture."""
        wanted = round(seconds * SOUND_RATE)
        fade = min(wanted, round(FADE_OUT_SECONDS * SOUND_RATE))
        made = 0
        held = np.zeros((2, 0), np.float32)
        for samples in _decode_sound(path):
            held = np.concatenate([held, samples[:, : max(0, wanted - made - held.shape[1])]], axis=1)
            while held.shape[1] >= SOUND_FRAME:
                yield _sound_frame(held[:, :SOUND_FRAME], made, wanted, fade)
                made, held = made + SOUND_FRAME, held[:, SOUND_FRAME:]
            if made + held.shape[1] >= wanted:
                break
        while made < wanted:  # what is left, and silence where the music ends early
            length = min(SOUND_FRAME, wanted - made)
            block = np.zeros((2, length), np.float32)
            rest = held[:, :length]
            block[:, : rest.shape[1]] = rest
            held = held[:, length:]
            yield _sound_frame(block, made, wanted, fade)
            made += length


def _sound_frame(samples: np.ndarray[Any, Any], at: int, wanted: int, fade: int) -> av.AudioFrame:
    left = wanted - at - np.arange(samples.shape[1])
    gain = np.clip(left / max(fade, 1), 0, 1).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples * gain), format="fltp", layout="stereo")
    frame.sample_rate, frame.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
    return frame


def _decode_sound(path: str) -> Iterator[np.ndarray[Any, Any]]:
    """A file's first sound track as float32 [2, n] at `SOUND_RATE`, damaged packets left out."""
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE)
    with open_media(path) as container:
        if not container.streams.audio:
            raise UnsupportedError(f"the music {path} has no sound track")
        track = container.streams.audio[0]
        try:
            for packet in container.demux(track):
                try:
                    frames: Any = packet.decode()
                except av.error.FFmpegError:
                    continue
                for frame in frames:
                    frame.pts = None
                    for part in resampler.resample(frame):
                        yield np.nan_to_num(part.to_ndarray(), posinf=0.0, neginf=0.0)
        except av.error.FFmpegError:
            pass  # cut off: silence follows
        for part in resampler.resample(None):
            yield np.nan_to_num(part.to_ndarray(), posinf=0.0, neginf=0.0)


def _pictures(clips: Sequence[RenderClip], fps: int, size: tuple[int, int]) -> Iterator[UInt8Array]:
    """Every picture of the film, uint8 [height, width, 3]."""
    indices: dict[str, SourceIndex] = {}
    for clip in clips:
        try:
            if clip.path not in indices:
                indices[clip.path] = index_source(clip.path, clip.tracks)
            yield from _clip_pictures(clip, indices[clip.path], fps, size)
        except MediaError as exc:
            raise type(exc)(f"{clip.path}: {exc}") from exc


def _clip_pictures(
    clip: RenderClip, index: SourceIndex, fps: int, size: tuple[int, int]
) -> Iterator[UInt8Array]:
    times = clip.start_seconds + np.arange(clip.num_frames) / fps
    seconds = index.frames.pts_seconds
    if not len(seconds):
        raise UnsupportedError(index.picture_problem or "no picture in the file")
    # Each moment shows the last frame at or before it; a hair later, since containers round times.
    wanted = np.maximum(np.searchsorted(seconds, times + 1e-3, side="right") - 1, 0)
    frames, repeats = np.unique(wanted, return_counts=True)
    counts = dict(zip(frames.tolist(), repeats.tolist(), strict=True))
    request = ReadRequest(frames.astype(np.int64), np.zeros(0, np.int64), with_sound=False, threads=1)
    shown = 0
    last: UInt8Array | None = None
    missed = 0
    reached = -1
    for chunk in read_shard(clip.path, index, request, ReadReport()):
        assert isinstance(chunk, Frames)
        pixels = chunk.rgb()
        for position, frame in enumerate(chunk.frame_index.tolist()):
            # Frames that could not be decoded leave their time to the one before, or the first one after.
            missed += sum(counts[i] for i in frames[(frames > reached) & (frames < frame)].tolist())
            picture = letterbox(pixels[position], size)
            for _ in range(missed):
                yield picture if last is None else last
                shown += 1
            missed, reached, last = 0, frame, picture
            for _ in range(counts[frame]):
                yield picture
                shown += 1
    if last is None:
        raise CorruptError(f"none of its frames from {clip.start_seconds:.2f} s on can be decoded")
    for _ in range(clip.num_frames - shown):
        yield last


def letterbox(pixels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """A picture fitted into `size` = (width, height), black around it."""
    high, wide = pixels.shape[:2]
    scale = min(size[0] / wide, size[1] / high)
    inner = max(1, round(wide * scale)), max(1, round(high * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    fitted = pixels if inner == (wide, high) else cv2.resize(pixels, inner, interpolation=method)
    if inner == size:
        return np.ascontiguousarray(fitted)
    framed = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    framed[top : top + inner[1], left : left + inner[0]] = fitted
    return framed
