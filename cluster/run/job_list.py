"""The sources of a run with something to compute, of which there may be a million, and a `Job` for a few.

A job exists from when its source is begun with until its rows are committed; of those before and after, no
more is kept than their place in the listing, and sums.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.run.jobs import Job, missing_ops, remembered_id
from framemill.cluster.run.source_files import SourceFile, SourceFiles
from framemill.cluster.run.tally import Tally

if TYPE_CHECKING:
    from framemill.cluster.run.planning import OpsPlan

_CACHED, _LEFT, _LIVE, _THROUGH = range(4)


@dataclass(slots=True)
class Group:
    """Sources that no job was made for yet, and of which the same is to be computed.

    Attributes:
        ops: what is to be computed. num_files: how many they are.
        known_seconds, known_bytes: length and size of those whose length an earlier run told.
        other_bytes: size of the others.
    """

    ops: tuple[str, ...]
    num_files: int = 0
    known_seconds: float = 0.0
    known_bytes: int = 0
    other_bytes: int = 0

    def count(self, sign: int, num_bytes: int, seconds: float) -> None:
        """Puts a file in (1) or takes it out (-1)."""
        self.num_files += sign
        self.known_seconds += sign * seconds
        if seconds:
            self.known_bytes += sign * max(num_bytes, 0)
        else:
            self.other_bytes += sign * max(num_bytes, 0)


class Places:
    """Places in order, taken from both ends: a deque would hold an object for each."""

    def __init__(self, places: Iterable[int]) -> None:
        self._places = array("I", places)
        self._returned: deque[int] = deque()
        self._start = 0

    def __len__(self) -> int:
        return len(self._returned) + len(self._places) - self._start

    def __iter__(self) -> Iterator[int]:
        return chain(self._returned, islice(self._places, self._start, None))

    def first(self) -> int:
        """Takes the first one."""
        if self._returned:
            return self._returned.popleft()
        self._start += 1
        return self._places[self._start - 1]

    def last(self) -> int:
        """Takes the last one."""
        return self._places.pop() if len(self._places) > self._start else self._returned.pop()

    def add(self, place: int) -> None:
        """This one comes last."""
        self._places.append(place)

    def put_back(self, places: Iterable[int]) -> None:
        """These come first again."""
        self._returned.extendleft(reversed([*places]))

    def remove(self, place: int) -> None:
        """Takes this one."""
        del self._places[self._places.index(place, self._start)]


class Jobs:
    """The sources of a run with something to compute. Iterating gives the jobs that there are now.

    Attributes:
        tally: what became of those that are committed.
        groups: what is still to be begun with.
        num_cached: sources without anything to compute.
    """

    def __init__(self, files: SourceFiles, plan: OpsPlan, state: DatasetState, retry_failed: bool) -> None:
        self.tally = Tally()
        self.groups: list[Group] = []
        self._files = files
        self._state = state
        self._where = bytearray(len(files))
        self._group_of = array("I", bytes(4 * len(files)))
        self._live: dict[int, Job] = {}
        numbers: dict[tuple[str, ...], int] = {}
        for place, file in enumerate(files):
            source_id = remembered_id(file, state)
            ops = list(plan.ops)
            if source_id is not None:
                ops = missing_ops(Job(file, source_id), plan, state, retry_failed)
                if not ops:
                    continue
            number = numbers.setdefault(tuple(ops), len(numbers))
            if number == len(self.groups):
                self.groups.append(Group(tuple(ops)))
            self._where[place], self._group_of[place] = _LEFT, number
            self.groups[number].count(1, file.num_bytes, self._known_seconds(file, source_id))
        self._num = len(files) - self._where.count(_CACHED)
        self.num_cached = len(files) - self._num

    def __len__(self) -> int:
        """How many there are in all."""
        return self._num

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._live.values()))

    def cached(self) -> Iterator[Job]:
        """Of sources without anything to compute, as they stand: jobs that nobody does."""
        for place in range(len(self._files)) if self.num_cached else ():
            if self._where[place] == _CACHED:
                file = self._files[place]
                yield Job(file, remembered_id(file, self._state) or "")

    @property
    def ops(self) -> set[str]:
        """What is to be computed, of any."""
        return {op for group in self.groups for op in group.ops}

    @property
    def num_left(self) -> int:
        """How many are not finished yet."""
        left = sum(group.num_files for group in self.groups)
        return left + sum(job.state not in ("finished", "committed") for job in self._live.values())

    def left(self) -> array[int]:
        """Places of those that no job was made for yet, in the order of the sources."""
        return array("I", (place for place, where in enumerate(self._where) if where == _LEFT))

    def by_size(self) -> Places:
        """The same, the largest files first."""
        return Places(sorted(self.left(), key=lambda place: -self._files.num_bytes(place)))

    def file(self, place: int) -> SourceFile:
        """The file at a place."""
        return self._files[place]

    def place(self, job: Job) -> int:
        """Where the file of a job stands."""
        return self._files.place(job.file.uri)

    def begin(self, place: int) -> Job:
        """The job of a file: the one that there is, or a new one."""
        if place not in self._live:
            file = self._files[place]
            source_id = remembered_id(file, self._state)
            if self._where[place] != _LEFT:
                return Job(file, source_id or "", state="committed")
            group = self.groups[self._group_of[place]]
            group.count(-1, file.num_bytes, self._known_seconds(file, source_id))
            self._where[place] = _LIVE
            self._live[place] = Job(file, source_id or "")
        return self._live[place]

    def of(self, uri: str) -> Job:
        """The job of a uri of the run, made where there is none yet; one that is committed says so.

        Raises:
            KeyError: it is none of the run.
        """
        return self.begin(self._files.place(uri))

    def begin_left(self, most: int) -> list[Job]:
        """Jobs of so many more at most, in the order of the sources."""
        return [self.begin(place) for place in self.left()[:most]]

    def settle(self, jobs: Sequence[Job], dataset: Dataset) -> None:
        """Adds up what came of committed jobs, and forgets them."""
        for job in jobs:
            place = self.place(job)
            if self._live.pop(place, None) is not None:
                self._where[place] = _THROUGH
                self.tally.add(job, place, dataset)

    def result(self, dataset: Dataset) -> Tally:
        """What became of all that were begun with so far."""
        return self.tally.plus(self._live.items(), dataset)

    def _known_seconds(self, file: SourceFile, source_id: str | None) -> float:
        record = self._state.sources.get(file.uri) if source_id else None
        return record.duration_seconds if record is not None else 0.0
