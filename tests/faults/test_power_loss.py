"""After a power cut at any call, all commits that were reported are there with their parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from framemill.cluster.results.dataset import Dataset
from tests.faults.cases import Scenario, assert_whole, leftovers
from tests.faults.power_loss import FATES, Effect, cuts, read_trace


@pytest.fixture(scope="module")
def effects(scenario: Scenario) -> list[Effect]:
    """What a run of one clip does to its folder; below `out`, since the rest was there before."""
    place, trace = scenario.prepare("recorded"), scenario.base / "trace"
    ended = place.extract(trace=trace)
    assert ended.code == 0, ended.said
    return [effect for effect in read_trace(trace) if effect[1].startswith(("out", "."))]


def losses(effects: Sequence[Effect], base: Path) -> Iterator[str]:
    """Cuts after which something is missing or torn, each in a line."""
    for number, disk, done in cuts(effects):
        for seed, fate in enumerate(FATES):
            folder = base / f"{number}-{fate}"
            folder.mkdir(parents=True)
            disk.lay_out(folder, fate, number * 10 + seed)
            problem = _problem(folder / "out", done)
            if problem:
                yield f"cut after {number} calls, {effects[number - 1][:2]}, names {fate}: {problem}"


def _problem(out: Path, done: int) -> str:
    if not (out / "_framemill" / "dataset.json").exists():
        return f"commit {done} is gone with the whole folder" if done else ""
    dataset = Dataset.open(out, create=False)
    if dataset.state.sequence < done:
        return f"commit {done} is gone"
    with dataset.hold("check", wait_seconds=0) as recovery:
        if recovery.lost:
            return f"parts of commits are gone: {[part.table for part in recovery.lost]}"
    try:
        assert_whole(str(out))
    except (AssertionError, pa.ArrowException) as torn:
        return str(torn)
    # A note for the next run, which clears it.
    left = set(leftovers(str(out))) - {"_framemill/in_flight.json"}
    return f"{sorted(left)} are left over" if left else ""


def test_what_was_committed_survives_a_power_cut_at_every_call(effects: list[Effect], tmp_path: Path) -> None:
    assert sum(effect[0] == "fsync" for effect in effects) >= 12
    assert list(losses(effects, tmp_path)) == []


@pytest.mark.parametrize(
    "is_forgotten",
    [
        pytest.param(lambda path: path.endswith(".parquet.new"), id="parts"),
        pytest.param(lambda path: path == "out/frames", id="names of parts"),
        pytest.param(lambda path: path == "out", id="names of tables"),
        pytest.param(lambda path: path == ".", id="name of the folder"),
    ],
)
def test_without_one_of_the_syncs_something_would_be_lost(
    effects: list[Effect], tmp_path: Path, is_forgotten: Callable[[str], bool]
) -> None:
    without = [effect for effect in effects if effect[0] != "fsync" or not is_forgotten(effect[1])]
    assert len(without) < len(effects)
    assert next(losses(without, tmp_path), None)
