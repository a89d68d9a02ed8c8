"""A picture file as one frame: what `search --image` compares the frames of videos with."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np

from framemill.actors.pyav_frames import PyavFrames
from framemill.actors.safe_open import MAX_PIXELS, require_regular_file
from framemill.errors import CorruptError, LimitError, UnreadableError, UnsupportedError

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_BYTES = 256 << 20
# First bytes of a file -> FFmpeg's demuxer of that picture format alone.
_FORMATS = (
    (b"\xff\xd8\xff", "jpeg_pipe"),
    (b"\x89PNG\r\n\x1a\n", "png_pipe"),
    (b"RIFF", "webp_pipe"),
    (b"BM", "bmp_pipe"),
)


def read_still(path: str) -> PyavFrames:
    """Decodes a JPEG, PNG, WebP or BMP file; its pixels are as stored, whatever its orientation tag is.

    Raises:
        UnreadableError: the bytes cannot be read.
        UnsupportedError: another kind of file.
        LimitError: more than `MAX_BYTES`, or more than `MAX_PIXELS` pixels; refused before decoding.
        CorruptError: it cannot be decoded.
    """
    content = _read(path)
    kind = next((kind for mark, kind in _FORMATS if content.startswith(mark)), None)
    if kind is None:
        raise UnsupportedError("no picture that can be read here: give a JPEG, PNG, WebP or BMP file")
    # The least that FFmpeg accepts, so that nothing is decoded before the limit below is set.
    options = {"format_whitelist": kind, "protocol_whitelist": "", "probesize": "32", "analyzeduration": "1"}
    try:
        opened = av.open(BytesIO(content), format=kind, options=options, io_open=_refuse)
        with cast("InputContainer", opened) as container:
            context = container.streams.video[0].codec_context
            context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
            context.thread_count = 1
            frame = next(container.decode(video=0))
    except (av.error.FFmpegError, StopIteration, IndexError) as exc:
        raise CorruptError(
            f"cannot be decoded ({exc}): it is damaged, or has more than {MAX_PIXELS} pixels"
        ) from exc
    return PyavFrames(
        [frame],
        np.zeros(1, np.int64),
        np.zeros(1, np.float64),
        np.ones(1, np.bool_),
        (frame.width, frame.height),
        0,
    )


def _read(path: str) -> bytes:
    require_regular_file(path)
    try:
        num_bytes = Path(path).stat().st_size
        if num_bytes > MAX_BYTES:
            raise LimitError(f"{num_bytes} bytes, more than {MAX_BYTES}: scale the picture down")
        return Path(path).read_bytes()
    except OSError as exc:
        raise UnreadableError(f"cannot be read: {exc.strerror}") from exc


def _refuse(url: str, flags: int, options: dict[str, Any]) -> Any:
    raise PermissionError(f"the file asks for {url!r}; only the file itself may be read")
