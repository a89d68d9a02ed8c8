"""What became of the sources of a run, added up, so that a source that is through needs no object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from framemill.cluster.results.commits import OWNED_BY_URI, WHOLE_SOURCE
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.status import UNKNOWN
from framemill.cluster.run.jobs import Job, JobFailure

MOST_ERRORS = 20


@dataclass(slots=True)
class Tally:
    """Sources that are through with a run.

    Attributes:
        rows: operation -> rows committed.
        num_files: how many they are. media_seconds: length of all.
        num_committed: of them, those whose rows are committed. num_good: of those, without any failure.
        num_bad: with a failure, or with incomplete rows that stay; of those,
        num_partial: nothing else is wrong. num_unusable: no rows. num_failed: some operation gave nothing.
        partial_kinds: what partial ones lack -> how many.
        errors: of the first bad ones in the order of the sources: place, uri, failures.
        num_copies: another source of the run spoke for their content.
        perhaps_copies: content ids of good ones that had no more than rows by uri to be made.
        decoders: who decoded frames, where a device could have -> uris.
        sampled: frames that adaptive sampling took, of each where it ran.
    """

    rows: Counter[str] = field(default_factory=Counter)
    num_files: int = 0
    media_seconds: float = 0.0
    num_committed: int = 0
    num_good: int = 0
    num_bad: int = 0
    num_partial: int = 0
    num_unusable: int = 0
    num_failed: int = 0
    partial_kinds: Counter[str] = field(default_factory=Counter)
    errors: list[tuple[int, str, list[JobFailure]]] = field(default_factory=list)
    num_copies: int = 0
    perhaps_copies: list[str] = field(default_factory=list)
    decoders: dict[str, list[str]] = field(default_factory=dict)
    sampled: Counter[int] = field(default_factory=Counter)

    def add(self, job: Job, place: int, dataset: Dataset | None = None) -> None:
        """Takes one more; `place` is that of its file among the sources."""
        self.media_seconds += job.duration_seconds
        is_committed = job.state == "committed"
        self.num_files += 1
        if is_committed:
            self.num_committed += 1
            self.rows.update(job.rows)
            self.sampled[job.rows.get("sampling", 0)] += 1
        for decoder in job.decoders:
            self.decoders.setdefault(decoder, []).append(job.file.uri)
        if job.failures or job.keeps_partial:
            self._add_bad(job, place, dataset)
        elif is_committed:
            self.num_good += 1
            self.num_copies += job.is_duplicate
            if not job.is_duplicate and OWNED_BY_URI.issuperset(job.todo):
                self.perhaps_copies.append(job.source_id)

    def _add_bad(self, job: Job, place: int, dataset: Dataset | None) -> None:
        self.num_bad += 1
        self.num_unusable += not job.is_usable
        self.num_failed += job.is_failed
        if not job.is_failed:
            self.num_partial += 1
            found = next((failure.kind for failure in job.failures if failure.operation == WHOLE_SOURCE), "")
            self.partial_kinds[found or kind_of(job, dataset)] += 1
        if job.failures:
            self.errors.append((place, job.file.uri, list(job.failures)))
            if len(self.errors) > MOST_ERRORS:
                self.errors.sort(key=lambda error: error[0])
                self.errors.pop()

    def plus(self, jobs: Iterable[tuple[int, Job]], dataset: Dataset | None = None) -> Tally:
        """The same with some more, which may go on."""
        both = replace(
            self,
            rows=self.rows.copy(),
            partial_kinds=self.partial_kinds.copy(),
            errors=list(self.errors),
            perhaps_copies=list(self.perhaps_copies),
            decoders={decoder: list(uris) for decoder, uris in self.decoders.items()},
            sampled=self.sampled.copy(),
        )
        for place, job in jobs:
            both.add(job, place, dataset)
        both.errors.sort(key=lambda error: error[0])
        return both


def kind_of(job: Job, dataset: Dataset | None) -> str:
    """What a partial source lacks by what is committed of it."""
    entry = dataset.state.entries.get((WHOLE_SOURCE, job.owner)) if dataset is not None else None
    return (entry.kind if entry is not None else "") or UNKNOWN
