"""A decoder behind the seam of device readers that stands in for one of a GPU, faults and all."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import av
import numpy as np
import numpy.typing as npt

from framemill.actors.colour_matrices import rgb_from_samples
from framemill.actors.dali_copies import copy_pieces
from framemill.actors.dali_reader import as_shown
from framemill.actors.device_reader import Decoded, Source
from framemill.actors.device_trust import DeviceTrust
from framemill.actors.packet_track import PacketTrack
from framemill.actors.pieces import Piece
from framemill.actors.pyav_colours import plane_samples


class StandIn:
    """Decodes any codec, converts as DALI does, and counts the packets that it decoded.

    Args:
        extra_after: behind so many pictures of a piece it counts one more, as for one that is not shown.
        full_range: takes every picture for one of full range. part: frames that it gives at once.
        widens: decodes all that is coded, as DALI is had to on a GPU.
    """

    name, device = "stand-in", "gpu"

    def __init__(
        self,
        extra_after: int | None = None,
        full_range: bool = False,
        most: int = 16,
        part: int = 64,
        failing: Sequence[int] = (),
        widens: bool = False,
    ) -> None:
        self.chunk_bytes = 1 << 30
        self.trust = DeviceTrust()
        self.num_packets = 0
        self.num_pieces: list[int] = []
        self._extra_after, self._full_range, self._failing = extra_after, full_range, set(failing)
        self._most, self._part, self._widens = most, part, widens
        self.sizes: set[tuple[int, int]] = set()

    def most_frames(self, width: int, height: int) -> int:
        return self._most

    def refusal(self, source: Source, num_pieces: int) -> str:
        return ""

    def decode_pieces(self, source: Source, pieces: Sequence[Piece]) -> Iterator[Decoded]:
        packets = source.index.packets
        needed = np.zeros(len(packets.pts), bool)
        for piece in pieces:
            needed[piece.packets] = True
        self.num_pieces.append(len(pieces))
        track = PacketTrack(source.container, source.stream, source.index, needed)
        context = source.stream.codec_context
        copies = copy_pieces(track, source.stream, packets, pieces, self._widens)
        for piece, copy in zip(pieces, copies, strict=True):
            if self._failing.intersection(copy.frames.tolist()):
                yield Decoded(copy.frames, RuntimeError("CUDA_ERROR_INVALID_VALUE in the parser"))
                continue
            self.num_packets += len(piece.packets)
            with av.open(io.BytesIO(copy.content)) as container:
                told = container.streams.video[0].codec_context
                self.sizes.add((told.width, told.height))
                pictures = [kernel_rgb(frame, self._full_range) for frame in container.decode(video=0)]
            if self._extra_after is not None:
                pictures.insert(self._extra_after, pictures[0])
            found = np.stack([pictures[number] for number in copy.numbers])
            for start in range(0, len(found), self._part):
                stop = start + self._part
                part = Decoded(copy.frames[start:stop], found[start:stop])
                yield as_shown(part, context.width, context.height)


def kernel_rgb(frame: av.VideoFrame, full_range: bool = False) -> npt.NDArray[np.uint8]:
    """A frame as DALI's kernel converts it, always with the matrix of BT.601, uint8 [height, width, 3]."""
    matrix = rgb_from_samples("bt601", 8, full_range).astype(np.float32)
    luma, *colours = (plane_samples(plane, 1) for plane in frame.planes)
    full = [np.rint(_drawn(_drawn(c, 0, frame.height), 1, frame.width)) for c in colours]
    samples = np.stack([luma.astype(np.float32), *full], axis=-1)
    return np.clip(np.rint(samples @ matrix[:, :3].T + matrix[:, 3]), 0, 255).astype(np.uint8)


def _drawn(samples: npt.NDArray[np.generic], axis: int, length: int) -> npt.NDArray[np.float32]:
    """Twice as many samples along an axis, linearly around the middles of those there are."""
    at = np.clip((np.arange(length) + 0.5) / 2 - 0.5, 0, samples.shape[axis] - 1)
    low = np.floor(at).astype(int)
    first = samples.take(low, axis).astype(np.float32)
    second = samples.take(np.minimum(low + 1, samples.shape[axis] - 1), axis).astype(np.float32)
    weight = np.expand_dims((at - low).astype(np.float32), 1 - axis)
    drawn: npt.NDArray[np.float32] = first + (second - first) * weight
    return drawn
