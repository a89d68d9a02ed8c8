"""Reads frames with DALI where a device decodes them, and with PyAV where it does not.

Everything else of a shard (thinned planes, sound, subtitles) is PyAV's. What a device refuses or fails at is
read again by PyAV, and the reason is kept.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from framemill.actors.colour_matrices import matrix_name
from framemill.actors.dali_copies import Copy, Piece, copy_pieces, plan_pieces
from framemill.actors.dali_frames import DaliFrames
from framemill.actors.dali_rules import Picture, refusal
from framemill.actors.device_trust import DeviceTrust
from framemill.actors.indexing import SourceIndex
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.safe_open import open_media
from framemill.errors import DeviceLostError
from framemill.models.arrays import cupy_module
from framemill.models.cuda import LOST_REMEDY, is_device_lost
from framemill.models.provider_sessions import own_stream
from framemill.ops.chunks import Chunk, FrameIndex, Int64Array

if TYPE_CHECKING:
    from av.container import InputContainer

# Copies that are decoded in one call, side by side on the engines of a device.
BATCH_COPIES = 4
# Decoded pictures that one reader may hold at once by default.
DECODED_BYTES = 256 << 20
# Frames that one chunk holds, and one copy where it is decoded alone.
MAX_FRAMES, MAX_FRAMES_ALONE = 64, 256
# Decoded pictures of one chunk by default: views of it take several times as much for a moment.
CHUNK_BYTES = 128 << 20
# Names of `media.color_space` that stand for a matrix.
_NAMES = {"itu709": "bt709", "itu601": "bt601", "bt2020": "bt2020", "fcc": "fcc", "smpte240m": "smpte240m"}


class DaliDecoder:
    """DALI on one device, for any number of threads.

    Args:
        device: `gpu`, or `cpu` for its variant for the host, which decodes VP8, VP9 and MJPEG.
        decoded_bytes: decoded pictures that all readers together may hold.
        readers: threads that decode at once.
        chunk_bytes: decoded pictures that one chunk may hold, but for a single one that is larger.

    Attributes:
        trust: whether it is still to be used, as far as its failures tell.
    """

    def __init__(
        self,
        device: str,
        decoded_bytes: int = DECODED_BYTES,
        readers: int = 1,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.device = device
        self.bytes_per_reader = decoded_bytes // readers
        self.chunk_bytes = chunk_bytes
        self.trust = DeviceTrust()
        # What decoding needs, kept between calls: DALI holds threads and opened decoders in it, and the
        # threads that read come and go. The last one used is the first to be used again.
        self._free: queue.LifoQueue[_Engine | None] = queue.LifoQueue()
        for _ in range(readers):
            self._free.put(None)

    def decode(self, copies: Sequence[Copy]) -> list[Any]:
        """Per copy uint8 [m, height, width, 3] on the device, or the exception that it ended in.

        One bad copy fails a whole call, so that after a failure each is tried alone.

        Raises:
            DeviceLostError: the device is lost to this process.
        """
        try:
            with self._engine() as stream:
                return self._decode_each(copies, stream)
        except DeviceLostError:
            raise
        except Exception as error:  # of any class: opening one more engine, as without memory
            _stop_if_lost(error)
            return [error] * len(copies)

    def _decode_each(self, copies: Sequence[Copy], stream: Any) -> list[Any]:
        if len(copies) > 1:
            try:
                return self._decode(copies, stream)
            except Exception as error:  # of any class: what DALI raises; whose fault it is shows below
                _stop_if_lost(error)
        found: list[Any] = []
        for copy in copies:
            try:
                found += self._decode([copy], stream)
            except Exception as error:  # the file's own
                _stop_if_lost(error)
                found.append(error)
        return found

    def _decode(self, copies: Sequence[Copy], stream: Any) -> list[Any]:
        import nvidia.dali.experimental.dynamic as dali

        encoded = dali.batch([np.frombuffer(copy.content, np.uint8) for copy in copies])
        numbers = dali.batch([copy.numbers for copy in copies])
        # Every engine has threads of its own: tied to cores, all of them would sit on the first few.
        decoded = dali.decoders.video(encoded, device=self.device, frames=numbers, affine=False)
        if stream is not None:
            with stream:
                arrays = [cupy_module().from_dlpack(tensor) for tensor in decoded.tensors]
            # Whoever works on them does so in another thread, on another stream.
            stream.synchronize()
        else:
            arrays = [np.from_dlpack(tensor) for tensor in decoded.tensors]
        for array, copy in zip(arrays, copies, strict=True):
            if array.ndim != 4 or len(array) != len(copy.numbers):
                raise ValueError(f"{list(array.shape)} for {len(copy.numbers)} frames")
        return arrays

    @contextmanager
    def _engine(self) -> Iterator[Any]:
        """One of the engines while it is used, as its stream; waits where all are at work."""
        engine = self._free.get()
        try:
            engine = engine or _open_engine(self.device)
            with engine.context:
                yield engine.stream
        finally:
            self._free.put(engine)


def _stop_if_lost(error: Exception) -> None:
    if is_device_lost(error):
        raise DeviceLostError(f"decoding failed: {str(error)[:300]}; {LOST_REMEDY}") from error


@dataclass(frozen=True, slots=True)
class _Engine:
    """DALI's evaluation context, and the stream of CuPy that its work goes to; None on the host."""

    context: Any
    stream: Any


def _open_engine(device: str) -> _Engine:
    import nvidia.dali.experimental.dynamic as dali

    context: Any = dali.EvalContext
    if device != "gpu":
        return _Engine(context(num_threads=BATCH_COPIES), None)
    stream = own_stream()
    return _Engine(context(num_threads=BATCH_COPIES, device_id=0, cuda_stream=stream), stream)


def read_shard_on_device(
    path: str,
    index: SourceIndex,
    request: ReadRequest,
    report: ReadReport,
    decoder: DaliDecoder,
    container: InputContainer | None = None,
) -> Iterator[Chunk]:
    """As `read_shard`, with the frames from the device where it decodes them.

    `report.decoder` states what decoded the frames, and the reason where it was not the device.
    """
    reason = ""
    if not len(request.frames) or len(request.signals):
        reason = "no frames are wanted" if not len(request.frames) else "every frame is looked at on the host"
    elif not (reason := decoder.trust.refusal(path)):
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
    given = np.zeros(0, np.int64)
    for batch in _together(copies, fit):
        if reason := decoder.trust.refusal(path):
            rest = np.setdiff1d(request.frames, given)
            report.decoder = f"pyav for {len(rest)} frames: {reason}"
            again = replace(request, frames=rest, with_sound=False, subtitles=False)
            yield from _by_pyav(path, index, again, report)
            given = request.frames
            break
        usable = [copy for copy in batch if len(copy.frames)]
        for copy, pixels in zip(usable, decoder.decode(usable), strict=True):
            given = np.union1d(given, copy.frames)
            if isinstance(pixels, Exception):
                decoder.trust.failed(path, pixels)
                report.decoder = f"pyav for {len(copy.frames)} frames: {str(pixels)[:200]}"
                again = replace(request, frames=copy.frames, with_sound=False, subtitles=False)
                yield from _by_pyav(path, index, again, report)
                continue
            decoder.trust.succeeded()
            report.num_decoded += len(pixels)
            most = max(1, min(MAX_FRAMES, decoder.chunk_bytes * len(pixels) // max(1, pixels.size)))
            for start in range(0, len(pixels), most):
                part = slice(start, start + most)
                yield _chunk(pixels[part], copy.frames[part], index.frames, index, matrix)
    report.num_missing += len(request.frames) - len(given)
    report.cut_off = report.cut_off or len(given) < len(request.frames)


def _chunk(pixels: Any, at: Int64Array, frames: FrameIndex, index: SourceIndex, matrix: str) -> DaliFrames:
    return DaliFrames(
        pixels,
        at,
        frames.pts_seconds[at],
        frames.is_key[at],
        (index.display_width, index.display_height),
        index.rotation_quarters,
        matrix,
        index.is_mirrored,
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
        has_hidden=len(index.packets.frame) != len(index.frames),
    )


def _matrix(index: SourceIndex, context: Any) -> str:
    """The matrix that PyAV's reader takes for this file: that of its first frame, its header, or its size."""
    named = _NAMES.get(index.description.color_space or "")
    return named or matrix_name(int(context.colorspace), context.height)
