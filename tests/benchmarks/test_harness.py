from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.harness import BenchmarkError, Command, run_in_turn, run_once, time_until
from benchmarks.registry import all_benchmarks
from benchmarks.suite.scenes import Labelled, agreement, f1


def python(code: str, **options: object) -> Command:
    return Command(arguments=[sys.executable, "-c", code], **options)  # type: ignore[arg-type]


def test_costs_include_children() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    cost = run_once(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', '''{busy}'''])"))
    assert cost.cpu_seconds > 0.3
    assert cost.seconds > 0.3


def test_memory_is_that_of_the_command_and_not_of_this_process() -> None:
    ballast = bytearray(200_000_000)
    assert run_once(python("pass")).peak_bytes < 60_000_000
    assert run_once(python("x = b'1' * 150_000_000")).peak_bytes > 150_000_000
    assert len(ballast) == 200_000_000


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_memory_of_all_processes_together() -> None:
    child = "x = b'1' * 100_000_000; import time; time.sleep(0.5)"
    code = (
        f"import subprocess, sys; x = b'1' * 100_000_000; subprocess.run([sys.executable, '-c', {child!r}])"
    )
    assert run_once(python(code, watch_memory=True)).peak_sum_bytes > 200_000_000


def test_sides_run_in_turn_after_a_round_that_does_not_count(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def noting(letter: str) -> Command:
        return python(f"open({str(log)!r}, 'a').write({letter!r})")

    costs = run_in_turn(2, noting("a"), [noting("b"), noting("c")])
    assert log.read_text() == "abc" * 3
    assert [len(side) for side in costs] == [2, 2]


def test_a_failure_is_no_result() -> None:
    with pytest.raises(BenchmarkError, match="lost its way"):
        run_once(python("import sys; sys.exit('lost its way')"))
    with pytest.raises(BenchmarkError, match="could not start"):
        run_once(Command(arguments=["no-such-program-anywhere"]))


def test_output_is_checked_and_old_output_removed(tmp_path: Path) -> None:
    seen: list[str] = []
    target = tmp_path / "out"
    target.write_text("old")
    code = f"import os; print(os.path.exists({str(target)!r}))"
    run_once(python(code, prepare=target.unlink, check=seen.append))
    assert seen == ["False\n"]

    def refuse(stdout: str) -> None:
        raise BenchmarkError("wrong rows")

    with pytest.raises(BenchmarkError, match="wrong rows"):
        run_once(python("pass", check=refuse))


def test_time_until_something_appears(tmp_path: Path) -> None:
    target = tmp_path / "part"
    code = f"import time; time.sleep(0.2); open({str(target)!r}, 'w'); time.sleep(0.5)"
    assert 0.2 < time_until(python(code), target.exists) < 0.7
    with pytest.raises(BenchmarkError, match="nothing appeared"):
        time_until(python("pass"), (tmp_path / "never").exists)


def test_agreement_counts_each_cut_once() -> None:
    clip = Labelled(Path("x"), (30, 180), (range(390, 400),))
    assert agreement([29, 30, 181, 250, 395], clip) == (2, 2, 0)
    assert agreement([], clip) == (0, 0, 2)
    assert f1([clip], lambda path: [30, 180]) == 1.0
    assert f1([clip], lambda path: [30, 100]) == 0.5


def test_every_benchmark_is_registered_under_its_name() -> None:
    known = all_benchmarks()
    assert {"keyframes_to_jpeg", "fast_scenes", "objects_limit", "first_row", "memory"} <= set(known)
    assert all(name == benchmark.name for name, benchmark in known.items())
    assert all(benchmark.runs >= 1 for benchmark in known.values())
