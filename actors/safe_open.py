"""Opening media files that may be hostile: nothing but the file itself is ever read."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import stat
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import av
import av.error
import av.logging

from framemill.actors.limits import MOST_SUBTITLE_BYTES, SUBTITLE_ENDINGS, check_packets, size_of
from framemill.actors.object_store import is_remote
from framemill.actors.range_reader import RangeReader, raise_failure
from framemill.actors.segments import ByteFile, JoinedSegments, find_segments
from framemill.errors import CorruptError, LimitError, UnreadableError, UnsupportedError

if TYPE_CHECKING:
    from av.container import InputContainer

# Demuxers of files with picture or sound in them. Left out on purpose: everything that names other
# files or addresses (hls, dash, concat, sdp, rtsp, imf, image sequences) and device or script formats.
DEMUXERS = (
    "mov", "mp4", "m4a", "3gp", "matroska", "webm", "mpegts", "mpeg", "mpegvideo", "avi", "flv", "live_flv",
    "asf", "gif", "apng", "ivf", "obu", "h264", "hevc", "m4v", "mjpeg", "dv", "mxf", "gxf", "nut", "wtv",
    "rm", "ogg", "mp3", "wav", "w64", "aiff", "au", "caf", "flac", "aac", "ac3", "eac3", "amr", "ape", "wv",
    "tta", "dts", "truehd",
)  # fmt: skip
# Of subtitles alone.
TEXT_DEMUXERS = ("srt", "webvtt", "ass")

# 2**27 = 134 million pixels: above 16384 x 8192 (the largest level of H.265), below anything that could
# exhaust memory with one frame.
MAX_PIXELS = 1 << 27
MAX_STREAMS = 256

av.logging.set_level(None)  # FFmpeg's own messages about bad files; ours go into `errors`


def open_media(source: str | BinaryIO, look_ahead: bool = True) -> InputContainer:
    """Opens a local file, an object in a store, or a readable and seekable binary file object.

    Args:
        source: the file: a path, an address such as s3://bucket/key, or an object to read from.
        look_ahead: whether to read and decode as much of the start as it takes to find out what the
            header does not state; without, times of streams and the reordering of pictures may be unknown.

    Raises:
        UnreadableError: the bytes cannot be read.
        UnsupportedError: not a media container that is allowed here.
        CorruptError: a media container too damaged to open.
        LimitError: more than `MAX_STREAMS` streams, a picture above `MAX_PIXELS`, more pictures than bytes
            can hold, or more subtitles than are read.
    """
    options = {"protocol_whitelist": "file"}
    demuxers: tuple[str, ...] = DEMUXERS
    if not look_ahead:
        options |= {"probesize": "32", "analyzeduration": "1"}  # the least that FFmpeg accepts
    # A container that asks for another file (a playlist, an external track) must not get one.
    target: Any = source
    if isinstance(source, str) and is_remote(source):
        target = RangeReader(source)
        demuxers = _demuxers(target.num_bytes)
        options["protocol_whitelist"] = ""
    elif isinstance(source, str):
        require_regular_file(source)
        demuxers = _demuxers(os.path.getsize(source))
        target = _utf_16_webvtt(source) or "file:" + os.path.abspath(source)
    else:
        options["protocol_whitelist"] = ""
    options["format_whitelist"] = ",".join(demuxers)
    try:
        container = _open(target, options)
        if isinstance(source, str) and container.format.name.startswith("matroska"):
            joined = _find_joined(source, target)
            if joined is not None:
                container.close()
                container = _open(joined, options | {"protocol_whitelist": ""})
    except av.error.FFmpegError as exc:
        if isinstance(target, RangeReader) and target.failure is not None:
            raise target.failure from None
        if demuxers is DEMUXERS and isinstance(source, str) and source.lower().endswith(SUBTITLE_ENDINGS):
            raise LimitError(
                f"more subtitles than the {MOST_SUBTITLE_BYTES} bytes that are read: split the file"
            ) from exc
        raise _explain(exc) from exc
    except (OSError, ValueError) as exc:
        raise UnreadableError(f"cannot be opened: {exc}") from exc
    try:
        raise_failure(container)
        _check_limits(container)
    except Exception:
        container.close()
        raise
    return container


def _open(target: Any, options: dict[str, str]) -> InputContainer:
    opened = av.open(
        target,
        options=dict(options),
        metadata_errors="replace",
        io_open=None if isinstance(target, str) else _refuse,
    )
    return cast("InputContainer", opened)


def _find_joined(path: str, target: Any) -> JoinedSegments | None:
    """The segments of a joined Matroska file as one; None for an ordinary one."""
    if isinstance(target, RangeReader):
        before = target.tell()
        segments = find_segments(target, target.num_bytes)
        target.seek(before)  # FFmpeg reads on from where it was
        return JoinedSegments(target, segments) if len(segments) > 1 else None
    with open_bytes(path) as file:
        segments = find_segments(file, os.path.getsize(path))
    if len(segments) < 2:
        return None
    file = open(path, "rb")  # noqa: SIM115 (open as long as what reads from it)
    joined = JoinedSegments(file, segments)
    weakref.finalize(joined, file.close)
    return joined


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[ByteFile]:
    """The bytes of a local file or an object in a store.

    Raises:
        MediaError: they cannot be read.
    """
    if is_remote(path):
        yield RangeReader(path)
        return
    require_regular_file(path)
    with open(path, "rb", buffering=4096) as file:
        yield file


def rewind(container: InputContainer) -> None:
    """Back to the first packet.

    Raises:
        av.error.FFmpegError: this kind of file cannot be read twice.
    """
    # The tables of MP4 may start before time 0; some other containers refuse times before their start.
    container.seek(-(1 << 40) if container.format.name.startswith("mov") else 0)


def _demuxers(num_bytes: int) -> tuple[str, ...]:
    """The demuxers that may open a file of this length.

    Raises:
        CorruptError: it is empty.
    """
    if not num_bytes:
        raise CorruptError("the file is empty (0 bytes)")
    return DEMUXERS + TEXT_DEMUXERS if num_bytes <= MOST_SUBTITLE_BYTES else DEMUXERS


def _utf_16_webvtt(path: str) -> BinaryIO | None:
    """WebVTT in UTF-16, which FFmpeg knows of other subtitles only, as UTF-8; None for anything else."""
    if not path.lower().endswith(".vtt"):
        return None
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_SUBTITLE_BYTES)
    except OSError as exc:
        raise UnreadableError(f"cannot be read: {exc.strerror}") from exc
    if not content.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)):
        return None
    return io.BytesIO(content.decode("utf-16", "replace").encode())


def _refuse(url: str, flags: int, options: dict[str, Any]) -> Any:
    raise PermissionError(f"the file asks for {url!r}; only the file itself may be read")


def require_regular_file(path: str) -> None:
    """Refuses what could block or never end when read: pipes, sockets, devices; and folders.

    Raises:
        UnreadableError: nothing is there, or it may not be looked at.
        UnsupportedError: it is no regular file.
    """
    try:
        info = os.stat(path)
    except (OSError, ValueError) as exc:
        raise UnreadableError(f"cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    if stat.S_ISDIR(info.st_mode) and not os.access(path, os.R_OK | os.X_OK):
        raise UnreadableError("a folder that this user may not list (Permission denied)")
    if not stat.S_ISREG(info.st_mode):
        raise UnsupportedError(
            "not a regular file (a folder, pipe, socket or device); give the path of a media file"
        )


def _explain(exc: av.error.FFmpegError) -> Exception:
    if exc.errno == errno.ENOMEM:  # what it says to the thousandth stream, too
        return LimitError(
            "to open it takes more memory than there is, or it has over a thousand streams, of which at most "
            f"{MAX_STREAMS} are read: copy those you need into a new file"
        )
    if isinstance(exc, av.error.InvalidDataError):
        return CorruptError(
            "no readable media container: the header is damaged, cut off, or this is another kind of file"
        )
    if isinstance(exc, av.error.PermissionError | av.error.FileNotFoundError | av.error.OSError):
        return UnreadableError(f"cannot be read: {exc.strerror}")
    if isinstance(exc, av.error.ArgumentError):
        # What FFmpeg returns when the format is recognised but not in the whitelist.
        return UnsupportedError(
            "a playlist, image or other format that is not opened; "
            "only files that hold their own picture and sound are"
        )
    return CorruptError(f"cannot be opened: {exc.strerror}")


def _check_limits(container: InputContainer) -> None:
    if len(container.streams) > MAX_STREAMS:
        raise LimitError(
            f"{len(container.streams)} streams; at most {MAX_STREAMS} are read: copy those you need into "
            "a new file"
        )
    for stream in container.streams.video:
        if container.format.name.startswith("mov"):  # elsewhere a number in a header, which may be anything
            check_packets(stream.frames, size_of(container))
        context = stream.codec_context
        if context is None:
            continue
        if context.width * context.height > MAX_PIXELS:
            raise LimitError(
                f"the picture is {context.width} x {context.height}; at most {MAX_PIXELS} pixels are decoded "
                "(scale the file down first)"
            )
        # The stream may still change its size half-way; the decoder then refuses by itself.
        context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
