from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framemill.errors import ModelError
from framemill.models import probing, session
from framemill.models.probing import Probe, choose_threads, is_faster, known_probe, probe, rows_per_second
from framemill.models.session import OnnxSession, open_model
from framemill.models.thread_budget import shared_thread_budget
from tests.models.graphs import save, scaler
from tests.models.test_session import entry_of, rows


def test_what_was_measured_is_remembered_and_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scaler(tmp_path / "m.onnx")
    other = scaler(tmp_path / "other.onnx", factor=3.0)
    speeds = [100.0, 150.0]
    monkeypatch.setattr(probing, "_measure", lambda ways, row: list(speeds))
    assert known_probe(entry_of(path).sha256, 4) is None
    assert probe(entry_of(path), path, 4).threads == 4
    speeds[1] = 105.0  # within the noise
    assert probe(entry_of(other), other, 4).threads == 1
    assert known_probe(entry_of(path).sha256, 4) == Probe(4, {1: 100.0, 4: 150.0})
    assert known_probe(entry_of(other).sha256, 4) == Probe(1, {1: 100.0, 4: 105.0})
    assert known_probe(entry_of(path).sha256, 2) is None  # another number of cores
    model, report = open_model(entry_of(path), path, 4)
    assert report.provider == "cpu" and model.runner.row_threads == 4  # type: ignore[attr-defined]
    assert model.runner._session.get_session_options().intra_op_num_threads == 4  # type: ignore[attr-defined]
    np.testing.assert_array_equal(model.runner.run(rows(3))["y"], rows(3)["x"].reshape(3, 48) * 2)


@pytest.mark.parametrize(
    "content", ['{"half": "a', "[]", '{"%s": 3}', '{"%s": {"threads": 9, "rows_per_second": {}}}']
)
def test_a_record_that_is_damaged_counts_as_none(tmp_path: Path, content: str) -> None:
    path = scaler(tmp_path / "m.onnx")
    sha256 = entry_of(path).sha256
    probing._file(4).parent.mkdir(parents=True)
    probing._file(4).write_text(content.replace("%s", sha256))
    assert known_probe(sha256, 4) is None
    assert open_model(entry_of(path), path, 4)[0].runner.row_threads == 1  # type: ignore[attr-defined]


class Timed:
    """A session whose rows take so long, whatever they hold."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, names: None, row: Any) -> None:
        time.sleep(self.seconds)


class Disturbed(Timed):
    """As `Timed`, but for its first rows other programs have the cores."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.num_rows = 0

    def run(self, names: None, row: Any) -> None:
        self.num_rows += 1
        time.sleep(self.seconds if self.num_rows > 16 else 5 * self.seconds)


def test_other_programs_do_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.4)
    sessions = {1: Disturbed(0.004), 2: Timed(0.004)}
    chosen, found = choose_threads("c" * 64, lambda n: sessions[n], {}, 2)
    assert chosen is sessions[1], found


def test_the_faster_way_wins_and_measuring_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.2)
    started = time.perf_counter()
    # Two rows side by side in 20 ms each are 100 rows a second; one on both cores in 4 ms are 250.
    chosen, found = choose_threads("a" * 64, lambda n: Timed({1: 0.02, 2: 0.004}[n]), {}, 2)
    assert time.perf_counter() - started < 0.5
    assert (chosen.seconds, found.threads) == (0.004, 2)
    assert 60 < found.rows_per_second[1] < 101 < 150 < found.rows_per_second[2] < 251
    chosen, found = choose_threads("b" * 64, lambda n: Timed({1: 0.02, 2: 0.012}[n]), {}, 2)
    assert (chosen.seconds, found.threads) == (0.02, 1)
    assert known_probe("a" * 64, 2) and known_probe("b" * 64, 2)


def long_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speeds: list[float]) -> tuple[Any, list[int]]:
    """A model of which nothing is known, that has worked long enough; and the rows of the races it caused."""
    raced: list[int] = []

    def race(ways: Any, row: Any) -> list[float]:
        raced.append(len(row["x"]))
        return speeds

    monkeypatch.setattr(probing, "_measure", race)
    path = scaler(tmp_path / "m.onnx")
    runner: Any = open_model(entry_of(path), path, 2)[0].runner
    runner.run(rows(5))
    assert not raced and runner.busy_seconds > 0
    runner.busy_seconds = session.WORKED_SECONDS
    return runner, raced


def test_a_long_run_finds_out_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, raced = long_run(tmp_path, monkeypatch, [10.0, 20.0])
    before = runner._session
    for _ in range(3):
        np.testing.assert_array_equal(runner.run(rows(5))["y"], rows(5)["x"].reshape(5, 48) * 2)
    assert raced == [1] and runner.row_threads == 2 and runner._session is not before
    path = tmp_path / "m.onnx"
    again: Any = open_model(entry_of(path), path, 2)[0].runner
    assert again.row_threads == 2 and again._choose is None  # known from now on


def test_what_cannot_be_remembered_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, raced = long_run(tmp_path, monkeypatch, [10.0, 20.0])
    (tmp_path / "file").touch()
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        assert runner.run(rows(2))["y"].shape == (2, 48)
    assert raced == [1] and runner.row_threads == 1 and "FRAMEMILL_CACHE_DIR" in runner.note


def test_one_core_leaves_nothing_to_choose(tmp_path: Path) -> None:
    path = scaler(tmp_path / "m.onnx")
    assert open_model(entry_of(path), path, 1)[0].runner._choose is None  # type: ignore[attr-defined]


def test_a_row_on_many_threads_takes_its_turn_and_runs_alone() -> None:
    """Rows on one thread keep coming: the wide one must not wait for ever, nor run beside any."""
    budget, log, lock = shared_thread_budget(3), [], threading.Lock()
    running = 0

    def work(count: int) -> None:
        nonlocal running
        with budget.reserve(count):
            with lock:
                running += count
                log.append((count, running))
            time.sleep(0.005)
            with lock:
                running -= count

    def stream() -> None:
        for _ in range(8):
            work(1)

    threads = [threading.Thread(target=stream) for _ in range(4)]
    threads.insert(2, threading.Thread(target=work, args=(3,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(log) == 33 and max(busy for _, busy in log) == 3
    assert [count for count, _ in log].index(3) < 15


def test_the_variant_that_is_faster_here_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = scaler(tmp_path / "m.onnx"), scaler(tmp_path / "m-int8.onnx", factor=3.0)
    races: list[list[float]] = [[20.0, 10.0]]
    monkeypatch.setattr(probing, "_measure", lambda ways, row: races.pop())
    entry, variant = entry_of(path), entry_of(other)
    assert is_faster(variant, other, entry, path, 2)
    assert is_faster(variant, other, entry, path, 2)  # known_probe
    races.append([10.5, 10.0])
    assert not is_faster(variant, other, entry, path, 4)


def test_speeds_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.04)
    path = scaler(tmp_path / "m.onnx")
    found = probe(entry_of(path), path, 2)
    assert set(found.rows_per_second) == {1, 2} and min(found.rows_per_second.values()) > 10


def test_open_axes_cannot_be_measured(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"x": ["n", "length"]}, {"y": ["n", "length"]})
    with pytest.raises(ModelError, match="open axes besides the batch"):
        rows_per_second(entry_of(path), path, 1, 1)


def test_a_device_has_nothing_to_choose(tmp_path: Path) -> None:
    runner = OnnxSession("m", Sessionlike(), 4, 0)
    runner.busy_seconds = 1e9
    assert runner.run(rows(3))["y"].shape == (3, 3, 4, 4) and runner.row_threads == 1


class Sessionlike:
    def get_inputs(self) -> list[Any]:
        return [type("Value", (), {"name": "x"})]

    def get_outputs(self) -> list[Any]:
        return [type("Value", (), {"name": "y"})]

    def run(self, names: None, inputs: Any) -> list[Any]:
        return [inputs["x"]]
