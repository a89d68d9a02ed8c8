"""What so many bytes can hold at most: no file grants itself work by what its header declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from framemill.errors import LimitError

if TYPE_CHECKING:
    from av.container import InputContainer

    from framemill.ops.chunks import Audio, NativeAudio

P = TypeVar("P")

# Of sound, the silence between packets included. The least of codecs in use is above 25 bytes a second
# (digital silence in FLAC at 8 kHz); speech codecs take 80 and more. Of a file above 40 kB `audio_levels` has
# a row a byte at most.
SECONDS_PER_BYTE = 0.1
# So much is allowed to any file: an hour of silence in a short recording is cheap, and may be meant.
LEAST_SECONDS = 4000.0
# What deadlines go by: below so many bytes a second lie still pictures and silence, which cost next to
# nothing, and what was made to cost much.
BYTES_PER_CREDIBLE_SECOND = 1000
LEAST_CREDIBLE_SECONDS = 30.0
# Even a packet that repeats a picture takes more, with its entry in the container's tables.
BYTES_PER_PACKET = 4
LEAST_PACKETS = 4096
# A week of 25 pictures a second is below; each takes some 200 bytes of memory.
MOST_PACKETS = 1 << 24
# Of decoded pictures. A black one of 8K takes an encoder some 40 bytes, which is below; a GIF takes 20 for
# one as large as its screen, with a single point in it.
PIXELS_PER_BYTE = 1 << 20
LEAST_PIXELS = 1 << 33
# Of all subtitles in a file: packets may be packed, as Matroska allows, to a thousandth of their bytes.
MOST_TEXT_BYTES = 64 << 20
# Files of subtitles alone are held in memory whole; those of a long film take a hundredth of this.
MOST_SUBTITLE_BYTES = 16 << 20
SUBTITLE_ENDINGS = (".srt", ".vtt", ".ass", ".ssa")


def most_seconds(num_bytes: int) -> float:
    """How much sound a file of so many bytes may give, in seconds."""
    return max(LEAST_SECONDS, SECONDS_PER_BYTE * num_bytes)


def credible_seconds(declared_seconds: float, num_bytes: int) -> float:
    """Of the length that a file declares, in seconds, what its bytes make credible: what deadlines go by."""
    return min(declared_seconds, max(LEAST_CREDIBLE_SECONDS, num_bytes / BYTES_PER_CREDIBLE_SECOND))


def most_packets(num_bytes: int) -> int:
    """How many packets a file of so many bytes may give in one pass."""
    return min(MOST_PACKETS, max(LEAST_PACKETS, num_bytes // BYTES_PER_PACKET))


def most_pixels(num_bytes: int) -> int:
    """How many pixels of all decoded pictures together a file of so many bytes may give."""
    return max(LEAST_PIXELS, PIXELS_PER_BYTE * num_bytes)


def size_of(container: InputContainer) -> int:
    """Length of an open file or object in bytes."""
    from framemill.actors.range_reader import (
        range_reader_of,  # supervisors, who open nothing, import this module
    )

    remote = range_reader_of(container)
    return container.size if remote is None else remote.num_bytes


def check_packets(count: int, num_bytes: int) -> None:
    """Refuses more packets than so many bytes can hold.

    Raises:
        LimitError: there are more.
    """
    most = most_packets(num_bytes)
    if count > most:
        raise LimitError(
            f"{count} packets or more in a file of {num_bytes} bytes, where at most {most} are read: its "
            "tables name the same bytes again and again; copy the streams into a new file"
        )


def count_packets(packets: Iterable[P], num_bytes: int) -> Iterator[P]:
    """The same packets, as long as they are no more than so many bytes can hold.

    Raises:
        LimitError: there are more.
    """
    most = most_packets(num_bytes)
    for count, packet in enumerate(packets, 1):
        if count > most:
            check_packets(count, num_bytes)
        yield packet


class PictureAllowance:
    """Ends the decoding of pictures that have more pixels than the bytes of their file can hold."""

    def __init__(self, num_bytes: int) -> None:
        self._num_bytes = num_bytes
        self._num_pixels = 0

    def spend(self, width: int, height: int) -> None:
        """Counts one more decoded picture.

        Raises:
            LimitError: all of them have more than is allowed.
        """
        self._num_pixels += width * height
        if self._num_pixels > (most := most_pixels(self._num_bytes)):
            raise LimitError(
                f"more than {most} pixels in the pictures of a file of {self._num_bytes} bytes, where at "
                f"most {PIXELS_PER_BYTE} a byte are decoded: scale the pictures down to what is in them"
            )


class TextAllowance:
    """Ends subtitles that unpack to more than is held."""

    def __init__(self) -> None:
        self._num_bytes = 0

    def spend(self, num_bytes: int) -> None:
        """Counts the bytes of one more packet.

        Raises:
            LimitError: all of them have more than is allowed.
        """
        self._num_bytes += num_bytes
        if self._num_bytes > MOST_TEXT_BYTES:
            raise LimitError(
                f"more than {MOST_TEXT_BYTES} bytes of subtitles in one file: take out those that are none"
            )


class SoundAllowance:
    """Ends a sound track that is longer than the bytes of its file can hold."""

    def __init__(self, num_bytes: int) -> None:
        self._num_bytes = num_bytes
        self._seconds: dict[Any, float] = {}

    def check(self, chunks: Iterable[Audio | NativeAudio]) -> Iterator[Audio | NativeAudio]:
        """The same chunks.

        Raises:
            LimitError: all chunks so far, of one kind and rate, are longer than is allowed.
        """
        most = most_seconds(self._num_bytes)
        for chunk in chunks:
            kind = (type(chunk), chunk.sample_rate)
            length = chunk.samples.shape[-1] / chunk.sample_rate
            seconds = self._seconds[kind] = self._seconds.get(kind, 0.0) + length
            if seconds > most:
                raise LimitError(
                    f"more than {most:.0f} seconds of sound in a file of {self._num_bytes} bytes, where at "
                    f"most {SECONDS_PER_BYTE} seconds a byte are read: its times or its sample rate are "
                    "broken; encode the sound anew"
                )
            yield chunk
