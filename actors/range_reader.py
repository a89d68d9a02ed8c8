"""A media file in an object store, read in ranges: FFmpeg sees a file, and only what it needs is fetched."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from framemill.actors.object_store import open_store, parse_uri, reading_object, stat_object
from framemill.actors.positioned import PositionedFile
from framemill.errors import UnreadableError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from framemill.ops.chunks import BoolArray

BLOCK_BYTES = 64 << 10
# What one look fetches at most: enough that a request's delay (some 30 ms) is small beside its transfer.
AHEAD_BYTES = 8 << 20
# Blocks that stay in memory, of all files together: a file is opened for its index and again to be read.
CACHE_BYTES = 128 << 20
# Needless stretches shorter than this are fetched: a request of its own would cost more.
LEAST_GAP_BYTES = 2 * BLOCK_BYTES
# Of these the demuxer hands out packets as the tables of an MP4 list them, whatever is in them (measured).
_NARROWED = frozenset(("h264", "hevc", "av1", "libdav1d", "libaom-av1", "mpeg4", "vp9", "libvpx-vp9"))
# Where the table of key frames is sparser than this, the stream may hold others that only its bytes reveal.
_LONGEST_GROUP_SECONDS = 30.0

_requests = ThreadPoolExecutor(16, thread_name_prefix="object")


class _BlockCache:
    """Blocks read lately, by (uri, entity tag, number); the least recently used go first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._cached: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, int]) -> bytes | None:
        with self._lock:
            if key in self._cached:
                self._cached.move_to_end(key)
            return self._cached.get(key)

    def put(self, key: tuple[str, str, int], block: bytes) -> None:
        with self._lock:
            self._num_bytes += len(block) - len(self._cached.pop(key, b""))
            self._cached[key] = block
            while self._num_bytes > self._limit:
                self._num_bytes -= len(self._cached.popitem(last=False)[1])


_blocks = _BlockCache(CACHE_BYTES)


class RangeReader(PositionedFile):
    """An object in a storage; every request names the version that was there when it was opened.

    Not for several threads at once.

    Attributes:
        uri: its address. name: the last part of it. num_bytes: size of the object.
        failure: why reading went wrong, once it has.

    Raises:
        UnreadableError: it cannot be read, or was changed meanwhile.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.failure: UnreadableError | None = None
        num_bytes, self._tag = stat_object(uri)
        super().__init__(num_bytes)
        address = parse_uri(uri)
        self._store, self._key = open_store(address.scheme, address.bucket), address.key
        self.name = self._key.rpartition("/")[2]  # FFmpeg looks at endings where first bytes are ambiguous
        self._num_blocks = -(-self.num_bytes // BLOCK_BYTES)
        self._gaps: list[tuple[int, int]] = []
        self._ahead: list[int] | None = None
        self._window = 1
        self._next_block = 0
        self._last: tuple[int, bytes] = (-1, b"")

    def skip(self, gaps: Sequence[tuple[int, int]], ahead: Sequence[int] | None = None) -> None:
        """From now on these stretches read as zeros and are not fetched.

        Args:
            gaps: sorted [start, end) in bytes, without overlap.
            ahead: numbers of the blocks that will be read, sorted; None where that is not known.
        """
        self._gaps = list(gaps)
        self._ahead = None if ahead is None else list(ahead)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; fewer where a block or a gap ends, none at the end or after a failure."""
        if self.failure is not None:
            return b""
        start = self._position
        end = self.num_bytes if size < 0 else min(self.num_bytes, start + size)
        if start >= end:
            return b""
        at = bisect_right(self._gaps, (start, self.num_bytes)) - 1
        if at >= 0 and start < self._gaps[at][1]:
            end = min(end, self._gaps[at][1])
            data = bytes(end - start)
        else:
            if at + 1 < len(self._gaps):
                end = min(end, self._gaps[at + 1][0])
            number = start // BLOCK_BYTES
            first = number * BLOCK_BYTES
            data = self._block(number, end)[start - first : end - first]
        self._position += len(data)
        return data

    def _block(self, number: int, end: int) -> bytes:
        if self._last[0] == number:
            return self._last[1]
        block = _blocks.get((self.uri, self._tag, number))
        if block is None:
            try:
                block = self._fetch(number)
            except UnreadableError as error:
                # FFmpeg takes an error half-way through a packet for the end of the file.
                self.failure = error
                raise
        self._last = (number, block)
        return block

    def _fetch(self, number: int) -> bytes:
        """Gets a block, and others that will be needed soon."""
        most = AHEAD_BYTES // BLOCK_BYTES
        at = -1 if self._ahead is None else bisect_right(self._ahead, number) - 1
        if self._ahead is not None and at >= 0 and self._ahead[at] == number:
            numbers = self._ahead[at : at + most]
        else:
            # Read on in a row, and more is fetched each time; after a jump, little again.
            self._window = min(most, 2 * self._window) if number == self._next_block else 1
            last = min(number + self._window, self._num_blocks)
            numbers = list(range(number, self._before_gap(number, last)))
        wanted = [n for n in numbers if n == number or _blocks.get((self.uri, self._tag, n)) is None]
        runs = np.split(np.array(wanted), np.flatnonzero(np.diff(wanted) > 1) + 1)
        with reading_object(self.uri):
            fetched = [_requests.submit(self._get, int(run[0]), int(run[-1]) + 1) for run in runs]
            pieces = [future.result() for future in fetched]
        self._next_block = wanted[-1] + 1
        found = b""
        for run, piece in zip(runs, pieces, strict=True):
            for i, n in enumerate(run.tolist()):
                block = piece[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES]
                _blocks.put((self.uri, self._tag, n), block)
                if n == number:
                    found = block
        return found

    def _before_gap(self, number: int, last: int) -> int:
        """`last`, or the block in which the next gap starts."""
        at = bisect_right(self._gaps, (number * BLOCK_BYTES, self.num_bytes))
        if at < len(self._gaps):
            last = min(last, -(-self._gaps[at][0] // BLOCK_BYTES))
        return max(last, number + 1)

    def _get(self, start: int, end: int) -> bytes:
        span = (start * BLOCK_BYTES, min(end * BLOCK_BYTES, self.num_bytes))
        options: dict[str, Any] = {"range": span}
        if self._tag:
            options["if_match"] = self._tag
        data = bytes(self._store.get(self._key, options=options).bytes())
        if len(data) != span[1] - span[0]:
            raise OSError("the storage gave fewer bytes than asked for")
        return data


def range_reader_of(container: InputContainer) -> RangeReader | None:
    """The object behind a container; None for a local file."""
    opened = getattr(container.file, "file", None)
    opened = getattr(opened, "source", opened)  # of joined files, what they lie in
    return opened if isinstance(opened, RangeReader) else None


def raise_failure(container: InputContainer) -> None:
    """Raises what FFmpeg took for the end of the file; nothing for a local file."""
    file = range_reader_of(container)
    if file is not None and file.failure is not None:
        raise file.failure


def skip_all_but_keys(container: InputContainer, stream: VideoStream, num_keys: int) -> BoolArray | None:
    """Before a pass over the packets of an MP4 in an object store: none but the first keys are fetched.

    Returns:
        bool [n], which packets with data are key frames by the tables of the file: packets
        that are left out carry no such mark. None where everything is read.
    """
    entries = _entries(container, stream)
    if entries is None or not len(entries):
        return None
    is_key = entries[:, 2].astype(bool)
    keys = np.flatnonzero(is_key)
    times = np.append(entries[keys, 3], entries[-1, 3]) * float(stream.time_base or 0)
    if not len(keys) or keys[0] != 0 or np.diff(times).max(initial=0.0) > _LONGEST_GROUP_SECONDS:
        return None
    needed = np.zeros(len(entries), bool)
    needed[keys[:num_keys]] = True
    file = range_reader_of(container)
    assert file is not None
    file.skip(_gaps([entries[~needed], *_others(container, [stream])]))
    return is_key


def skip_unneeded(
    container: InputContainer, stream: VideoStream, needed: BoolArray, others: Sequence[Any] = ()
) -> None:
    """Before reading an MP4 in an object store: packets that are not decoded are not fetched.

    Args:
        stream: the picture track.
        needed: bool [n], for its packets with data in the order of the file.
        others: further tracks that are read whole.
    """
    entries = _entries(container, stream)
    if entries is None or len(entries) != len(needed):
        return
    wanted = [entries[needed, :2]] + [_table(other)[:, :2] for other in others]
    spans = np.concatenate(wanted)
    starts, ends = spans[:, 0] // BLOCK_BYTES, -(-(spans[:, 0] + spans[:, 1]) // BLOCK_BYTES)
    blocks = sorted({n for a, b in zip(starts.tolist(), ends.tolist(), strict=True) for n in range(a, b)})
    file = range_reader_of(container)
    assert file is not None
    file.skip(_gaps([entries[~needed], *_others(container, [stream, *others])]), blocks)


def _entries(container: InputContainer, stream: VideoStream) -> np.ndarray | None:
    """int64 [n, 4]: position, size, whether key, time of decoding; None where packets must all be read."""
    file = range_reader_of(container)
    if file is None or not container.format.name.startswith("mov"):
        return None
    if stream.codec_context is None or stream.codec_context.name not in _NARROWED:
        return None
    return _table(stream)


def _others(container: InputContainer, wanted: Sequence[Any]) -> list[np.ndarray]:
    """The packets of tracks that nobody reads, which lie between those of the others."""
    indices = {stream.index for stream in wanted}
    return [_table(stream) for stream in container.streams if stream.index not in indices]


def _table(stream: Any) -> np.ndarray:
    rows = [(e.pos, e.size, e.is_keyframe, e.timestamp) for e in stream.index_entries if e.size]
    return np.array(rows, np.int64).reshape(-1, 4)


def _gaps(unneeded: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Stretches that hold nothing but packets that are not needed: never a box of the container."""
    joined: list[tuple[int, int]] = []
    for start, size in sorted((row[0], row[1]) for table in unneeded for row in table.tolist()):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], start + size))
        else:
            joined.append((start, start + size))
    return [gap for gap in joined if gap[1] - gap[0] >= LEAST_GAP_BYTES]
