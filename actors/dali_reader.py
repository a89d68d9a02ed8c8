"""DALI as a decoder of pieces of a file (`framemill.actors.device_reader`)."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from framemill.actors.dali_copies import WIDENED, Copy, copy_pieces
from framemill.actors.device_reader import MAX_FRAMES, Decoded, Source
from framemill.actors.device_trust import DeviceTrust
from framemill.actors.kept_decoders import KeptDecoders, Kind
from framemill.actors.packet_track import PacketTrack
from framemill.actors.pieces import Piece
from framemill.errors import DeviceLostError
from framemill.models.arrays import array_module, cupy_module
from framemill.models.cuda import LOST_REMEDY, is_device_lost
from framemill.models.memory_plan import SESSION_BYTES, SESSIONS_PER_CALL, session_bytes
from framemill.models.provider_sessions import own_stream

# Decoded pictures that one reader may hold at once by default.
DECODED_BYTES = 256 << 20
# Decoded pictures of one chunk by default: views of it take several times as much for a moment.
CHUNK_BYTES = 128 << 20


class DaliDecoder:
    """DALI on one device, for any number of threads: a `framemill.actors.device_reader.DeviceDecoder`.

    Args:
        device: `gpu`, or `cpu` for its variant for the host, which decodes VP8, VP9 and MJPEG.
        decoded_bytes: decoded pictures that all readers together may hold.
        readers: calls of DALI at once; who comes beyond them waits.
        chunk_bytes: decoded pictures that one chunk may hold, but for a single one that is larger.
        sessions: copies that are decoded in one call, side by side on the units of a device.
        kept_bytes: of the device, for decoders at work and idle; 0 for the host, where none are kept.

    Attributes:
        trust: whether it is still to be used, as far as its failures tell.
    """

    name = "dali"

    def __init__(
        self,
        device: str,
        decoded_bytes: int = DECODED_BYTES,
        readers: int = 1,
        chunk_bytes: int = CHUNK_BYTES,
        sessions: int = SESSIONS_PER_CALL,
        kept_bytes: int = 0,
    ) -> None:
        self.device = device
        self.bytes_per_reader = decoded_bytes // readers
        self.chunk_bytes = chunk_bytes
        self.trust = DeviceTrust()
        self.sessions = sessions
        self._readers = readers
        self._kept = KeptDecoders(kept_bytes) if kept_bytes else None
        # What decoding needs, kept between calls: DALI holds threads and opened decoders in it, and the
        # threads that read come and go. The last one used is the first to be used again.
        self._free: queue.LifoQueue[_Engine | None] = queue.LifoQueue()
        for _ in range(readers):
            self._free.put(None)

    def most_frames(self, width: int, height: int) -> int:
        """See `DeviceDecoder.most_frames`: pieces go side by side within what a reader has."""
        return max(1, min(MAX_FRAMES, self._fitting(width, height) // self._at_once(width, height)))

    def refusal(self, source: Source, num_pieces: int) -> str:
        """See `DeviceDecoder.refusal`."""
        if self._kept is None:
            return ""
        context = source.stream.codec_context
        codec, width, height = context.codec.canonical_name, context.width, context.height
        is_reused = codec in WIDENED or not (width % 16 or height % 16)
        # A call for each reader at most; or a decoder for each piece, and one for the check.
        count = self._readers * self._at_once(width, height) if is_reused else num_pieces + 1
        return self._kept.refusal(Kind(codec, width, height), count, is_reused)

    def decode_pieces(self, source: Source, pieces: Sequence[Piece]) -> Iterator[Decoded]:
        """See `DeviceDecoder.decode_pieces`."""
        packets = source.index.packets
        needed = np.zeros(len(packets.pts), bool)
        for piece in pieces:
            needed[piece.packets] = True
        context = source.stream.codec_context
        size = context.width, context.height
        fit = self._fitting(*size)
        track = PacketTrack(source.container, source.stream, source.index, needed)
        copies = copy_pieces(track, source.stream, packets, pieces, widens=self._kept is not None)
        for batch in _together(copies, fit, self._at_once(*size)):
            if len(batch[0].frames) > fit:
                parts = self._decode_in_parts(batch[0], max(1, min(MAX_FRAMES, fit // 2)))
            else:
                stream, found = self._decode_on_any(batch)
                parts = (
                    Decoded(copy.frames, pixels, stream) for copy, pixels in zip(batch, found, strict=True)
                )
            for part in parts:
                yield as_shown(part, *size)

    def _fitting(self, width: int, height: int) -> int:
        """Frames of a size that one call may give, at least 1."""
        return max(1, self.bytes_per_reader // (width * height * 3))

    def _at_once(self, width: int, height: int) -> int:
        """Copies of a size that one call decodes side by side: of larger pictures fewer, in like memory."""
        return max(1, min(self.sessions, self.sessions * SESSION_BYTES // session_bytes(width, height)))

    def _decode_in_parts(self, copy: Copy, most: int) -> Iterator[Decoded]:
        """The frames of one copy in one pass, for what does not fit at once: `most` pictures a time."""
        done = 0
        try:
            # Whoever takes the parts works in this thread, outside of DALI's context.
            with self._slot() as engine:
                for start, pictures in _pass_over(copy, self.device, engine.stream, most):
                    rows = copy.numbers[done:]
                    rows = rows[rows < start + len(pictures)] - start
                    if len(rows) == len(pictures):
                        chosen = pictures
                    else:
                        xp = array_module(pictures)
                        chosen = xp.take(pictures, xp.asarray(rows), axis=0)
                    frames = copy.frames[done : done + len(rows)]
                    done += len(rows)
                    if len(rows):
                        yield Decoded(frames, chosen, engine.stream)
        except Exception as error:  # of any class: what DALI raises
            _stop_if_lost(error)
            yield Decoded(copy.frames[done:], error)

    def decode(self, copies: Sequence[Copy]) -> list[Any]:
        """Per copy uint8 [m, height, width, 3] on the device, or the exception that it ended in.

        One bad copy fails a whole call, so that after a failure each is tried alone.

        Raises:
            DeviceLostError: the device is lost to this process.
        """
        return self._decode_on_any(copies)[1]

    def _decode_on_any(self, copies: Sequence[Copy]) -> tuple[Any, list[Any]]:
        """The stream of the engine that decoded them, and what `decode` gives."""
        try:
            with self._engine() as stream:
                return stream, self._decode_each(copies, stream)
        except DeviceLostError:
            raise
        except Exception as error:  # of any class: opening one more engine, as without memory
            _stop_if_lost(error)
            return None, [error] * len(copies)

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
        with self._slot() as engine, engine.context:
            yield engine.stream

    @contextmanager
    def _slot(self) -> Iterator[_Engine]:
        engine = self._free.get()
        try:
            engine = engine or _open_engine(self.device, self.sessions)
            yield engine
        finally:
            self._free.put(engine)


def as_shown(part: Decoded, width: int, height: int) -> Decoded:
    """The part without what lies beyond the shown size in pixels; as it is where decoding it failed."""
    if isinstance(part.pixels, Exception):
        return part
    return replace(part, pixels=part.pixels[:, :height, :width, :])


def _stop_if_lost(error: Exception) -> None:
    if is_device_lost(error):
        raise DeviceLostError(f"decoding failed: {str(error)[:300]}; {LOST_REMEDY}") from error


@dataclass(frozen=True, slots=True)
class _Engine:
    """DALI's evaluation context, and the stream of CuPy that its work goes to; None on the host."""

    context: Any
    stream: Any


def _open_engine(device: str, num_threads: int) -> _Engine:
    import nvidia.dali.experimental.dynamic as dali

    context: Any = dali.EvalContext
    if device != "gpu":
        return _Engine(context(num_threads=num_threads), None)
    stream = own_stream()
    return _Engine(context(num_threads=num_threads, device_id=0, cuda_stream=stream), stream)


def _together(copies: Iterator[Copy], most: int, most_copies: int) -> Iterator[list[Copy]]:
    """Copies for one call each, of at most so many frames together unless one alone has more."""
    batch: list[Copy] = []
    for copy in copies:
        count = sum(len(other.frames) for other in batch) + len(copy.frames)
        if batch and (len(batch) == most_copies or count > most):
            yield batch
            batch = []
        if len(copy.frames):
            batch.append(copy)
    if batch:
        yield batch


def _pass_over(copy: Copy, device: str, stream: Any, most: int) -> Iterator[tuple[int, Any]]:
    """All pictures of a copy up to the last wanted one: the number of the first, and uint8 [m, h, w, 3]."""
    from nvidia.dali import fn
    from nvidia.dali.pipeline import Pipeline

    open_: Any = Pipeline  # of no types
    pipeline = open_(
        batch_size=1,
        num_threads=1,
        device_id=None if stream is None else 0,
        prefetch_queue_depth=1,  # more would hold more parts than are handed on
        exec_dynamic=True,
    )
    with pipeline:
        kind = "cpu" if device == "cpu" else "mixed"
        pictures = fn.experimental.inputs.video(name="copy", device=kind, sequence_length=most, affine=False)
        pipeline.set_outputs(pictures)
    pipeline.feed_input("copy", [np.frombuffer(copy.content, np.uint8)])
    start = 0
    while start <= copy.numbers[-1]:
        (batch,) = pipeline.run(stream)
        if stream is None:
            part = np.from_dlpack(batch[0])
        else:
            with stream:
                part = cupy_module().from_dlpack(batch[0])
            stream.synchronize()
        yield start, part
        start += len(part)
