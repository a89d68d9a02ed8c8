"""Random statements in SQL, through the process that answers those of users.

A crash is a statement that ends the process; an escape an answer with what stands in a file beside the
tables, or a file that a statement wrote.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.sql_process import query_bounded
from framemill.errors import FramemillError, UsageError
from tests.cluster.results.dataset_models import put
from tests.cluster.results.sql_grammar import Grammar
from tests.fuzz.tally import Fault

KIND = "SQL"
BATCH = 100
SECONDS, MEMORY, ROWS = 1.0, 1 << 30, 50  # that each may have
_SECRET = "hush, nobody may read this"


@dataclass(slots=True)
class Batch:
    """What came of statements: how many were asked, how many of those were answered, and faults."""

    number: int = 0
    answered: int = 0
    faults: list[Fault] = field(default_factory=list)


def run_kind(seed: int, count: int) -> Iterator[tuple[int, list[Fault]]]:
    """How many statements were asked, and what came of them, batch by batch."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        for batch in run_in(Path(folder), seed, count):
            yield batch.number, batch.faults


def run_in(folder: Path, seed: int, count: int) -> Iterator[Batch]:
    """The same, over a result folder that is made in a folder without files."""
    root, secret, here = folder / "out", folder / "secret.csv", folder / "here"
    dataset = Dataset.open(root, create=True)
    with dataset.hold("r"):
        put(dataset, "r", "scenes", {"a": 1, "b": 2, "c": 3})
    secret.write_text(f"word\n{_SECRET}\n")
    here.mkdir()
    part = next((root / "scenes").glob("*.parquet"))
    grammar = Grammar(seed, [str(secret), str(folder / "new.csv"), str(part), "/etc/passwd"])
    before = _digests(folder)
    for first in range(0, count, BATCH):
        batch = Batch()
        with contextlib.chdir(here):
            for number in range(first, min(first + BATCH, count)):
                _ask(root, grammar.statement(), f"statement {number} of seed {seed}", batch)
        if _digests(folder) != before:
            about = f"statements {first} to {first + batch.number - 1} of seed {seed}"
            batch.faults.append(("escapes", f"a file came, went or was changed by {about}"))
            before = _digests(folder)
        yield batch


def _ask(root: Path, sql: str, name: str, batch: Batch) -> None:
    batch.number += 1
    try:
        rows = repr(query_bounded(root, sql, limit=ROWS, seconds=SECONDS, memory=MEMORY).rows)
    except UsageError:
        return  # refused, or too much
    except FramemillError as exc:
        batch.faults.append(("crashes", f"{name} ended its process ({exc}): {sql[:2000]!r}"))
        return
    batch.answered += 1
    if _SECRET in rows or "root:x:" in rows:
        batch.faults.append(("escapes", f"{name} read a file: {sql[:2000]!r}"))


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
