"""Files with a position, against Python's own file of the same bytes."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from framemill.actors.positioned import PositionedFile

DATA = bytes(range(100))


class Held(PositionedFile):
    """Bytes in memory."""

    def read(self, size: int = -1) -> bytes:
        found = DATA[self.tell() :] if size < 0 else DATA[self.tell() : self.tell() + size]
        self._position += len(found)
        return found


@given(st.lists(st.tuples(st.integers(-150, 150), st.sampled_from([0, 1, 2]), st.integers(-1, 120))))
def test_seeking_and_telling_are_those_of_a_file(steps: list[tuple[int, int, int]]) -> None:
    file, plain = Held(len(DATA)), io.BytesIO(DATA)
    assert file.readable() and file.seekable() and not file.writable()
    for offset, whence, size in steps:
        # A file refuses to go before its start from there; the demuxer that asks for it gets the start.
        at = max(0, offset) if whence == 0 else offset
        assert file.seek(offset, whence) == plain.seek(at, whence) == file.tell()
        assert file.read(size) == plain.read(size)
        assert file.tell() == plain.tell()
