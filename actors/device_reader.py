"""Reads frames with a device's decoder where it decodes them, and with PyAV where it does not.

What stands before a decoder is here and the same for any: whether a file is admitted, which pieces of it are
decoded, whether its numbers are those of PyAV, and who reads what it fails at. Behind it stand the views
(`framemill.actors.dali_frames`). Everything else of a shard (thinned planes, sound, subtitles) is PyAV's. Why
something was read by PyAV is kept.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from framemill.actors.coded_range import is_full_range_coded
from framemill.actors.dali_frames import DaliFrames
from framemill.actors.dali_rules import Picture, refusal
from framemill.actors.device_check import find_difference, late_piece, late_row
from framemill.actors.device_trust import DeviceTrust
from framemill.actors.indexing import SourceIndex
from framemill.actors.packet_track import UnevenPacketError, is_near
from framemill.actors.pieces import Piece, plan_pieces
from framemill.actors.pyav_reader import ReadReport, ReadRequest, read_shard
from framemill.actors.safe_open import open_media
from framemill.ops.chunks import Chunk, Int64Array

if TYPE_CHECKING:
    from av.container import InputContainer

# Frames that one chunk holds.
MAX_FRAMES = 64


@dataclass(frozen=True, slots=True)
class Source:
    """A file to decode pieces of.

    Attributes:
        container: open, at its first packet, for the decoder alone. stream: its picture track.
    """

    path: str
    index: SourceIndex
    container: Any
    stream: Any


@dataclass(frozen=True, slots=True)
class Decoded:
    """Some frames of a piece.

    Attributes:
        frames: int64 [m], ascending indices.
        pixels: uint8 [m, height, width, 3], R G B as coded, on the device; or what decoding them ended in.
        stream: CuPy's stream in whose order their memory is used again; None on the host.
    """

    frames: Int64Array
    pixels: Any
    stream: Any = None


class DeviceDecoder(Protocol):
    """What decodes on a device: all that another library of this kind has to be.

    Attributes:
        name: as `report.decoder` states it. device: `gpu` or `cpu`, as in `refusal`.
        chunk_bytes: decoded pictures that one chunk may hold, but for a single one that is larger.
        trust: whether it is still to be used, as far as its failures tell.
    """

    name: str
    device: str
    chunk_bytes: int
    trust: DeviceTrust

    def most_frames(self, width: int, height: int) -> int:
        """Wanted frames of a size that a piece of several groups of pictures may hold, >= 1."""

    def refusal(self, source: Source, num_pieces: int) -> str:
        """Why it does not take so many pieces of a file whose kind is admitted; empty where it does."""

    def decode_pieces(self, source: Source, pieces: Sequence[Piece]) -> Iterator[Decoded]:
        """The frames of the pieces in their order, each piece decoded once, in one part or several.

        Frames that the file holds no more are left out.

        Raises:
            DeviceLostError: the device is lost to this process.
            UnevenPacketError: from `PacketTrack`: packets are no pictures, so that numbers are wrong.
        """


def read_shard_on_device(
    path: str,
    index: SourceIndex,
    request: ReadRequest,
    report: ReadReport,
    decoder: DeviceDecoder,
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
            source = Source(path, index, opened, opened.streams[index.video_stream])
            if not (reason := refusal(_picture(source, request), decoder.device)):
                reading = _Reading(source, request, report, decoder)
                reason = decoder.refusal(source, len(reading.pieces))
            if not reason:
                report.decoder = f"{decoder.name} on the {decoder.device}"
                if container is not None:
                    container.close()
                    container = None
                yield from reading.chunks()
                request = replace(request, frames=np.zeros(0, np.int64))
    if reason:
        report.decoder = f"pyav: {reason}"
    if reason or request.with_sound or request.subtitles:
        yield from _by_pyav(path, index, request, report, container)


class _Reading:
    """One shard on a device."""

    def __init__(
        self, source: Source, request: ReadRequest, report: ReadReport, decoder: DeviceDecoder
    ) -> None:
        self.source, self.request, self.report, self.decoder = source, request, report, decoder
        context = source.stream.codec_context
        most = decoder.most_frames(context.width, context.height)
        self.pieces = plan_pieces(source.index.packets, source.index.frames, request.frames, most)
        self.given = np.zeros(len(source.index.frames), bool)

    def chunks(self) -> Iterator[Chunk]:
        difference = ""
        try:
            difference = yield from self._decoded()
        except UnevenPacketError as error:
            difference = str(error)
        if difference:
            yield from self._again(self._left(), difference)
        num_missing = len(self._left())
        self.report.num_missing += num_missing
        self.report.cut_off = self.report.cut_off or num_missing > 0

    def _decoded(self) -> Generator[Chunk, None, str]:
        """What the device gives, until its numbers turn out wrong: then how."""
        trust = self.decoder.trust
        is_checked, difference = self._check_late()
        if difference:
            return difference
        for part in self.decoder.decode_pieces(self.source, self.pieces):
            if isinstance(part.pixels, Exception):
                yield from self._again(part.frames, str(part.pixels)[:200])
                trust.failed(self.source.path, part.pixels)
                if reason := trust.refusal(self.source.path):
                    yield from self._again(self._left(), reason)
                    break
                continue
            trust.succeeded()
            if not is_checked:
                difference, is_checked = self._difference(part), True
                if difference:
                    return difference
            self.report.num_decoded += len(part.pixels)
            self.given[part.frames] = True
            yield from self._cut(part)
        return ""

    def _check_late(self) -> tuple[bool, str]:
        """Holds a frame of a late piece against PyAV's, before anything of the device is handed on.

        Returns:
            Whether it could be done, and how they differ. Where it could not, the first frames are held.
        """
        index = self.source.index
        if len(self.pieces) < 2 or not is_near(self.source.container, index):
            return False, ""
        with open_media(self.source.path) as opened:
            again = replace(self.source, container=opened, stream=opened.streams[index.video_stream])
            parts = self.decoder.decode_pieces(again, [self.pieces[late_piece(self.pieces)]])
            part = next((part for part in parts if len(part.frames)), None)
            if part is None or isinstance(part.pixels, Exception):
                return False, ""
            return True, self._difference(part)

    def _difference(self, part: Decoded) -> str:
        row = late_row(self.source.index, part.frames)
        frames = self._chunk(part, slice(row, row + 1))
        return find_difference(self.source.path, self.source.index, frames, self.request.threads)

    def _left(self) -> Int64Array:
        """Wanted frames that nobody gave yet."""
        return self.request.frames[~self.given[self.request.frames]]

    def _again(self, frames: Int64Array, reason: str) -> Iterator[Chunk]:
        """Reads frames with PyAV that the device did not read as it should."""
        whole = len(frames) == len(self.request.frames)
        self.report.decoder = f"pyav: {reason}" if whole else f"pyav for {len(frames)} frames: {reason}"
        self.given[frames] = True  # PyAV's reader counts what is missing of them
        request = replace(self.request, frames=frames, with_sound=False, subtitles=False)
        yield from _by_pyav(self.source.path, self.source.index, request, self.report)

    def _cut(self, part: Decoded) -> Iterator[Chunk]:
        pixels = part.pixels
        most = max(1, min(MAX_FRAMES, self.decoder.chunk_bytes * len(pixels) // max(1, pixels.size)))
        for start in range(0, len(pixels), most):
            yield self._chunk(part, slice(start, start + most))

    def _chunk(self, part: Decoded, rows: slice) -> DaliFrames:
        index, at = self.source.index, part.frames[rows]
        return DaliFrames(
            part.pixels[rows],
            at,
            index.frames.pts_seconds[at],
            index.frames.is_key[at],
            (index.display_width, index.display_height),
            index.rotation_quarters,
            index.matrix,
            index.is_mirrored,
            part.stream,
        )


def _by_pyav(
    path: str, index: SourceIndex, request: ReadRequest, report: ReadReport, container: Any = None
) -> Iterator[Chunk]:
    """PyAV's reader, which counts what is missing of its own request alone."""
    missing = report.num_missing
    yield from read_shard(path, index, request, report, container)
    report.num_missing += missing


def _picture(source: Source, request: ReadRequest) -> Picture:
    index, context = source.index, source.stream.codec_context
    about = index.description
    return Picture(
        codec=about.video_codec or "",
        profile=context.profile or "",
        pixel_format=about.pixel_format or "",
        bit_depth=about.bit_depth or 0,
        width=context.width,
        height=context.height,
        num_frames=len(request.frames),
        has_hidden=index.is_uneven or len(index.packets.frame) != len(index.frames),
        is_full_by_container=bool(about.is_full_range) and not is_full_range_coded(source.path, index),
    )
