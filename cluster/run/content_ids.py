"""Content ids: what makes two files the same source.

Of a local file it is the digest of its bytes. An object is not read for it: an hour of film would be fetched
whole for the sake of a few key frames. It is known by its address, size and entity tag, which the store
changes with each writing; so a copy under another name is another source there.
"""

from __future__ import annotations

from blake3 import blake3

from framemill.actors.object_store import is_remote, stat_object
from framemill.actors.safe_open import require_regular_file
from framemill.errors import UnreadableError


def content_id(path: str) -> str:
    """BLAKE3 of all bytes of a file, or of what stands for those of an object; 64 hex digits.

    Raises:
        MediaError: it cannot be read, or is no regular file.
    """
    if is_remote(path):
        return object_id(path, *stat_object(path))
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


def object_id(uri: str, num_bytes: int, version: str) -> str:
    """What stands for the content of an object without reading it, as 64 hex digits.

    Args:
        version: the entity tag, which a store changes with each writing.
    """
    return blake3(f"object\0{uri}\0{num_bytes}\0{version}".encode()).hexdigest()
