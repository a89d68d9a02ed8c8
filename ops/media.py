"""Description of each file: the table with one row per uri.

It is made from the container's description alone. Unlike other tables its rows belong to a uri, not to
a content: `media_row` is called for every uri, also where the content is known already, and the extractor
is fed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa

from framemill.ops.chunks import Chunk, ShardInfo
from framemill.ops.columns import column
from framemill.ops.operation import Extractor, Op, Partial, Reads


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamDescription:
    """One stream of a container.

    Attributes:
        index: 0-based position in the container.
        type: video, audio, subtitle, data or attachment; an attached picture is an attachment.
        codec: FFmpeg's name of the codec; None where it is unknown.
        language: as tagged in the container (usually ISO 639-2); None where it is not.
        title: as tagged in the container; None where it is not.
        is_default: whether the container marks it as the one to play.
        is_forced, is_hearing_impaired, is_commentary: whether the container marks it so.
        is_taken: whether operations read it.
    """

    index: int
    type: str
    codec: str | None = None
    language: str | None = None
    title: str | None = None
    is_default: bool = False
    is_forced: bool = False
    is_hearing_impaired: bool = False
    is_commentary: bool = False
    is_taken: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaDescription:
    """A file as a row of the `media` table; fields are documented in `Media.schema`."""

    uri: str
    num_bytes: int
    container: str | None = None
    start_seconds: float | None = None
    duration_seconds: float | None = None
    video_codec: str | None = None
    width: int | None = None
    height: int | None = None
    rotation_degrees: int | None = None
    is_mirrored: bool | None = None
    pixel_format: str | None = None
    bit_depth: int | None = None
    color_space: str | None = None
    color_transfer: str | None = None
    color_primaries: str | None = None
    is_full_range: bool | None = None
    fps: float | None = None
    is_variable_rate: bool | None = None
    start_timecode: str | None = None
    num_frames: int | None = None
    num_frames_promised: int | None = None
    num_frames_delivered: int | None = None
    num_frames_damaged: int | None = None
    audio_codec: str | None = None
    sample_rate: int | None = None
    num_channels: int | None = None
    streams: tuple[StreamDescription, ...] = field(default=())
    status: str = "ok"


_STREAM = pa.struct(
    [
        column("index", pa.int32(), "0-based position in the container"),
        column("type", pa.string(), "video, audio, subtitle, data or attachment"),
        column("codec", pa.string(), "FFmpeg's name of the codec; null where unknown", nullable=True),
        column("language", pa.string(), "as tagged, usually ISO 639-2; null where not tagged", nullable=True),
        column("title", pa.string(), "as tagged; null where not tagged", nullable=True),
        column("is_default", pa.bool_(), "whether the container marks it as the one to play"),
        column("is_forced", pa.bool_(), "whether the container marks it as to be shown in any case"),
        column("is_hearing_impaired", pa.bool_(), "whether the container marks it as made for the deaf"),
        column("is_commentary", pa.bool_(), "whether the container marks it as a commentary"),
        column(
            "is_taken",
            pa.bool_(),
            "whether operations read it: the picture and the sound track taken, and subtitles that are text",
        ),
    ]
)


def _known(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    """A column that is null where the file has no such stream or does not say."""
    return column(name, kind, doc, nullable=True)


class Media(Op):
    """One row a uri, from the container's description; see `media_row`."""

    name = "media"
    version = 5
    reads = Reads.INDEX
    schema = pa.schema(
        [
            column("uri", pa.string(), "where the file lies, as a path or URL"),
            column("num_bytes", pa.int64(), "size of the file in bytes"),
            _known("container", pa.string(), "FFmpeg's name of the container format"),
            _known(
                "start_seconds",
                pa.float64(),
                "timestamp in the file at which the presentation starts; times of all tables count from it",
            ),
            _known("duration_seconds", pa.float64(), "length of the presentation in seconds, >= 0"),
            _known("video_codec", pa.string(), "FFmpeg's name of the picture codec; null without picture"),
            _known("width", pa.int32(), "display width in pixels, after rotation and pixel aspect"),
            _known("height", pa.int32(), "display height in pixels, after rotation and pixel aspect"),
            _known(
                "rotation_degrees",
                pa.int32(),
                "clockwise turn that a player applies to the coded picture: 0, 90, 180 or 270",
            ),
            _known(
                "is_mirrored",
                pa.bool_(),
                "whether a player exchanges left and right of the coded picture before it turns it",
            ),
            _known("pixel_format", pa.string(), "FFmpeg's name of the coded pixel format"),
            _known("bit_depth", pa.int32(), "bits per luma sample"),
            _known("color_space", pa.string(), "FFmpeg's name of the YUV matrix; null where not tagged"),
            _known("color_transfer", pa.string(), "FFmpeg's name of the transfer curve; null if not tagged"),
            _known("color_primaries", pa.string(), "FFmpeg's name of the primaries; null where not tagged"),
            _known("is_full_range", pa.bool_(), "whether luma spans the full range; null where not tagged"),
            _known("fps", pa.float64(), "mean frames a second"),
            _known("is_variable_rate", pa.bool_(), "whether the time between frames varies"),
            _known(
                "start_timecode",
                pa.string(),
                "timecode of the first frame as the file tells it: HH:MM:SS:FF, HH:MM:SS;FF where numbers "
                "are dropped; null where it tells none",
            ),
            _known("num_frames", pa.int64(), "presented frames"),
            _known(
                "num_frames_promised",
                pa.int64(),
                "frames to present by the container's own count; null where it states none",
            ),
            _known(
                "num_frames_delivered",
                pa.int64(),
                "presented frames but for those that operations asked for and did not get",
            ),
            _known(
                "num_frames_damaged",
                pa.int64(),
                "frames that operations asked for and that were lost or damaged, those before the first key "
                "frame apart",
            ),
            _known("audio_codec", pa.string(), "FFmpeg's name of the sound codec; null without sound"),
            _known("sample_rate", pa.int32(), "of the chosen sound track, in hertz"),
            _known("num_channels", pa.int32(), "of the chosen sound track"),
            column("streams", pa.list_(_STREAM), "every stream of the container"),
            column(
                "status",
                pa.string(),
                "ok, partial (less could be decoded than promised), failed, quarantined or unsupported",
            ),
        ]
    )

    def open(self, shard: ShardInfo) -> Extractor:
        return _NoRows()


def media_row(description: MediaDescription) -> pa.Table:
    """The one row of `Media.schema` of this file."""
    return pa.Table.from_pylist([asdict(description)], schema=Media.schema)


class _NoRows:
    """Reads nothing and yields no row."""

    done = True

    def feed(self, chunk: Chunk, upstream: Mapping[str, pa.Table]) -> None:
        """Media is read from the description alone."""

    def finish(self) -> Partial:
        return Partial(Media.schema.empty_table())
