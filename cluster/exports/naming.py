"""What files of an export are called, and where they go."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from framemill.actors.object_store import is_remote
from framemill.errors import UsageError

_NAME_LENGTH = 80  # letters; of 255 bytes, with room for what ends a name


@dataclass(frozen=True, slots=True)
class Exported:
    """One file that was written, and of which source; notes: what a user has to know of it."""

    source_id: str
    uri: str
    path: str
    notes: tuple[str, ...] = ()


def stems_of(uris: Mapping[str, str], name: str, beside: bool = False) -> dict[str, str]:
    """What names of files begin with: source id -> a name that no other source has, whatever its case.

    Args:
        uris: source id -> where its file lies.
        name: of the files without their ending; `{stem}` stands for the source's own name, `{id}` for the
            first 8 digits of its content id, which is added where two sources would share a name.
        beside: whether files go next to their sources, so that only names in one folder clash.

    Raises:
        UsageError: `name` is wrong.
    """
    stems = {}
    for source_id, uri in uris.items():
        # Only what has no meaning to a shell, a player or a path stays of a name that others gave.
        plain = re.sub(r"[^\w.-]+", "_", PurePosixPath(uri).stem)[:_NAME_LENGTH].lstrip(".-") or "file"
        try:
            stems[source_id] = name.format(stem=plain, id=source_id[:8])
        except (KeyError, IndexError, ValueError, AttributeError) as exc:
            raise UsageError(f"`name={name!r}`: only {{stem}} and {{id}} can stand in it ({exc})") from exc
        if not re.fullmatch(r"[^/\\\0]+", stems[source_id]) or stems[source_id].startswith("."):
            raise UsageError(f"`name={name!r}` makes {stems[source_id]!r}, which is no name for a file")
    folders = {key: str(PurePosixPath(uri).parent) if beside else "" for key, uri in uris.items()}
    times: dict[tuple[str, str], int] = {}
    for key, stem in stems.items():
        place = folders[key], stem.lower()
        times[place] = times.get(place, 0) + 1
    return {
        key: f"{stem}-{key[:8]}" if times[folders[key], stem.lower()] > 1 else stem
        for key, stem in stems.items()
    }


def folder_beside(uri: str) -> Path:
    """The folder of a source.

    Raises:
        UsageError: it is none, or cannot be written.
    """
    if is_remote(uri):
        raise UsageError(f"{uri} lies in an object store, and files go into folders: name one")
    folder = Path(uri).parent
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}, the folder of {Path(uri).name}, cannot be written: name another one")
    return folder
