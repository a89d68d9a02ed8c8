"""Content ids: what makes two files the same source.

Of a local file it is the digest of its bytes. An object is not read for it: an hour of film would be fetched
whole for the sake of a few key frames. It is known by its address, size and entity tag, which the store
changes with each writing; so a copy under another name is another source there.
"""

from __future__ import annotations

import os

from blake3 import blake3

from framemill.actors.object_store import is_remote, stat_object
from framemill.actors.safe_open import require_regular_file
from framemill.errors import LimitError, UnreadableError

# A file that is refused by its header is not read for its content id where it is longer than this.
LEAST_LONG_BYTES = 1 << 30
# What is missing in a sparse file reads as zeros, as fast as memory: a terabyte still takes ten minutes.
MOST_HOLE_BYTES = 64 << 30


def content_id(path: str) -> str:
    """BLAKE3 of all bytes of a file, or of what stands for those of an object; 64 hex digits.

    Raises:
        MediaError: it cannot be read, is no regular file, or is mostly a hole.
    """
    if is_remote(path):
        return object_id(path, *stat_object(path))
    require_regular_file(path)
    num_bytes = _checked_size(path)
    try:
        # Read, not mapped: the pages of a mapped film would count as this process's memory.
        digest, buffer = blake3(), memoryview(bytearray(1 << 20))
        with open(path, "rb", buffering=0) as file:
            # No further than its size: what the kernel makes up (/proc) has none, and may never end.
            while num_bytes > 0 and (count := file.readinto(buffer[:num_bytes])):
                digest.update(buffer[:count])
                num_bytes -= count
        return digest.hexdigest()
    except (OSError, ValueError) as exc:
        raise UnreadableError(f"cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc


def refused_id(uri: str, path: str) -> str:
    """Content id of a file whose header is refused: a long one is known by address, size and time.

    Raises:
        MediaError: it cannot be read, or is no regular file.
    """
    if not is_remote(path):
        require_regular_file(path)
        info = os.stat(path)
        if info.st_size > LEAST_LONG_BYTES:
            return object_id(uri, info.st_size, str(info.st_mtime_ns))
    return content_id(path)


def version_of(path: str) -> tuple[int, ...]:
    """Size in bytes and time of writing in nanoseconds of a file that is there; nothing for an object."""
    try:
        info = None if is_remote(path) else os.stat(path)
    except (OSError, ValueError):
        return ()  # whoever opens it says why
    return (info.st_size, info.st_mtime_ns) if info is not None else ()


def require_version(path: str, version: tuple[int, ...]) -> None:
    """Raises UnreadableError where a file that had a version has another now: it is of another content."""
    if version and version_of(path) != version:
        raise UnreadableError(
            f"was written to or replaced while it was read (it had {version[0]} bytes): the next run reads "
            "it anew, once whatever writes it is done"
        )


def _checked_size(path: str) -> int:
    info = os.stat(path)
    hole = info.st_size - getattr(info, "st_blocks", info.st_size) * 512
    if hole > MOST_HOLE_BYTES:
        raise LimitError(
            f"{hole} of its {info.st_size} bytes were never written (a sparse file), where at most "
            f"{MOST_HOLE_BYTES} are read: finish its download, or cut it to its real length"
        )
    return info.st_size


def object_id(uri: str, num_bytes: int, version: str) -> str:
    """What stands for the content of an object without reading it, as 64 hex digits.

    Args:
        version: the entity tag, which a store changes with each writing.
    """
    return blake3(f"object\0{uri}\0{num_bytes}\0{version}".encode()).hexdigest()
