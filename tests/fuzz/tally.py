"""What came of mutants, counted for each kind of them, and the table of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

FAULTS = ("crashes", "hangs", "broken", "silent losses", "escapes")
Fault = tuple[str, str]  # one of `FAULTS`, and what it is about


@dataclass(slots=True)
class Row:
    kind: str
    mutants: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    skipped: str = ""  # why nothing was run


def count(kind: str, wanted: int, batches: Iterable[tuple[int, list[Fault]]]) -> Row:
    """Takes all batches, telling each fault as it comes and how far it is on the way."""
    row, start = Row(kind), time.perf_counter()
    for number, faults in batches:
        row.mutants += number
        for fault, about in faults:
            assert fault in FAULTS
            row.faults[fault] += 1
            print(f"{fault}: {about}", flush=True)
        row.seconds = time.perf_counter() - start
        print(f"{kind}: {row.mutants} of {wanted}, {row.seconds:.0f} s", file=sys.stderr, flush=True)
    return row


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """The table, with a last line of sums."""
    rows = list(rows)
    yield f"{'':24}{'mutants':>9}{'seconds':>9}" + "".join(f"{fault:>15}" for fault in FAULTS)
    total = Row("all", sum(r.mutants for r in rows), sum(r.seconds for r in rows))
    for row in rows:
        total.faults.update(row.faults)
        yield f"{row.kind:24}skipped: {row.skipped}" if row.skipped else _line(row)
    yield _line(total)


def _line(row: Row) -> str:
    counts = "".join(f"{row.faults[fault]:15}" for fault in FAULTS)
    return f"{row.kind:24}{row.mutants:9}{row.seconds:9.0f}{counts}"
