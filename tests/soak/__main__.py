"""`python -m tests.soak HOURS SEED`: files come and go, runs are killed and taken over, and what that costs.

A miss is a slope that is too steep (memory by files, descriptors, parts, the time of `framemill status`), a
command that hangs or says something unforeseen, and rows in the end that differ from those of one undisturbed
run over the same files.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from framemill.cluster.extraction_run import MANY_PARTS
from tests.cluster.extraction import tables_of
from tests.faults.cases import assert_whole, leftovers
from tests.soak.processes import end, megabytes_per_thousand, thousands
from tests.soak.rounds import KINDS, Soak

FILES_PER_HOUR = 10_000  # of the one long run
LEAST_FILES = SETTLED_FILES = 1_000  # the viewer has come to its size by then (measured)
MOST_FILES = 5_000
TAKEOVER_EVERY = 600.0  # seconds: each waits for a minute
TOLD_EVERY = 15.0  # seconds
# What is promised.
MEGABYTES_PER_THOUSAND = 1.0
# Memory swings by so many MB from one look to the next, with no more files (measured).
SWING = {"supervisor": 0.5, "viewer": 10.0}
MORE_DESCRIPTORS = 8  # connections come and go
SLOWER = 1.5  # `framemill status` in the last third, against the first; it looks at each file
SLOWER_SECONDS = 0.2

Row = tuple[str, str, str, bool]


def main(hours: float, seed: int) -> int:
    print(f"{hours:g} hours, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), random.Random(seed))
        try:
            run(soak, hours * 3600)
            rows = [*measures(soak), final_rows(soak)]
        finally:
            soak.close()
    print(", ".join(f"{count} x {name}" for name, count in sorted(soak.happened.items())))
    for name, found, limit, is_well in [("", "found", "at most", True), *rows]:
        print(f"{name:>40}{found:>24}{limit:>16}{'' if is_well else '   MISS'}")
    for line in soak.misses:
        print(f"MISS: {line}")
    return 1 if soak.misses or not all(row[-1] for row in rows) else 0


def run(soak: Soak, seconds: float) -> None:
    """All rounds, told of as they go on."""
    started = time.monotonic()
    soak.start(min(MOST_FILES, max(LEAST_FILES, round(FILES_PER_HOUR * seconds / 3600))))
    print(f"{time.monotonic() - started:6.0f} s: one run over {soak.arrivals.count} files", flush=True)
    taken_over, told, num_misses = -TAKEOVER_EVERY, 0.0, 0
    while (elapsed := time.monotonic() - started) < seconds:
        # After the first half nobody joins parts but the runs themselves.
        if elapsed < seconds / 2 and soak.moments.random() < 0.02:
            soak.compact()
        if elapsed - taken_over >= TAKEOVER_EVERY:
            soak.round("takeover")
            if soak.happened["takeover"]:
                taken_over = elapsed
        else:
            soak.round(soak.moments.choice(KINDS))
        for line in soak.misses[num_misses:]:
            print(f"{elapsed:6.0f} s: MISS: {line}", flush=True)
        num_misses = len(soak.misses)
        if elapsed - told >= TOLD_EVERY:
            told = elapsed
            counts = f"{soak.happened.total()} rounds, {soak.arrivals.count} files, {soak.most_parts} parts"
            memory = f"viewer {soak.viewer[-1].memory / 1e6:.0f} MB" if soak.viewer else "no viewer"
            print(f"{elapsed:6.0f} s: {counts}, {memory}, {len(soak.misses)} misses", flush=True)


def measures(soak: Soak) -> list[Row]:
    """What was measured, beside what is promised."""
    rows = []
    settled = [held for held in soak.viewer if held.num_files >= SETTLED_FILES]
    for name, samples in (("supervisor", soak.supervisor), ("viewer", settled)):
        slope = megabytes_per_thousand(samples)
        # What a short soak cannot tell from a swing is none.
        limit = MEGABYTES_PER_THOUSAND + SWING[name] / max(0.001, thousands(samples))
        rows.append((f"memory of the {name}, MB/1000 files", f"{slope:.2f}", f"{limit:.2f}", slope <= limit))
        first, last = _thirds([held.descriptors for held in samples])
        text, most = f"{first:g} -> {last:g}", first + MORE_DESCRIPTORS
        rows.append((f"descriptors of the {name}", text, f"{most:g}", last <= most))
    # A run joins what it finds in the end, when its own parts are there.
    rows.append(
        ("parts of a table", str(soak.most_parts), str(2 * MANY_PARTS), soak.most_parts <= 2 * MANY_PARTS)
    )
    first, last = _thirds(soak.status_seconds)
    most = first * SLOWER + SLOWER_SECONDS
    rows.append(("seconds of status", f"{first:.2f} -> {last:.2f}", f"{most:.2f}", last <= most))
    return rows


def _thirds(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first third and of the last."""
    third = max(1, len(values) // 3)
    return (statistics.median(values[:third]), statistics.median(values[-third:])) if values else (0.0, 0.0)


def final_rows(soak: Soak) -> Row:
    """All files are there: the rows after one more run, beside those of a folder made in one go."""
    soak.arrivals.settle()
    other = soak.base / "undisturbed"
    for out in (soak.out, other):
        code, said = end(soak.commands.extract(soak.arrivals.folder, out))
        if code != 0:
            soak.misses.append(f"the last run into {out.name} ended with {code}: {said.strip()[-500:]}")
    assert_whole(str(soak.out))
    left = [*leftovers(str(soak.out)), *(path.name for path in soak.commands.temporary.iterdir())]
    if left:
        soak.misses.append(f"{len(left)} files are left over, such as {left[0]}")
    found, expected = tables_of(soak.out), tables_of(other)
    names = {*found, *expected}
    different = sorted(name for name in names if found.get(name) != expected.get(name))
    num_rows = sum(map(len, expected.values()))
    said = f"other in {', '.join(different)}" if different else f"{num_rows} equal"
    return "rows beside those of one run", said, "equal", not different


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
