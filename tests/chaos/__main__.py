"""`python -m tests.chaos N SEED`: N runs with a SIGKILL each, half of them on Ray, and what was missed.

A miss is a run that hangs or says something unforeseen, a process that outlives its supervisor, a folder that
holds anything torn, or rows, after the same command once more, that differ from those of an undisturbed run.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.engines import local, on_ray
from tests.chaos.kills import Chaos, Killed, make_corpus

COLUMNS = ("engine", "killed", "kills", "went on by itself", "misses")


def main(count: int, seed: int) -> int:
    print(f"{count} kills, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        base = Path(folder)
        corpus = make_corpus(base / "in")
        chaos = Chaos(local(), corpus, base)
        done = {"local": kill(chaos, count - count // 2, seed)}
        if count // 2:
            with on_ray() as engine:
                done["ray"] = kill(Chaos(engine, corpus, base, chaos.expected), count // 2, seed)
    print_table(done)
    return 1 if any(each.problem for kills in done.values() for each in kills) else 0


def kill(chaos: Chaos, count: int, seed: int) -> list[Killed]:
    """So many kills of one engine, told as they happen."""
    name = chaos.engine.name
    print(f"{name}: undisturbed in {chaos.seconds:.1f} s", flush=True)
    found = []
    for number in range(count):
        # Each number has moments of its own: one that failed can be had again without those before it.
        each = chaos.kill_once(random.Random(f"{seed} {name} {number}"), number)
        found.append(each)
        said = each.problem or ("went on by itself" if each.is_finished else "finished by the next run")
        print(f"{name} {number + 1}/{count}: {each.role} after {each.at:.2f} s: {said}", flush=True)
    return found


def print_table(done: dict[str, Sequence[Killed]]) -> None:
    print("".join(f"{column:>28}" for column in COLUMNS))
    for name, kills in done.items():
        by_role: defaultdict[str, list[Killed]] = defaultdict(list)
        for each in kills:
            by_role[each.role].append(each)
        for role, some in sorted(by_role.items()):
            went_on = sum(each.is_finished for each in some)
            misses = sum(bool(each.problem) for each in some)
            cells = (name, role, len(some), went_on, misses)
            print("".join(f"{cell:>28}" for cell in cells))
    total = [each for kills in done.values() for each in kills]
    print(f"{len(total)} kills, {sum(bool(each.problem) for each in total)} misses")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
