"""Summaries: what a model makes of the captions of each file, and the table `summaries`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

import pyarrow as pa

from framemill.cluster.corpus.asking import (
    ANSWER_COLUMNS,
    Asker,
    Ledger,
    Prices,
    Row,
    answer_row,
    question_of,
)
from framemill.cluster.corpus.caption_prompts import Summary, clean, shortened
from framemill.cluster.corpus.caption_server import Answer, CaptionServer
from framemill.cluster.corpus.captions import TABLE as CAPTIONS
from framemill.cluster.corpus.captions import OnProgress, Tally
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.ops.columns import column

TABLE = "summaries"
VERSION = 1
# So much a model of a few thousand tokens reads at once; longer files are summarised in pieces first.
MOST_CHARACTERS = 12_000
SUMMARIES_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("of", pa.string(), "whose captions it was made from: shot or clip"),
        column("text", pa.string(), "the summary, on one line; null where failed", nullable=True),
        column("num_captions", pa.int32(), "captions that it was made from, >= 1"),
        *ANSWER_COLUMNS,
    ]
)
_BATCH = 256
_READ = ["source_id", "of", "start_seconds", "text", "status"]


@dataclass(frozen=True, slots=True)
class _Job:
    source_id: str
    of: str
    name: str
    lines: tuple[str, ...]
    question: str


def make_summaries(
    dataset: Dataset,
    run_id: str,
    prompt: Template,
    server: CaptionServer,
    concurrency: int,
    prices: Prices | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Tally:
    """Asks for the summary of each file whose captions changed. Call it inside `dataset.hold`.

    Raises:
        DatasetError: the storage refuses, or the lease is lost.
    """
    tally, ledger = Tally(), Ledger(dataset, run_id, TABLE, SUMMARIES_SCHEMA, ("of",))
    sources = sorted(o for (of, o), entry in dataset.state.entries.items() if of == CAPTIONS and entry.rows)
    asker = Asker[_Job, Summary](server, lambda job: _ask(server, prompt, job), concurrency)
    try:
        for job, answer in asker.answers(_jobs(dataset, prompt, server.model, sources, ledger, tally)):
            row: Row = {
                "source_id": job.source_id,
                "of": job.of,
                "text": None if answer.value is None else clean(answer.value.summary),
                "num_captions": len(job.lines),
                **answer_row(server.model, job.question, answer, prices or Prices()),
            }
            ledger.put(row)
            tally.add(row)
            on_progress(tally.num_kept + tally.num_ok + tally.errors.total(), tally.num_wanted)
    finally:
        ledger.commit()
    tally.problem = asker.problem
    return tally


def _jobs(
    dataset: Dataset, prompt: Template, model: str, sources: Sequence[str], ledger: Ledger, tally: Tally
) -> Iterator[_Job]:
    uris = uris_by_source(dataset)
    for start in range(0, len(sources), _BATCH):
        batch = sources[start : start + _BATCH]
        rows = read_rows(dataset.root, CAPTIONS, dataset.state.parts_of(CAPTIONS), batch, _READ)
        said: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in [] if rows is None else rows.to_pylist():
            if row["status"] == "ok":
                said.setdefault((row["source_id"], row["of"]), []).append(row)
        ledger.open(batch)
        jobs = []
        for (source, of), own in sorted(said.items()):
            own.sort(key=lambda row: row["start_seconds"])
            lines = tuple(f"{row['start_seconds']:.1f} s: {row['text']}" for row in own)
            name = uris.get(source, [source])[0].rpartition("/")[2]
            question = question_of(VERSION, lines, name, prompt.template, model)
            there = ledger.rows(source).get((of,))
            tally.num_wanted += 1
            if there is not None and there["status"] == "ok" and there["question"] == question:
                tally.num_kept += 1
            else:
                ledger.expect(source)
                jobs.append(_Job(source, of, name, lines, question))
        yield from jobs


def _ask(server: CaptionServer, prompt: Template, job: _Job) -> Answer[Summary]:
    """Of a long file the pieces first, then of what was said of them, until it is one."""
    lines, spent = list(job.lines), Answer[Summary]()
    while True:
        pieces = _pieces(lines)
        lines = []
        for piece in pieces:
            text = prompt.substitute(captions="\n".join(piece), name=shortened(job.name))
            answer = server.ask([{"type": "text", "text": text}], Summary)
            spent.join(answer)
            if answer.value is None or len(pieces) == 1:
                return spent
            begin = piece[0].partition(": ")[0]
            lines.append(f"{begin}: {clean(answer.value.summary)}")


def _pieces(lines: Sequence[str]) -> list[list[str]]:
    """Lines side by side that a model can read at once; two at least, so that each round leaves fewer."""
    pieces: list[list[str]] = [[]]
    size = 0
    for line in lines:
        if len(pieces[-1]) >= 2 and size + len(line) > MOST_CHARACTERS:
            pieces.append([])
            size = 0
        pieces[-1].append(line)
        size += len(line) + 1
    return pieces
