"""Many questions to a server at a time, and their answers into a table as they come.

Answers are committed every few seconds: of a run that is killed, so much is asked again and no more.
"""

from __future__ import annotations

import hashlib
import json
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa

from framemill.cluster.corpus.caption_server import Answer, AskError, CaptionServer
from framemill.cluster.results.curated import curated_rows, replace_curated
from framemill.cluster.results.dataset import Dataset
from framemill.ops.columns import column

COMMIT_SECONDS = 5.0
# Questions that wait with their pictures for a thread, so that no thread waits while more are prepared. At 64
# questions of 0.2 s at a time, 128 gave 87% of the rate that a bare client got of the server, 256 gave 96%;
# with three pictures of 100 kB each these take 80 MB.
AHEAD = 256
# After so many failures in a row that speak of the server, not of the question, it is not asked any more.
LEAST_IN_A_ROW = 8

Row = dict[str, Any]
Key = tuple[Any, ...]
J = TypeVar("J")
A = TypeVar("A")

# What the tables say of the question and what it took.
ANSWER_COLUMNS = (
    column("model", pa.string(), "the model's name, as the server was asked for it"),
    column("status", pa.string(), "ok or failed; the next run asks again for what failed"),
    column(
        "error",
        pa.string(),
        "why not: unreachable, timeout, refused (an HTTP status), invalid (rubbish), no_picture (the frames "
        "cannot be had), not_asked (the server had failed over and over); null where ok",
        nullable=True,
    ),
    column("message", pa.string(), "what is wrong, in words for a person; null where ok", nullable=True),
    column("attempts", pa.int32(), "requests that were sent, >= 0"),
    column(
        "answer_seconds", pa.float64(), "time until the answer, pauses and further attempts included, >= 0"
    ),
    column(
        "tokens_in",
        pa.int64(),
        "tokens of the question, in all attempts; null where the server does not count",
        nullable=True,
    ),
    column("tokens_out", pa.int64(), "the same of the answers", nullable=True),
    column("cost", pa.float64(), "of these, at the prices given; null without", nullable=True),
    column(
        "question",
        pa.string(),
        "digest of content, frames, prompt, schema and model: what has an answer is not asked again",
    ),
)


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, in any currency; None where it is not known."""

    tokens_in: float | None = None
    tokens_out: float | None = None

    def cost(self, answer: Answer[Any]) -> float | None:
        """Of all that was asked for one answer; None where no price or no count is known."""
        pairs = ((self.tokens_in, answer.tokens_in), (self.tokens_out, answer.tokens_out))
        known = [price * count / 1e6 for price, count in pairs if price is not None and count is not None]
        return sum(known) if known else None


def question_of(*facts: object) -> str:
    """The digest of what an answer depends on; 32 hex digits."""
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def answer_row(model: str, question: str, answer: Answer[Any], prices: Prices) -> Row:
    """The values of `ANSWER_COLUMNS`."""
    error = answer.error
    return {
        "model": model,
        "status": "ok" if error is None else "failed",
        "error": None if error is None else error.kind,
        "message": None if error is None else error.message,
        "attempts": answer.attempts,
        "answer_seconds": answer.seconds,
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
        "cost": prices.cost(answer),
        "question": question,
    }


class Ledger:
    """Rows of sources in one table: those there before, each until its replacement is there.

    Args:
        key: columns that tell the rows of a source apart.
    """

    def __init__(
        self, dataset: Dataset, run_id: str, table: str, schema: pa.Schema, key: Sequence[str]
    ) -> None:
        self._dataset = dataset
        self._run_id = run_id
        self._table = table
        self._schema = schema
        self._key = key
        self._rows: dict[str, dict[Key, Row]] = {}
        self._pending: dict[str, int] = {}
        self._changed: set[str] = set()
        self._committed_at = time.monotonic()

    def open(self, sources: Iterable[str]) -> None:
        """Reads the rows that some sources have."""
        wanted = list(sources)
        for source in wanted:
            self._rows[source], self._pending[source] = {}, 0
        for row in curated_rows(self._dataset, self._table, self._schema, wanted).to_pylist():
            self._rows[row["source_id"]][self._key_of(row)] = row

    def rows(self, source: str) -> Mapping[Key, Row]:
        """Of a source that is open."""
        return self._rows[source]

    def expect(self, source: str) -> None:
        """One more answer will come; a source whose answers are all there is let go of."""
        self._pending[source] += 1

    def drop(self, source: str, key: Key) -> None:
        """Takes away a row whose shot is not there any more."""
        del self._rows[source][key]
        self._changed.add(source)

    def put(self, row: Row) -> None:
        """Takes an answer. A failure takes none of before away, which may be of another prompt or model."""
        source, key = row["source_id"], self._key_of(row)
        before = self._rows[source].get(key)
        is_same = before is not None and _span(before) == _span(row)
        if row["status"] == "ok" or before is None or before["status"] != "ok" or not is_same:
            self._rows[source][key] = row
            self._changed.add(source)
        self._pending[source] -= 1
        if time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Commits what changed since, and lets go of the sources that nothing more comes for."""
        if self._changed:
            rows = [row for source in sorted(self._changed) for row in self._rows[source].values()]
            made = pa.Table.from_pylist(rows, self._schema)
            replace_curated(self._dataset, self._run_id, self._table, self._changed, made)
            self._changed = set()
        for source in [source for source, count in self._pending.items() if not count]:
            del self._rows[source], self._pending[source]
        self._committed_at = time.monotonic()

    def _key_of(self, row: Mapping[str, Any]) -> Key:
        return tuple(row[name] for name in self._key)


def _span(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row.get("start_seconds"), row.get("end_seconds")


@dataclass(slots=True)
class Asker(Generic[J, A]):
    """Asks a server many questions at a time.

    Args:
        ask: called in threads. concurrency: how many at a time.
    """

    server: CaptionServer
    ask: Callable[[J], Answer[A]]
    concurrency: int
    failed_in_a_row: int = field(default=0, init=False)
    problem: str = field(default="", init=False)

    def answers(self, jobs: Iterator[J]) -> Iterator[tuple[J, Answer[A]]]:
        """The answers as they come, in any order."""
        done: queue.SimpleQueue[tuple[J, Answer[A] | BaseException]] = queue.SimpleQueue()

        def run(job: J) -> None:
            try:
                done.put((job, self._one(job)))
            except BaseException as error:  # is raised below, in the thread that waits
                done.put((job, error))

        def take() -> tuple[J, Answer[A]]:
            job, answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            self._count(answer)
            return job, answer

        with _threads(self.concurrency) as pool:
            num_open = 0
            for job in jobs:
                pool.submit(run, job)
                num_open += 1
                while num_open >= self.concurrency + AHEAD or not done.empty():
                    yield take()
                    num_open -= 1
            for _ in range(num_open):
                yield take()

    def _one(self, job: J) -> Answer[A]:
        if self.problem:
            return Answer(error=AskError("not_asked", self.problem))
        return self.ask(job)

    def _count(self, answer: Answer[A]) -> None:
        error = answer.error
        if error is None or error.kind == "invalid":
            self.failed_in_a_row = 0
        elif error.is_of_server:
            self.failed_in_a_row += 1
            if self.failed_in_a_row >= max(LEAST_IN_A_ROW, self.concurrency) and not self.problem:
                self.problem = (
                    f"the server failed {self.failed_in_a_row} times in a row, at last with: {error.message}"
                )


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count, thread_name_prefix="captions")
    try:
        yield pool
    finally:  # where a run was ended, nothing more is asked; the server breaks off what is on its way
        pool.shutdown(wait=False, cancel_futures=True)
