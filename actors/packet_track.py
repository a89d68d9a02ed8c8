"""Packets of one picture track by their place in the file; stretches that nobody needs are jumped over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import av.error
from av.stream import Discard

from framemill.actors.coded_headers import CodedHeaders
from framemill.actors.coded_pictures import Counter, picture_counter
from framemill.actors.h264_fields import FieldPairs
from framemill.actors.indexing import SourceIndex
from framemill.actors.pyav_reader import SEEK_PACKETS, SEEKABLE
from framemill.actors.range_reader import raise_failure, range_reader_of, skip_unneeded
from framemill.actors.safe_open import rewind
from framemill.ops.chunks import BoolArray


def can_jump(container: Any, index: SourceIndex) -> bool:
    """Whether the container's own index leads to a key packet exactly."""
    return container.format.name.startswith(SEEKABLE) and not index.timeline.offsets


def is_near(container: Any, index: SourceIndex) -> bool:
    """Whether any packet is had without fetching from afar what comes before it."""
    return range_reader_of(container) is None or can_jump(container, index)


class UnevenPacketError(Exception):
    """A packet holds more or less than one picture, or of another size, which only fetching it showed."""


class PacketTrack:
    """Reads an open file once, forwards, for who knows which packets are needed.

    Args:
        container: at its first packet; used by nobody else.
        stream: the track.
        needed: bool [n], packets that will be asked for.
    """

    def __init__(self, container: Any, stream: Any, index: SourceIndex, needed: BoolArray) -> None:
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all  # their bytes need not be read
        skip_unneeded(container, stream, needed)
        self._container, self._stream, self._index = container, stream, index
        self._can_jump = can_jump(container, index)
        self._packets = self._demux()
        self._position = 0
        self._count: Counter | None = None
        self._pairs: FieldPairs | None = None
        self._headers: CodedHeaders | None = None
        if range_reader_of(container) is not None:  # the index saw of it what was fetched alone
            context = stream.codec_context
            codec = context.codec.canonical_name
            self._count = picture_counter(codec, context.extradata)
            self._headers = CodedHeaders(codec, context.extradata)
            self._pairs = FieldPairs(context.extradata) if context.name == "h264" else None

    def take(self, positions: list[int]) -> dict[int, bytes]:
        """What packets hold, by their place; without those behind the end of the file.

        Args:
            positions: ascending, beyond those of earlier calls; the first of a key packet.

        Raises:
            UnevenPacketError: one of them is not one picture like the others, in a file from a store.
        """
        found: dict[int, bytes] = {}
        wanted = iter(positions)
        target = next(wanted, None)
        if target is not None and self._can_jump and target - self._position >= SEEK_PACKETS:
            self._jump(target)
        while target is not None:
            packet = next(self._packets, None)
            if packet is None:
                break
            if self._position == target:
                found[target] = data = bytes(packet)
                self._check(data, target)
                target = next(wanted, None)
            self._position += 1
        return found

    def _check(self, data: bytes, position: int) -> None:
        if self._pairs is not None:
            self._pairs.is_second(data)
        is_field = self._pairs is not None and self._pairs.found
        if is_field or (self._count is not None and self._count(data) != 1):
            raise UnevenPacketError(f"packet {position} holds more or less than one picture")
        is_key = bool(self._index.packets.is_key[position])
        if self._headers is not None and self._headers.change(data, is_key):
            raise UnevenPacketError(f"packet {position} states another size, or other parameters")

    def _jump(self, target: int) -> None:
        pts = int(self._index.packets.pts[target])
        try:
            self._container.seek(pts, stream=self._stream, backward=True)
            packets = self._demux()
            for count, packet in enumerate(packets):
                if packet.pts == pts and packet.is_keyframe:
                    self._packets, self._position = chain([packet], packets), target
                    return
                if count > 2 * SEEK_PACKETS:
                    break
        except av.error.FFmpegError:
            pass
        rewind(self._container)
        self._packets, self._position, self._can_jump = self._demux(), 0, False

    def _demux(self) -> Iterator[Any]:
        with contextlib.suppress(av.error.FFmpegError):  # what comes behind it is not there for who asks
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        raise_failure(self._container)
