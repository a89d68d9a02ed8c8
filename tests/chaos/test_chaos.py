"""A few random kills, and that what is wrong after one is told; `make chaos` has many."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from framemill.cluster.results.dataset import Dataset
from tests.chaos.engines import local, on_ray
from tests.chaos.kills import Chaos, make_corpus
from tests.cluster.extraction import render_clip
from tests.faults.cases import leftovers


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("chaos") / "in")


def test_a_random_kill_costs_nothing_but_a_second_run_and_other_rows_are_a_miss(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    render_clip(tmp_path / "in" / "clip.mp4", seed=1, seconds=2.0)
    (tmp_path / "in" / "garbage.mp4").write_bytes(bytes(range(256)))
    chaos = Chaos(local(), tmp_path / "in", tmp_path)
    assert chaos.kill_once(random.Random(1), 0).problem == ""
    (out,) = tmp_path.glob("local 0.*[0-9]")
    chaos.expected = {**chaos.expected, "frames": []}
    assert chaos._again(out) == "other rows than undisturbed in frames"


@pytest.mark.slow
def test_kills_of_supervisors_and_workers_end_in_the_rows_of_an_undisturbed_run(
    corpus: Path, tmp_path: Path
) -> None:
    chaos = Chaos(local(), corpus, tmp_path)
    killed = [chaos.kill_once(random.Random(number), number) for number in range(8)]
    assert [each.problem for each in killed if each.problem] == []
    assert {each.role for each in killed} == {"supervisor", "worker"}
    assert all(each.is_finished for each in killed if each.role == "worker")


@pytest.mark.slow
@pytest.mark.cluster
def test_so_do_kills_of_drivers_actors_and_tasks_on_ray(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with on_ray() as engine:
        chaos = Chaos(engine, corpus, tmp_path, Chaos(local(), corpus, tmp_path).expected)
        killed = [chaos.kill_once(random.Random(number), number) for number in range(4)]
    assert [each.problem for each in killed if each.problem] == []


def test_what_a_killed_driver_wrote_to_try_the_folder_is_swept_up(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "out", create=True)
    for name in ("check-20261130T194708-1b5724", "check-20261130T194708-1b5724-a"):
        (tmp_path / "out" / "_framemill" / name).touch()
    assert len(leftovers(str(tmp_path / "out"))) == 2
    with dataset.hold("the next run"):
        assert [name for name in leftovers(str(tmp_path / "out")) if "check-" in name] == []
