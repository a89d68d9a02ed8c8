"""Files that are read from a position and have a known length, wherever their bytes come from."""

from __future__ import annotations

import io


class PositionedFile(io.RawIOBase):
    """A file for reading; where its bytes come from is the `read` of its subclasses.

    Attributes:
        num_bytes: its length.
    """

    def __init__(self, num_bytes: int) -> None:
        super().__init__()
        self.num_bytes = num_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to `offset` from the start, the position or the end, and no further back than the start."""
        self._position = max(0, (0, self._position, self.num_bytes)[whence] + offset)
        return self._position
