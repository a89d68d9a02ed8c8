"""`python -m tests.fuzz SEED N [KIND ...]`: N hostile inputs, shared among all kinds or those named.

Prints each fault as it is found, a line of progress for each batch, and a table; 1 where there was a fault.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from tests.fuzz import browser, guided, media, models, mutants, statements
from tests.fuzz.tally import Fault, Row, count, lines

# From a seed and a number of inputs to how many were tried and what came of them, batch by batch.
RUNS: Mapping[str, Callable[[int, int], Iterator[tuple[int, list[Fault]]]]] = {
    **{kind: partial(media.run_kind, kind) for kind in mutants.KINDS},
    **{kind: partial(models.run_kind, kind) for kind in mutants.MODEL_KINDS},
    browser.KIND: browser.run_kind,
    statements.KIND: statements.run_kind,
    **{kind: partial(guided.run_kind, kind) for kind in guided.KINDS},
}


def main(seed: int, number: int, kinds: Sequence[str]) -> int:
    if unknown := set(kinds) - RUNS.keys():
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}", file=sys.stderr)
        return 2
    kinds = kinds or list(RUNS)
    missing = guided.missing()
    run = [kind for kind in kinds if not (missing and kind in guided.KINDS)]
    rows: list[Row] = []
    for place, kind in enumerate(run):
        share = number * (place + 1) // len(run) - number * place // len(run)
        rows.append(count(kind, share, RUNS[kind](seed, share)))
    rows += [Row(kind, skipped=missing) for kind in kinds if kind not in run]
    print("\n".join(lines(rows)))
    return 1 if any(row.faults for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
