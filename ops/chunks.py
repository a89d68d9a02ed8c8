"""What a reader hands to operations: batches of frames, signals of every frame, and sound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Frames(ABC):
    """A few frames of one shard in presentation order, kept as decoded; views are made on demand.

    Attributes:
        frame_index: int64 [n], 0-based position among the presented frames of the source.
        pts_seconds: float64 [n], seconds since the start of the presentation, >= 0.
        is_key: bool [n], whether a decoder can start here.
        width, height: display size in pixels, after rotation and pixel aspect ratio.

    A view depends only on its frame and its arguments, never on the frames beside it.
    """

    frame_index: Int64Array
    pts_seconds: Float64Array
    is_key: BoolArray
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.frame_index)

    @abstractmethod
    def luma(self, size: tuple[int, int] | None = None) -> UInt8Array:
        """Brightness as uint8 [n, height, width], 0..255 full range, at `size` = (width, height)."""

    @abstractmethod
    def rgb(self, size: tuple[int, int] | None = None) -> UInt8Array:
        """Colour as uint8 [n, height, width, 3], R G B in 0..255, at `size` = (width, height)."""

    def small_rgb(self, size: tuple[int, int]) -> UInt8Array:
        """As `rgb`, for measures and for a person to look at: averaged where it is made smaller.

        Readers draw it from planes made smaller before they are mixed, at a tenth of the cost; by default it
        is `rgb`.
        """
        return self.rgb(size)

    @abstractmethod
    def crops(self, index: Int64Array, boxes: Float32Array, size: tuple[int, int]) -> UInt8Array:
        """Regions cut from the full-resolution frames, as uint8 [m, height, width, 3] RGB.

        Args:
            index: int64 [m], position of each region's frame within this batch.
            boxes: float32 [m, 4], x0, y0, x1, y1 in display pixels; parts outside are black.
            size: (width, height) of every region in pixels.
        """

    @abstractmethod
    def jpeg(self, quality: int) -> list[bytes]:
        """Each frame at display size as a JPEG; quality 1..100 on libjpeg's scale."""

    def on_host(self) -> Frames:
        """The same frames, whose views are NumPy arrays; those of others may be CuPy's, on a device."""
        return self


@dataclass(frozen=True, slots=True)
class Signals:
    """Thinned planes of consecutive selected frames, for operations that look at every frame.

    Attributes:
        frame_index: int64 [n]; pts_seconds: float64 [n]; is_key: bool [n], as in `Frames`.
        luma: uint8 [n, h, w], every k-th sample of the luma plane as coded (no rotation).
        chroma_u, chroma_v: uint8 [n, h', w'], likewise; neutral is 128.

    Samples are taken at fixed positions without averaging: k is the smallest power of two that brings the
    longer side of the plane to at most 256 samples for luma, 128 for chroma. Values of deeper formats
    are shifted down to 8 bits. All arrays of one source have the same h, w, h' and w'.
    """

    frame_index: Int64Array
    pts_seconds: Float64Array
    is_key: BoolArray
    luma: UInt8Array
    chroma_u: UInt8Array
    chroma_v: UInt8Array

    def __len__(self) -> int:
        return len(self.frame_index)


@dataclass(frozen=True, slots=True)
class Audio:
    """Consecutive mono sound of the chosen track, at the rate that the operation wants.

    Attributes:
        start_sample: position of samples[0] counted from the start of the presentation at
            `sample_rate`; chunks of one source follow each other without gap or overlap, and the
            first starts at the track's own offset (>= 0).
        samples: float32 [n], nominally -1..1.
        sample_rate: hertz.
        channel: FFmpeg's short name, such as FL, of the channel that stands for all in this sound or part of
            it, since their mix would be silent; its number from 1 where it has no name; empty where
            they are mixed.
    """

    start_sample: int
    samples: Float32Array
    sample_rate: int
    channel: str = ""


@dataclass(frozen=True, slots=True)
class NativeAudio:
    """Consecutive sound of the chosen track as it was recorded: every channel, at its own rate.

    Attributes:
        start_sample: as in `Audio`, at `sample_rate`.
        samples: float32 [channels, n], nominally -1..1.
        sample_rate: hertz; of the track's first samples, like the channels.
        channels: FFmpeg's short name of each, such as FL, FR, FC, LFE, BL, SR; NONE where it has no place.
    """

    start_sample: int
    samples: Float32Array
    sample_rate: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle: plain text, its lines parted by newlines, never empty.

    Attributes:
        start_seconds, end_seconds: since the start of the presentation, 0 <= start <= end; the end is
            infinite where the file has none.
    """

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Subtitles:
    """The next cues of one subtitle stream.

    Attributes:
        stream_index: of the stream in the container.
        language: as tagged in the container, usually ISO 639-2 such as eng; und where it is not.
        cues: in the order of the file; those of one stream may overlap.
    """

    stream_index: int
    language: str
    cues: tuple[Cue, ...]


Chunk = Frames | Signals | Audio | NativeAudio | Subtitles


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The presented frames of one source, from its packets alone (nothing decoded).

    Attributes, all in presentation order:
        pts: int64 [n], in units of the stream's time base.
        pts_seconds: float64 [n], seconds since the start of the presentation.
        is_key: bool [n].
        packet_bytes: int64 [n], compressed size.
        last_seconds: how long the last one is shown; 0 where the file does not say.
    """

    pts: Int64Array
    pts_seconds: Float64Array
    is_key: BoolArray
    packet_bytes: Int64Array
    last_seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def end_seconds(self) -> float:
        """Where the last frame ends, by its own duration or else by the usual step; 0 without frames."""
        if not len(self):
            return 0.0
        steps = np.diff(self.pts_seconds)
        return float(self.pts_seconds[-1] + (self.last_seconds or (np.median(steps) if len(steps) else 0.0)))


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """The piece of a source that an operation works on. Ranges are half-open.

    Attributes:
        index: frames of the whole source; empty where there is no picture.
        start_frame, end_frame: the piece's range of frame indices.
        shard_index, num_shards: 0-based position among the source's pieces.
        width, height: display size in pixels, 0 where there is no picture.
        duration_seconds: of the whole source.
        source_id: content id, 64 hex digits, where a whole source is combined; else empty.
        audio_stream: index in the container of the sound that is heard, -1 where there is none.
        rotation_quarters, is_mirrored: from planes as coded to the picture as shown, which is mirrored first
            and then turned clockwise by so many quarters; only `Signals` are as coded.
    """

    index: FrameIndex
    start_frame: int
    end_frame: int
    shard_index: int
    num_shards: int
    width: int
    height: int
    duration_seconds: float
    source_id: str = ""
    audio_stream: int = -1
    rotation_quarters: int = 0
    is_mirrored: bool = False
