"""How what a soak measures is judged, and one round of each kind; `make soak` has hours of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.soak.__main__ import final_rows, measures
from tests.soak.arrivals import Arrivals
from tests.soak.processes import Held, megabytes_per_thousand
from tests.soak.rounds import KINDS, Soak


def test_memory_that_grows_with_files_is_told_from_memory_that_a_process_takes_once() -> None:
    settling = [Held(10 * n, 50_000_000 + min(n, 20) * 1_000_000, 9) for n in range(100)]
    growing = [Held(10 * n, 50_000_000 + 10 * n * 2_000, 9) for n in range(100)]
    assert megabytes_per_thousand(settling) == 0.0
    assert megabytes_per_thousand(growing) == pytest.approx(2.0)


def test_descriptors_parts_and_times_that_grow_are_misses(tmp_path: Path) -> None:
    soak = Soak(tmp_path, random.Random(1))
    soak.supervisor = [Held(10 * n, 10**8, 20) for n in range(300)]
    soak.viewer = [Held(10 * n, 10**8 + 10 * n * 10_000, 20 + n // 10) for n in range(300)]
    soak.status_seconds, soak.most_parts = [0.3] * 9 + [0.9] * 9, 2_000
    missed = {name for name, _, _, is_well in measures(soak) if not is_well}
    assert missed == {
        "memory of the viewer, MB/1000 files",
        "descriptors of the viewer",
        "parts of a table",
        "seconds of status",
    }


def test_files_come_go_grow_and_are_all_there_in_the_end(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, random.Random(3))
    arrivals.arrive(60)
    sizes = {path.name: path.stat().st_size for path in arrivals.folder.iterdir()}
    arrivals.vanish(10)
    assert len(list(arrivals.folder.iterdir())) == 50
    arrivals.settle()
    paths = list(arrivals.folder.iterdir())
    assert len(paths) == 60 == len({path.read_bytes() for path in paths})
    assert 0 < sum(path.stat().st_size != sizes[path.name] for path in paths) < 20


@pytest.mark.slow
def test_a_round_of_each_kind_ends_in_the_rows_of_one_undisturbed_run(tmp_path: Path) -> None:
    soak = Soak(tmp_path, random.Random(4))
    try:
        soak.start(40)
        for kind in KINDS:
            soak.round(kind)
        soak.compact()
        *_, is_well = final_rows(soak)
    finally:
        soak.close()
    assert soak.misses == [] and is_well
