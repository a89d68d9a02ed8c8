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
# Even a packet that repeats a picture takes more, with its entry in the container's tables.
BYTES_PER_PACKET = 4
LEAST_PACKETS = 4096
# Files of subtitles alone are held in memory whole; those of a long film take a hundredth of this.
MOST_SUBTITLE_BYTES = 16 << 20
SUBTITLE_ENDINGS = (".srt", ".vtt", ".ass", ".ssa")


def most_seconds(num_bytes: int) -> float:
    """How much sound a file of so many bytes may give, in seconds."""
    return max(LEAST_SECONDS, SECONDS_PER_BYTE * num_bytes)


def credible_seconds(declared_seconds: float, num_bytes: int) -> float:
    """Of the length that a file declares, in seconds, what its bytes can hold: what deadlines go by."""
    return min(declared_seconds, most_seconds(num_bytes))


def most_packets(num_bytes: int) -> int:
    """How many packets a file of so many bytes may give in one pass."""
    return max(LEAST_PACKETS, num_bytes // BYTES_PER_PACKET)


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
