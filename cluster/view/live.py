"""A result folder as it is now, for a server of pages: its document, its stills and its files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from framemill.cluster.editing.source_pictures import find_file
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.document import choose_sources, plan_document, shown_sources
from framemill.cluster.view.source_rows import SourceRows
from framemill.cluster.view.stills import Box, Stills, Wanted
from framemill.errors import DatasetError

# So many stills are made at once, since those that follow each other in a file cost one reading of it.
GROUP = 16
MAX_GROUPS = 256
_ATTEMPTS = 5  # a compaction may replace parts while they are read


class LiveFolder:
    """Answers for one result folder; any thread may ask."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._lock = threading.Lock()
        self._pictures_lock = threading.Lock()
        self._sequence = -1
        self._document: dict[str, Any] = {}
        self._playable: frozenset[str] = frozenset()
        self._wanted: dict[str, list[Wanted]] = {}
        self._made: OrderedDict[tuple[Wanted, ...], Mapping[Wanted, bytes | None]] = OrderedDict()

    def sequence(self) -> int:
        """Position of the newest commit in the log; it grows while a run is at work."""
        with self._lock:
            self._dataset.reload()
            return self._dataset.state.sequence

    def document(self) -> dict[str, Any]:
        """What `plan_document` says, with `sequence`, addresses of files, and `pictures`: one of each still.

        Raises:
            DatasetError: a table cannot be read.
        """
        with self._lock:
            for attempt in range(_ATTEMPTS):
                self._dataset.reload()
                if self._dataset.state.sequence == self._sequence:
                    break
                try:
                    self._plan()
                except DatasetError:
                    if attempt + 1 == _ATTEMPTS:
                        raise
            return self._document

    def _plan(self) -> None:
        sequence = self._dataset.state.sequence
        sources = choose_sources(self._dataset, SourceRows(self._dataset))
        stills = Stills(self._dataset)
        rows = SourceRows(self._dataset, sources)
        document = plan_document(self._dataset, stills, rows, sources)
        playable = frozenset(file["id"] for file in document["files"] if file["url"])
        for file in document["files"]:
            file["url"] = file["url"] and f"media/{file['id']}"
        wanted: dict[str, list[Wanted]] = {}
        for one in stills.wanted():
            wanted.setdefault(one.source_id, []).append(one)
        for own in wanted.values():
            own.sort(key=lambda one: (one.frame_index, one.box or ()))
        left_out = len(shown_sources(self._dataset)) - len(sources)
        document["notices"] = (
            [f"{left_out} more files are in the folder than a page has room for."] if left_out else []
        )
        document["pictures"] = [_address(one) for one in stills.wanted()]
        document["sequence"] = sequence
        self._document, self._playable, self._wanted = document, playable, wanted
        self._sequence = sequence

    def media(self, source_id: str) -> str:
        """Path of a source that browsers play; "" where there is none, or it is not there any more."""
        with self._lock:
            if source_id not in self._playable:
                return ""
            path, problem = find_file(self._dataset, uris_by_source(self._dataset)[source_id])
            return "" if problem else path

    def still(self, source_id: str, frame_index: int, box: Box | None = None) -> bytes | None:
        """A picture that the document names, as WebP; None for any other, and where it cannot be had."""
        one = Wanted(source_id, frame_index, box)
        with self._lock:
            wanted = self._wanted.get(source_id, [])
        if one not in wanted:
            return None
        first = wanted.index(one) // GROUP * GROUP
        group = tuple(wanted[first : first + GROUP])
        # One at a time: the others of a group, which a page asks for at once, find it made.
        with self._pictures_lock:
            if group not in self._made:
                stills = Stills(self._dataset)
                for each in group:
                    stills.number(each)
                pictures = stills.make(SourceRows(self._dataset, [source_id]))
                self._made[group] = dict(zip(group, pictures, strict=True))
                if len(self._made) > MAX_GROUPS:
                    self._made.popitem(last=False)
            self._made.move_to_end(group)
            return self._made[group][one]


def _address(one: Wanted) -> str:
    face = "" if one.box is None else "?" + urlencode({"face": ",".join(map(str, one.box))})
    return f"stills/{one.source_id}/{one.frame_index}{face}"
