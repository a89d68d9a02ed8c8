"""Content ids: what makes two files the same source."""

from __future__ import annotations

from blake3 import blake3

from actors.opening import require_regular_file
from models.errors import UnreadableError


def content_id(path: str) -> str:
    """BLAKE3 of all bytes of a file, as 64 hex digits.

    Raises:
        MediaError: it cannot be read, or is no regular file.
    """
    require_regular_file(path)
    try:
        # Read, not mapped: the pages of a mapped film would count as this process's memory.
        digest, buffer = blake3(), memoryview(bytearray(1 << 20))
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
        return digest.hexdigest()
    except (OSError, ValueError) as exc:
        raise UnreadableError(f"cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
