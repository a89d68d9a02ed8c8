"""Reads frames with DALI where a device decodes them, and with PyAV where it does not.

Everything else of a shard (thinned planes, sound, subtitles) is PyAV's. What a device refuses or fails at is
read again by PyAV, and the reason is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.dali_copies import Copy, Piece, copy_pieces, plan_pieces
from actors.dali_frames import DaliFrames
from actors.dali_rules import Picture, refusal
from actors.indexing import SourceIndex
from actors.opening import open_media
from actors.pyav_frames import HD_LINES
from actors.pyav_reader import ReadReport, ReadRequest, read_shard
from models.arrays import cupy_module
from ops.chunks import Chunk, FrameIndex, Int64Array

if TYPE_CHECKING:
    from av.container import InputContainer

# Copies that are decoded in one call, side by side on the engines of a device.
BATCH_COPIES = 4
# Decoded pictures that one reader may hold at once where nobody says more.
DECODED_BYTES = 256 << 20
# Frames that one chunk holds, and one copy where it is decoded alone.
MAX_FRAMES, MAX_FRAMES_ALONE = 64, 256
# Codes of ITU-T H.273, table 4.
_CODES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
_NAMES = {"itu709": "bt709", "itu601": "bt601", "bt2020": "bt2020"}


class DaliDecoder:
    """DALI on one device, for any number of threads.

    Args:
        device: `gpu`, or `cpu` for its variant for the host, which decodes VP8, VP9 and MJPEG.
        decoded_bytes: decoded pictures that all readers together may hold.
        readers: threads that decode at once.
    """

    def __init__(self, device: str, decoded_bytes: int = DECODED_BYTES, readers: int = 1) -> None:
        self.device = device
        self.bytes_per_reader = decoded_bytes // readers
        self._slots = threading.BoundedSemaphore(readers)
        self._local = threading.local()

    def decode(self, copies: Sequence[Copy]) -> list[Any]:
        """Per copy uint8 [m, height, width, 3] on the device, or the exception that it ended in.

        One bad copy fails a whole call, so that after a failure each is tried alone.
        """
        with self._slots, self._context():
            if len(copies) > 1:
                try:
                    return self._decode(copies)
                except Exception:  # of any class: what DALI raises; whose fault it is shows below
                    pass
            found: list[Any] = []
            for copy in copies:
                try:
                    found += self._decode([copy])
                except Exception as error:  # the file's own
                    found.append(error)
            return found

    def _decode(self, copies: Sequence[Copy]) -> list[Any]:
        import nvidia.dali.experimental.dynamic as dali

        encoded = dali.batch([np.frombuffer(copy.content, np.uint8) for copy in copies])
        numbers = dali.batch([copy.numbers for copy in copies])
        decoded = dali.decoders.video(encoded, device=self.device, frames=numbers)
        if self.device == "gpu":
            with self._local.stream:
                arrays = [cupy_module().from_dlpack(tensor) for tensor in decoded.tensors]
            # Whoever works on them does so in another thread, on another stream.
            self._local.stream.synchronize()
        else:
            arrays = [np.from_dlpack(tensor) for tensor in decoded.tensors]
        for array, copy in zip(arrays, copies, strict=True):
            if array.ndim != 4 or len(array) != len(copy.numbers):
                raise ValueError(f"{list(array.shape)} for {len(copy.numbers)} frames")
        return arrays

    def _context(self) -> Any:
        """A stream and an evaluation context for each thread."""
        if self.device != "gpu":
            return nullcontext()
        if not hasattr(self._local, "context"):
            import nvidia.dali.experimental.dynamic as dali

            self._local.stream = cupy_module().cuda.Stream(non_blocking=True)
            context: Any = dali.EvalContext
            self._local.context = context(device_id=0, cuda_stream=self._local.stream.ptr)
        return self._local.context


def read_shard_on_device(
    path: str,
    index: SourceIndex,
    request: ReadRequest,
    report: ReadReport,
    decoder: DaliDecoder,
    container: InputContainer | None = None,
) -> Iterator[Chunk]:
    """As `read_shard`, with the frames from the device where it decodes them.

    `report.decoder` tells who decoded the frames, and why where it was not the device.
    """
    reason = ""
    if not len(request.frames) or len(request.signals):
        reason = "no frames are wanted" if not len(request.frames) else "every frame is looked at on the host"
    else:
        with open_media(path) as opened:
            stream: Any = opened.streams[index.video_stream]
            reason, pieces = _plan(index, request, stream.codec_context, decoder)
            if not reason:
                report.decoder = f"dali on the {decoder.device}"
                if container is not None:
                    container.close()
                    container = None
                context = stream.codec_context
                fit = _fitting(decoder, context.width, context.height)
                copies = copy_pieces(opened, stream, index.packets, pieces)
                matrix = _matrix(index, context)
                yield from _frames(path, index, request, report, decoder, copies, fit, matrix)
                request = replace(request, frames=np.zeros(0, np.int64))
    if reason:
        report.decoder = f"pyav: {reason}"
    if reason or request.with_sound or request.subtitles:
        yield from _by_pyav(path, index, request, report, container)


def _plan(
    index: SourceIndex, request: ReadRequest, context: Any, decoder: DaliDecoder
) -> tuple[str, list[Piece]]:
    """Why the device does not read the file, or else the pieces that it reads."""
    picture = _picture(index, request, context)
    if reason := refusal(picture, decoder.device):
        return reason, []
    fit = _fitting(decoder, picture.width, picture.height)
    # Copies go side by side; only groups of pictures with very many wanted frames are worth a call alone.
    for most in (max(1, min(MAX_FRAMES, fit // BATCH_COPIES)), min(MAX_FRAMES_ALONE, fit)):
        pieces = plan_pieces(index.packets, index.frames, request.frames, most)
        if pieces is not None:
            return "", pieces
    return f"a group of pictures holds far more wanted frames than the {most} that fit the device", []


def _fitting(decoder: DaliDecoder, width: int, height: int) -> int:
    """Frames of a size that one reader may hold, at least 1."""
    return max(1, decoder.bytes_per_reader // (width * height * 3))


def _together(copies: Iterator[Copy], most: int) -> Iterator[list[Copy]]:
    """Copies for one call each, of at most so many frames together unless one alone has more."""
    batch: list[Copy] = []
    for copy in copies:
        count = sum(len(other.frames) for other in batch) + len(copy.frames)
        if batch and (len(batch) == BATCH_COPIES or count > most):
            yield batch
            batch = []
        batch.append(copy)
    if batch:
        yield batch


def _by_pyav(
    path: str, index: SourceIndex, request: ReadRequest, report: ReadReport, container: Any = None
) -> Iterator[Chunk]:
    """PyAV's reader, which counts what is missing of its own request alone."""
    missing = report.num_missing
    yield from read_shard(path, index, request, report, container)
    report.num_missing += missing


def _frames(
    path: str,
    index: SourceIndex,
    request: ReadRequest,
    report: ReadReport,
    decoder: DaliDecoder,
    copies: Iterator[Copy],
    fit: int,
    matrix: str,
) -> Iterator[Chunk]:
    num_given = 0
    for batch in _together(copies, fit):
        usable = [copy for copy in batch if len(copy.frames)]
        for copy, pixels in zip(usable, decoder.decode(usable), strict=True):
            if isinstance(pixels, Exception):
                report.decoder = f"pyav for {len(copy.frames)} frames: {str(pixels)[:200]}"
                again = replace(request, frames=copy.frames, with_sound=False, subtitles=False)
                yield from _by_pyav(path, index, again, report)
                num_given += len(copy.frames)
                continue
            report.num_decoded += len(pixels)
            num_given += len(pixels)
            for start in range(0, len(pixels), MAX_FRAMES):
                part = slice(start, start + MAX_FRAMES)
                yield _chunk(pixels[part], copy.frames[part], index.frames, index, matrix)
    report.num_missing += len(request.frames) - num_given
    report.cut_off = report.cut_off or num_given < len(request.frames)


def _chunk(pixels: Any, at: Int64Array, frames: FrameIndex, index: SourceIndex, matrix: str) -> DaliFrames:
    display = (index.display_width, index.display_height)
    return DaliFrames(
        pixels, at, frames.pts_seconds[at], frames.is_key[at], display, index.rotation_quarters, matrix
    )


def _picture(index: SourceIndex, request: ReadRequest, context: Any) -> Picture:
    about = index.description
    return Picture(
        codec=about.video_codec or "",
        profile=context.profile or "",
        pixel_format=about.pixel_format or "",
        bit_depth=about.bit_depth or 0,
        width=context.width,
        height=context.height,
        num_frames=len(request.frames),
        has_hidden=bool((index.packets.frame < 0).any()),
    )


def _matrix(index: SourceIndex, context: Any) -> str:
    """The matrix that PyAV's reader takes for this file: that of its first frame, its header, or its size."""
    tagged = _NAMES.get(index.description.color_space or "") or _CODES.get(int(context.colorspace))
    return tagged or ("bt709" if context.height >= HD_LINES else "bt601")
