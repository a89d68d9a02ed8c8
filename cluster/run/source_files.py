"""One input of a run, and what is taken for media."""

from __future__ import annotations

import os
from dataclasses import dataclass

from framemill.errors import UsageError

# Files in folders with these endings are taken for media; others only when their first bytes say so.
MEDIA_EXTENSIONS = frozenset((
    "3g2", "3gp", "aac", "ac3", "aif", "aiff", "amr", "ape", "apng", "asf", "au", "av1", "avi", "caf",
    "divx", "dv", "eac3", "f4v", "flac", "flv", "gif", "gxf", "h264", "h265", "hevc", "ivf", "m2ts",
    "m2v", "m4a", "m4b", "m4v", "mjpeg", "mjpg", "mka", "mkv", "mov", "mp2", "mp3", "mp4", "mpa", "mpeg",
    "mpg", "mpv", "mts", "mxf", "nut", "obu", "oga", "ogg", "ogm", "ogv", "opus", "qt", "rm", "rmvb",
    "ts", "tta", "vob", "w64", "wav", "webm", "wma", "wmv", "wtv", "wv",
))  # fmt: skip
# Endings that source code has too: there the first bytes decide.
AMBIGUOUS_EXTENSIONS = frozenset(["ts", "mts"])

HEAD_BYTES = 192
# (offset, bytes) of containers that often travel without an ending.
_SIGNATURES = (
    (4, b"ftyp"),
    (0, b"\x1aE\xdf\xa3"),  # Matroska, WebM
    (8, b"AVI "),
    (8, b"WAVE"),
    (0, b"OggS"),
    (0, b"fLaC"),
    (0, b"ID3"),
    (0, b"FLV\x01"),
    (0, b"GIF8"),
    (0, b"\x00\x00\x01\xba"),  # MPEG program stream
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input.

    Attributes:
        uri: absolute path as text (`sources.uri_of`), or an address.
        path: absolute path to open, or the address.
        num_bytes, mtime_ns: as the storage tells; -1 where the file cannot be looked at.
        content_id: what an object store tells of the content; empty for a local file, which must be read.
    """

    uri: str
    path: str
    num_bytes: int
    mtime_ns: int
    content_id: str = ""

    @property
    def path_bytes(self) -> bytes:
        """The path as the file system has it, which may be no UTF-8."""
        return os.fsencode(self.path)


def inside_output(source: str, output: object) -> UsageError:
    """What to raise where a source that a person names is in the folder where results are to lie."""
    place = "is the output folder itself" if source == str(output) else f"lies in the output folder {output}"
    return UsageError(
        f"the source {source} {place}, and files there are never inputs, or results would be taken for "
        f"sources: name an output folder beside them, such as {output}-tables"
    )


def looks_like_media(head: bytes, is_ambiguous: bool) -> bool:
    """Whether a file is media by its first bytes.

    Args:
        head: the first HEAD_BYTES of it.
        is_ambiguous: whether its ending is that of media and of text.
    """
    if is_ambiguous:
        return not head or not _is_text(head)
    # MPEG transport streams: a sync byte at the start of each packet of 188 bytes.
    is_ts = len(head) > 188 and head[0] == 0x47 and head[188] == 0x47
    return is_ts or any(head[at : at + len(magic)] == magic for at, magic in _SIGNATURES)


def _is_text(head: bytes) -> bool:
    # Four bytes less: the last character may be cut off.
    return b"\0" not in head and head[:-4].decode("utf-8", "ignore").encode() == head[:-4]
