"""What files of an export are called, and where they go."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from framemill.actors.object_store import is_remote
from framemill.cluster.run.sources import path_of
from framemill.errors import UsageError

_NAME_LENGTH = 80  # letters; of 255 bytes, with room for what ends a name
_NAME_BYTES = 200
_ID_DIGITS = 8
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


@dataclass(frozen=True, slots=True)
class Exported:
    """One file that was written, and of which source; notes: what a user has to know of it."""

    source_id: str
    uri: str
    path: str
    notes: tuple[str, ...] = ()


def stems_of(
    uris: Mapping[str, str],
    name: str,
    beside: bool = False,
    as_it_is: bool = False,
    endings: Mapping[str, Collection[str]] | None = None,
) -> dict[str, str]:
    """What names of files begin with: source id -> a name that no other source has, whatever its case.

    Args:
        uris: source id -> where its file lies.
        name: of the files without their ending; `{stem}` stands for the source's own name, `{id}` for the
            first 8 digits of its content id, which is added where two sources would share a name.
        beside: whether files go next to their sources, so that only names in one folder clash.
        as_it_is: whether a source's own name stays as players compare it, spaces and all.
        endings: source id -> what stands behind it in each of its files, where files of several sources may
            begin alike and yet differ; None: they must not.

    Raises:
        UsageError: `name` is wrong.
    """
    stems = {}
    for source_id, uri in uris.items():
        try:
            stems[source_id] = _for_here(name.format(stem=_own_stem(uri, as_it_is), id=source_id[:8]))
        except (KeyError, IndexError, ValueError, AttributeError) as exc:
            raise UsageError(f"`name={name!r}`: only {{stem}} and {{id}} can stand in it ({exc})") from exc
        if not re.fullmatch(r"[^/\\\0]+", stems[source_id]) or stems[source_id].startswith("."):
            raise UsageError(f"`name={name!r}` makes {stems[source_id]!r}, which is no name for a file")
    owners: dict[tuple[str, str], set[str]] = {}
    for key, stem in stems.items():
        folder = str(PurePosixPath(uris[key]).parent) if beside else ""
        for ending in endings.get(key, ()) if endings is not None else ("",):
            owners.setdefault((folder, f"{stem}{ending}".lower()), set()).add(key)
    clashing = {key for keys in owners.values() if len(keys) > 1 for key in keys}
    digits = _ID_DIGITS
    while len({key[:digits] for key in clashing}) < len(clashing):
        digits += 1
    return {key: f"{stem}-{key[:digits]}" if key in clashing else stem for key, stem in stems.items()}


def _own_stem(uri: str, as_it_is: bool) -> str:
    """The name of a file without its ending, and without what could harm where it is written."""
    stem = PurePosixPath(uri).stem
    if not as_it_is:
        # Only what has no meaning to a shell, a player or a path stays of a name that others gave.
        return re.sub(r"[^\w.-]+", "_", stem)[:_NAME_LENGTH].lstrip(".-") or "file"
    # What moves a cursor, hides, or turns the direction of what is shown; Windows parts folders by \\.
    plain = "".join("_" if unicodedata.category(c) in _UNSEEN or c == "\\" else c for c in stem)
    return plain.encode()[:_NAME_BYTES].decode(errors="ignore").lstrip(".") or "file"


def _for_here(stem: str) -> str:
    """A name without letters that no file can have in this locale, as all but ASCII's in C."""
    try:
        os.fsencode(stem)
        return stem
    except UnicodeEncodeError as exc:
        return _for_here(stem[: exc.start] + "_" * (exc.end - exc.start) + stem[exc.end :])


def folder_beside(uri: str) -> Path:
    """The folder of a source.

    Raises:
        UsageError: it is none, or cannot be written.
    """
    if is_remote(uri):
        raise UsageError(f"{uri} lies in an object store, and files go into folders: name one")
    folder = Path(path_of(uri)).parent
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}, the folder of {Path(uri).name}, cannot be written: name another one")
    return folder
