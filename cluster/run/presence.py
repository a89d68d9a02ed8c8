"""What became of the sources that a result folder knows: there, changed, moved or gone."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from framemill.actors.object_store import is_remote
from framemill.cluster.results.commits import WHOLE_SOURCE, DatasetState
from framemill.cluster.results.packed import SourceRecord
from framemill.cluster.run.sources import paths_of, uri_of
from framemill.errors import UsageError


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that is not there any more.

    Attributes:
        uri: where it was. now_at: where its content is now, as far as known; empty where nowhere.
    """

    uri: str
    now_at: str


@dataclass(frozen=True, slots=True)
class Presence:
    """What a look at the sources of a folder found; nothing is opened, only sizes and times are compared.

    Attributes:
        missing: by uri. changed: uris of files whose size or time is another than when they were read; the
            next run looks at them.
        num_remote: objects in stores, which were not asked for and count as there.
        is_elsewhere: no file at all is there: another machine made the folder, or a disk is away.
    """

    missing: tuple[Missing, ...]
    changed: tuple[str, ...]
    num_remote: int
    is_elsewhere: bool

    @property
    def gone_uris(self) -> frozenset[str]:
        """Where there is no file any more, as far as its absence tells anything."""
        return frozenset() if self.is_elsewhere else frozenset(each.uri for each in self.missing)


def look_for_sources(state: DatasetState) -> Presence:
    """Looks whether the files that the log knows are still there."""
    present: dict[str, str] = {}
    gone: list[SourceRecord] = []
    changed = []
    num_remote = 0
    for uri, record in sorted(state.sources.items()):
        if is_remote(uri):
            num_remote += 1
            present.setdefault(record.source_id, uri)
            continue
        info = _stat(uri)
        if info is None:
            gone.append(record)
        elif (info.st_size, info.st_mtime_ns) != (record.num_bytes, record.mtime_ns):
            changed.append(uri)
            if info.st_size == record.num_bytes:  # touched, as far as can be told without reading it
                present.setdefault(record.source_id, uri)
        else:
            present.setdefault(record.source_id, uri)
    return Presence(
        missing=tuple(Missing(record.uri, present.get(record.source_id, "")) for record in gone),
        changed=tuple(changed),
        num_remote=num_remote,
        is_elsewhere=len(gone) == len(state.sources) > 0,
    )


def match_uris(state: DatasetState, names: Iterable[str]) -> frozenset[str]:
    """The uris of a folder that a person means.

    Args:
        names: paths (relative ones from the current folder) or addresses of files; folders for all that is
            known below them; globs, in which `*` also stands for slashes.

    Raises:
        UsageError: one stands for nothing that the folder knows.
    """
    ids = {record.source_id for record in state.sources.values()}
    known = set(state.sources)
    known.update(owner for table, owner in state.entries if table == WHOLE_SOURCE and owner not in ids)
    known.update(owner.partition(" ")[2] for part in state.parts_of("errors") for owner in part.owners)
    found: set[str] = set()
    for name in names:
        uri = name if is_remote(name) or name in known else uri_of(os.path.abspath(name))
        meant = {uri} & known or {each for each in known if each.startswith(uri.rstrip("/") + "/")}
        if not meant and glob.has_magic(name):
            meant = {each for each in known if fnmatchcase(each, uri)}
        if not meant:
            raise UsageError(
                f"{name}: the folder knows no such file ({uri}); `FROM sources` in `framemill sql` lists them"
            )
        found |= meant
    return frozenset(found)


def _stat(uri: str) -> os.stat_result | None:
    for path in paths_of(uri):
        try:
            return os.stat(path)
        except (OSError, ValueError):
            continue
    return None
