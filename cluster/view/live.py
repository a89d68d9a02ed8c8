"""A result folder as it is now, for a server of pages: what its tables say, its stills and its files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow.compute as pc

from framemill.cluster.corpus.names import name_person, read_names
from framemill.cluster.corpus.tags import tag_shots
from framemill.cluster.editing.source_pictures import find_file
from framemill.cluster.editing.timeline_files import reel_names
from framemill.cluster.results import layout
from framemill.cluster.results.commits import new_run_id
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset, advance_state
from framemill.cluster.results.lease import is_dead, read_holder
from framemill.cluster.view import corpus_pages
from framemill.cluster.view.boxes import boxes_between
from framemill.cluster.view.document import media_of, plan_files, playable_url
from framemill.cluster.view.first_pages import files_by_path, shots_by_path
from framemill.cluster.view.page_rows import PLAYED, file_row, shot_row, still_address
from framemill.cluster.view.shot_filters import Filter
from framemill.cluster.view.shot_index import SMALL_ROWS, ShotIndex
from framemill.cluster.view.shot_pages import ShotPages
from framemill.cluster.view.shots import ShotTables, corners
from framemill.cluster.view.similar import TABLE, nearest_frames
from framemill.cluster.view.source_rows import SourceRows
from framemill.cluster.view.stills import Box, Stills, Wanted
from framemill.errors import DatasetError

# So many stills are made at once, since those that follow each other in a file cost one reading of it.
GROUP = 16
MAX_GROUPS = 256
WRITE_SECONDS = 10.0  # that the answer to a change waits for it to be in the table
WAIT_SECONDS = 0.5  # that a question waits for the table of shots, so that small folders are answered whole
_ATTEMPTS = 5  # a compaction may replace parts while they are read

Row = dict[str, Any]
Answer = TypeVar("Answer")


class LiveFolder:
    """Answers for one result folder; any thread may ask. Close it in the end.

    Args:
        cache: where the table of shots is kept; None for the user's cache folder.
    """

    def __init__(self, dataset: Dataset, cache: Path | None = None) -> None:
        self.root = dataset.root
        self._dataset = dataset
        self._lock = threading.Lock()
        self._pictures_lock = threading.Lock()
        self._sightings: dict[str, list[Wanted]] = {}
        self._people: tuple[int, list[Row]] = (-1, [])
        self._named: tuple[int, dict[str, list[str]]] = (-1, {})
        self._reels: tuple[int, dict[str, str]] = (-1, {})
        self._made: OrderedDict[tuple[Wanted, ...], Mapping[Wanted, bytes | None]] = OrderedDict()
        self._index = ShotIndex(dataset.root, cache)
        self._pages = ShotPages(self._index, str(dataset.root))

    def close(self) -> None:
        """Lets the table of shots go."""
        self._index.close()

    def _now(self) -> Dataset:
        """The folder at its newest commit, which stays as it is while it is read."""
        with self._lock:
            with layout.storage_errors(self.root, "reading"):
                self._dataset.state = advance_state(self.root, self._dataset.state)
            now = Dataset(self.root, self._dataset.constants)
            now.state = self._dataset.state
        return now

    def _uris(self, now: Dataset) -> dict[str, list[str]]:
        """Content id -> the uris that hold it; made once a commit, since a page asks for many stills."""
        sequence, uris = self._named
        if sequence != now.state.sequence:
            uris = uris_by_source(now)
            self._named = (now.state.sequence, uris)
        return uris

    def _shot_rows(self, shots: Sequence[Row]) -> list[Row]:
        """Shots as pages read them; reels are named as exporters name them, once a commit."""
        now = self._now()
        sequence, reels = self._reels
        if sequence != now.state.sequence:
            reels = reel_names(sorted(own[0] for own in self._uris(now).values()))
            self._reels = (now.state.sequence, reels)
        return [shot_row(shot, reels) for shot in shots]

    def _answer(self, ask: Callable[[Dataset], Answer]) -> Answer:
        """What is answered of the folder as it is now.

        Raises:
            DatasetError: a table cannot be read, though no commit came between.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                return ask(self._now())
            except DatasetError:
                continue
        return ask(self._now())

    def _shots(self) -> ShotPages:
        """The table of shots, as far as it is."""
        self._index.follow(self._now().state, WAIT_SECONDS)
        return self._pages

    def _is_there_soon(self) -> bool:
        """Whether the table of shots is there; of a small folder, after waiting for it.

        That of a large one is not begun yet: what can be answered without it comes first.
        """
        now = self._now()
        if sum(part.rows for part in now.state.parts.values()) <= SMALL_ROWS:
            self._index.follow(now.state, WAIT_SECONDS)
        return self._index.is_at(now.state)

    def wait(self, seconds: float) -> bool:
        """Waits for the table of shots to be that of the newest commit, and answers whether it is."""
        self._index.follow(self._now().state, seconds)
        return bool(self.progress()["ready"])

    def progress(self) -> Row:
        """How far the table of shots is."""
        return self._index.progress()

    def state(self) -> Row:
        """The folder's name, its newest commit, how far the table of shots is, and the run at work."""
        now = self._now()
        self._index.follow(now.state)
        folder = now.root / layout.SYSTEM_FOLDER
        holder = read_holder(folder) if isinstance(folder, Path) else None
        if holder is not None and is_dead(holder):
            holder = None
        told = None if holder is None else {"run": holder.run_id, "host": holder.host, "pid": holder.pid}
        title = PurePosixPath(str(now.root)).name or str(now.root)
        return {
            "title": title,
            "sequence": now.state.sequence,
            "index": self.progress(),
            "running": told,
        }

    def overview(self) -> Row:
        """The head of the page."""
        told = self._answer(corpus_pages.overview)
        counts = self._shots().facets(Filter())
        return told | {"histograms": corpus_pages.bars(counts), "index": self.progress()}

    def shots(self, wanted: Filter, sort: str, offset: int, limit: int) -> Row:
        """How many shots fit, and a page of them."""
        if wanted.is_empty() and sort == "file" and not self._is_there_soon():
            total, rows = self._answer(lambda dataset: shots_by_path(dataset, offset, limit))
        else:
            total, rows = self._shots().shots(wanted, sort, offset, limit)
        return {"total": total, "rows": self._shot_rows(rows)}

    def facets(self, wanted: Filter) -> Row:
        """Counts of the values of each facet."""
        return {"facets": self._shots().facets(wanted)}

    def files(self, wanted: Filter, offset: int, limit: int) -> Row:
        """How many files fit, and a page of them."""
        if wanted.is_empty() and not self._is_there_soon():
            total, rows = self._answer(lambda dataset: files_by_path(dataset, offset, limit))
        else:
            total, rows = self._shots().files(wanted, offset, limit)
        return {"total": total, "rows": [file_row(row) for row in rows]}

    def file(self, source_id: str) -> Row | None:
        """What `plan_files` says of one file, with addresses of its stills; None where there is none."""

        def ask(dataset: Dataset) -> Row | None:
            if source_id not in self._uris(dataset):
                return None
            rows, stills = SourceRows(dataset, [source_id]), Stills(dataset)
            media = media_of(rows)
            (file,) = plan_files(dataset, stills, rows, media, ShotTables(rows, media), [source_id])
            addresses = [still_address(one) for one in stills.wanted()]
            for shot in file["shots"]:
                shot["still"] = addresses[shot["still"]]
            return file | {"url": file["url"] and f"media/{source_id}"}

        file = self._answer(ask)
        return None if file is None else file | {"tags": self._shots().tags_of(source_id)}

    def boxes(self, source_id: str, start: float, end: float) -> Row:
        """Boxes of each sampled frame of a stretch."""
        names = self._shots().names()
        found = self._answer(lambda dataset: boxes_between(dataset, source_id, start, end, names))
        return {"frames": found}

    def similar(self, source_id: str, frame_index: int, limit: int) -> Row:
        """The shots that are most like one, each once, with `score`: cosine similarity, -1..1."""
        near = self._answer(lambda dataset: nearest_frames(dataset, source_id, frame_index))
        found = self._shots().shots_of_frames([(source, frame) for source, frame, _ in near])
        scores: dict[tuple[str, int], float] = {}
        for (_, _, score), place in zip(near, found, strict=True):
            if place is not None:
                scores.setdefault(place, score)
        # The shot that was asked with is the most like itself.
        own = self._shots().shots_of_frames([(source_id, frame_index)])[0]
        places = [place for place in scores if place != own][:limit]
        rows = self._shot_rows(self._shots().shots_by_place(places))
        return {
            "rows": [row | {"score": round(scores[row["source"], row["index"]], 4)} for row in rows],
            "table": TABLE,
        }

    def people(self) -> Row:
        """The most frequent people, with the shot of each sighting: -1 where it is in none."""
        sequence, rows = self._people
        now = self._now()
        if sequence != now.state.sequence:
            rows = self._answer(corpus_pages.people)
            seen = [one for row in rows for one in row["sightings"]]
            found = self._shots().shots_of_frames([(one["source"], one["frame"]) for one in seen])
            sightings: dict[str, list[Wanted]] = {}
            for one, place in zip(seen, found, strict=True):
                one["index"] = -1 if place is None else place[1]
                sightings.setdefault(one["source"], []).append(one.pop("wanted"))
            with self._lock:
                self._sightings = sightings
                if self.progress()["ready"]:
                    self._people = (now.state.sequence, rows)
        return {"rows": rows}

    def tags(self) -> Row:
        """Every tag and how many shots have it."""
        return {"tags": self._shots().tags()}

    def tag(self, tag: str, shots: Collection[tuple[str, int]], on: bool) -> Row:
        """Gives a tag to shots, or takes it from them; then as `tags`.

        Raises:
            UsageError: the tag cannot be one, or there is no such shot.
            LeaseError: a run is at work.
        """
        self._write(lambda dataset, run_id: tag_shots(dataset, run_id, tag, shots, on=on))
        return self.tags()

    def name_person(self, person: str, name: str) -> Row:
        """Names a person, or takes the name away; answers with the name it has now.

        Raises:
            UsageError: the name cannot be one, or there is no such person.
            LeaseError: a run is at work.
        """
        self._write(lambda dataset, run_id: name_person(dataset, run_id, person, name))
        return {"person": person, "name": self._answer(read_names).get(person, "")}

    def _write(self, change: Callable[[Dataset, str], object]) -> None:
        run_id = new_run_id()
        now = self._now()
        # Whoever looks at pages does not wait for the end of a run.
        with now.hold(run_id, wait_seconds=0):
            change(now, run_id)
        self._index.follow(self._now().state, WRITE_SECONDS)

    def duplicates(self) -> Row:
        """Groups of what is nearly identical."""
        return {"rows": self._answer(corpus_pages.duplicates)}

    def errors(self, offset: int, limit: int) -> Row:
        """What failed, and why."""
        total, rows = self._answer(lambda dataset: corpus_pages.errors(dataset, offset, limit))
        return {"total": total, "rows": rows}

    def runs(self) -> Row:
        """The runs, newest first, the models they used, and what operations cost."""
        told = self._answer(corpus_pages.overview)
        return {"rows": told["runs"], "models": told["models"], "costs": told["costs"]}

    def media(self, source_id: str) -> str:
        """Path of a source that browsers play; "" where there is none, or it is not there any more."""
        now = self._now()
        uris = self._uris(now).get(source_id)
        if uris is None:
            return ""
        media = SourceRows(now, [source_id]).by_source("media", PLAYED).get(source_id)
        if not media or not playable_url(uris[0], media[0]):
            return ""
        path, problem = find_file(now, uris)
        return "" if problem else path

    def still(self, source_id: str, frame_index: int, box: Box | None = None) -> bytes | None:
        """A frame, or a face in it, as WebP; None where there is none, and where it cannot be had."""
        one = Wanted(source_id, frame_index, box)
        with self._lock:
            made = next((made for made in self._made.values() if one in made), None)
        if made is not None:
            return made[one]
        group = self._group(one)
        if group is None:
            return None
        # One at a time: the others of a group, which a page asks for at once, find it made.
        with self._pictures_lock:
            if group not in self._made:
                now = self._now()
                stills = Stills(now)
                for each in group:
                    stills.number(each)
                pictures = stills.make(SourceRows(now, [source_id]))
                with self._lock:
                    self._made[group] = dict(zip(group, pictures, strict=True))
                    if len(self._made) > MAX_GROUPS:
                        self._made.popitem(last=False)
            return self._made[group][one]

    def _group(self, one: Wanted) -> tuple[Wanted, ...] | None:
        """The stills that are made with one, as a page asks for them together; None where it is not there."""
        if one.source_id not in self._uris(self._now()):
            return None
        if one.box is None:
            frames = self._shots().stills_of(one.source_id)
            own = [Wanted(one.source_id, frame) for frame in frames]
        else:
            with self._lock:
                own = sorted(self._sightings.get(one.source_id, ()), key=lambda each: each.frame_index)
            if one not in own and not self._answer(lambda dataset: _is_face(dataset, one)):
                return None
        if one not in own:
            return (one,)
        first = own.index(one) // GROUP * GROUP
        return tuple(own[first : first + GROUP])


def _is_face(dataset: Dataset, one: Wanted) -> bool:
    rows = SourceRows(dataset, [one.source_id]).rows(
        "faces", ["frame_index", "box"], "frame_index", pc.field("frame_index") == one.frame_index
    )
    return any(corners(row["box"]) == one.box for row in rows)
