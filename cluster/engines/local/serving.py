"""Files into tables in memory: a local run that stays open, hands rows to who asked, and commits nothing.

One worker process keeps its models from the first file to the last. What a file does to it is dealt with as
in any run: deadlines, the limit of memory, a second try alone, quarantine.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.engines.base import Setup
from framemill.cluster.engines.local.process import WorkerProcess
from framemill.cluster.engines.local.run import WRITE_SECONDS, LocalRun
from framemill.cluster.engines.run import TICK_SECONDS
from framemill.cluster.results import layout
from framemill.cluster.results.commits import OWNED_BY_URI, WHOLE_SOURCE, Part
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import owners_of, read_rows
from framemill.cluster.results.storage import remove_tree
from framemill.cluster.results.tables import SOURCE_ID
from framemill.cluster.run.committing import PendingCommit, PendingRun
from framemill.cluster.run.job_list import Jobs
from framemill.cluster.run.jobs import Job
from framemill.cluster.run.messages import ErrorRow
from framemill.cluster.run.planning import OpsPlan
from framemill.cluster.run.source_files import SourceFile, SourceFiles
from framemill.ops import load_op

Tables = Mapping[str, pa.Table]  # operation -> its rows, with source_id


@dataclass(frozen=True, slots=True)
class SourceTables:
    """What came of one file.

    Attributes:
        source_id: content id; empty where the file could not be read.
        tables: the rows of each operation that gave some or none; those that failed are missing.
        errors: what went wrong, as rows of the table `errors`; empty where nothing did.
    """

    source_id: str
    tables: Tables
    errors: Sequence[ErrorRow]


@dataclass(slots=True)
class Asked:
    """A file that somebody waits for."""

    file: SourceFile
    answer: Future[SourceTables]


class AskedJobs(Jobs):
    """Jobs of files that are asked for one by one; their places count from the first on."""

    def __init__(self, plan: OpsPlan, dataset: Dataset) -> None:
        super().__init__(SourceFiles(), plan, dataset.state, False)
        self._places: dict[str, int] = {}  # uri -> place, of those that there are now
        self._num_asked = 0

    @property
    def num_live(self) -> int:
        """How many are asked for and not answered."""
        return len(self._live)

    def ask(self, file: SourceFile) -> int:
        """Makes the job of a file that has none; gives its place."""
        place = self._num_asked
        self._num_asked += 1
        self._live[place] = Job(file)
        self._places[file.uri] = place
        return place

    def answered(self, job: Job) -> None:
        """Forgets a job."""
        del self._live[self._places.pop(job.file.uri)]

    def place(self, job: Job) -> int:
        return self._places[job.file.uri]

    def file(self, place: int) -> SourceFile:
        return self._live[place].file


class ServingRun(LocalRun):
    """Serves what is asked for until it is told to stop. Its dataset is a folder for what passes through.

    Args:
        setup: its dataset is held. jobs: those of the setup, none yet. asked: what to do; None ends it.
    """

    most_sources = sys.maxsize

    def __init__(
        self, setup: Setup, jobs: AskedJobs, worker: WorkerProcess, asked: queue.SimpleQueue[Asked | None]
    ) -> None:
        super().__init__(setup, [worker])
        self._asked = asked
        self._open_jobs = jobs
        self._answers: dict[str, list[Future[SourceTables]]] = {}
        self._is_stopping = False
        # Rows of contents that other files of the run have, too.
        self._made: dict[str, Tables] = {}

    def serve(self) -> None:
        """Works until it is told to stop.

        Raises:
            FramemillError: it cannot go on, as without a model; nobody else is answered.
        """
        has_failed = True
        try:
            self.start()
            while not self._is_stopping:
                self._admit()
                self.place()
                self._commit_finished(True)
                if self.is_idle():
                    self._give_up_rest()
                self.take(TICK_SECONDS if self._open_jobs.num_live else 0.0)
            has_failed = False
        finally:
            self.close(has_failed)

    def _admit(self) -> None:
        """Takes what is asked for; waits a moment for it where there is nothing else to do."""
        while not self._is_stopping:
            try:
                asked = self._asked.get(timeout=0 if self._open_jobs.num_live else TICK_SECONDS)
            except queue.Empty:
                return
            if asked is None:
                self._is_stopping = True
                return
            answers = self._answers.setdefault(asked.file.uri, [])
            answers.append(asked.answer)
            if len(answers) == 1:
                self._new.add(self._open_jobs.ask(asked.file))

    def write(self, pending: PendingCommit | PendingRun) -> None:
        """Has the worker write all but `errors`, whose rows are here."""
        request = msgspec.structs.replace(pending.request, errors=())
        self._send(request, None, WRITE_SECONDS, next(iter(self.workers))).pending = pending

    def commit(self, pending: PendingCommit | PendingRun, parts: Sequence[Part]) -> None:
        """Hands out what was written, and keeps nothing of it."""
        rows = self._take_rows(parts)
        for job in pending.jobs:
            job.state = "committed"
            self._open_jobs.answered(job)
            self.forget(job)
            if len(job.shards) > 1:
                remove_tree(layout.partials_folder(self.dataset.root, job.source_id))
            if not job.is_duplicate:
                self._made[job.source_id] = {
                    op: rows.get((op, job.source_id), _empty(op)) for op in job.rows if op not in OWNED_BY_URI
                }
        for job in pending.jobs:
            uri = job.file.uri
            of_uri = {op: rows[op, uri] for op in OWNED_BY_URI if (op, uri) in rows}
            tables = {**of_uri, **self._made[job.source_id]} if job.is_usable else {}
            errors = [row for row in pending.request.errors if row.uri == uri]
            for answer in self._answers.pop(uri):
                answer.set_result(SourceTables(job.source_id, tables, errors))
        wanted = {job.source_id for job in self._open_jobs}
        for source_id in {job.source_id for job in pending.jobs} - wanted:
            self._made.pop(source_id, None)
            self.states.forget(source_id)

    def _take_rows(self, parts: Sequence[Part]) -> dict[tuple[str, str], pa.Table]:
        """(table, owner) -> rows, of parts that are removed."""
        found: dict[tuple[str, str], pa.Table] = {}
        for part in parts:
            rows = read_rows(self.dataset.root, part.table, [part])
            assert rows is not None
            owners = owners_of(part.table, rows)
            for owner in part.owners:
                found[part.table, owner] = rows.filter(pc.equal(owners, owner))
            layout.live_path(self.dataset.root, part.table, part.name).unlink()
        return found


def nothing_of(uri: str, error: str, message: str) -> SourceTables:
    """What comes of a file that cannot be used.

    Args:
        error: the kind of error, as in the table `errors`.
    """
    row = ErrorRow(
        source_id=None,
        uri=uri,
        operation=WHOLE_SOURCE,
        status="failed",
        error=error,
        message=message,
        attempts=1,
    )
    return SourceTables("", {}, (row,))


def table_schema(op: str) -> pa.Schema:
    """Of the table that an operation makes, source_id included."""
    return pa.schema([SOURCE_ID, *load_op(op).schema])


def _empty(op: str) -> pa.Table:
    return table_schema(op).empty_table()
