"""One input of a run, and what is taken for media."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sys import intern
from typing import overload

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


class SourceFiles(Sequence[SourceFile]):
    """Inputs, each once, in the order found: columns, from which a `SourceFile` is made when it is asked for.

    A million take 0.15 GB, where a tuple of objects takes 0.4.
    """

    def __init__(self, files: Iterable[SourceFile] = ()) -> None:
        self._uris: list[str] = []
        self._known: set[str] = set()
        self._paths: dict[int, str] = {}  # of those whose uri is another text
        self._sizes, self._times = array("q"), array("q")
        self._ids = bytearray()
        # Places by the hash of their uri, which takes a fifth of a dict.
        self._hashes, self._order = array("q"), array("I")
        for file in files:
            self.add(file)

    def add(self, file: SourceFile) -> None:
        """Appends a file, unless one of this uri is there."""
        if file.uri in self._known:
            return
        place, uri = len(self._uris), intern(file.uri)  # as the commit log holds it
        self._known.add(uri)
        self._uris.append(uri)
        self._sizes.append(file.num_bytes)
        self._times.append(file.mtime_ns)
        if file.path != file.uri:
            self._paths[place] = file.path
        if file.content_id:
            # Of files before it that have none, and of local ones among objects, zeros stand for none.
            self._ids.extend(bytes(_ID_BYTES * place - len(self._ids)) + bytes.fromhex(file.content_id))

    def close(self) -> None:
        """All are there: what kept each from being added twice can go."""
        self._known = set()
        self._order = array("I", sorted(range(len(self)), key=lambda place: hash(self._uris[place])))
        self._hashes = array("q", (hash(self._uris[place]) for place in self._order))

    def place(self, uri: str) -> int:
        """Where the file of a uri stands, once all are there; KeyError where it is none of these."""
        at = bisect_left(self._hashes, hash(uri))
        for place in self._order[at : at + _SAME_HASH]:
            if self._uris[place] == uri:
                return place
        raise KeyError(uri)

    def num_bytes(self, place: int) -> int:
        """`SourceFile.num_bytes` of the file at a place."""
        return self._sizes[place]

    def places_by_uri(self) -> list[int]:
        """All places, in the order of the uris."""
        return sorted(range(len(self)), key=self._uris.__getitem__)

    def has(self, uri: str) -> bool:
        """Whether a file of this uri was added."""
        return uri in self._known

    def __len__(self) -> int:
        return len(self._uris)

    @overload
    def __getitem__(self, place: int) -> SourceFile: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[SourceFile]: ...
    def __getitem__(self, place: int | slice) -> SourceFile | Sequence[SourceFile]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        uri = self._uris[place]
        content_id = self._ids[_ID_BYTES * place : _ID_BYTES * (place + 1)]
        return SourceFile(
            uri,
            self._paths.get(place, uri),
            self._sizes[place],
            self._times[place],
            content_id.hex() if any(content_id) else "",
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows


_ID_BYTES = 32
# Texts that share a hash of 64 bits; of a million, two do once in 37 million listings.
_SAME_HASH = 8


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
