"""What Ray does not promise to keep may go: a run does without."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

from framemill.cluster.engines.ray.connecting import TESTED, describe_release
from framemill.cluster.engines.ray.private import take_printed_lines
from framemill.cluster.engines.ray.ray_logging import keep_printed_logs
from tests.cluster.engines.ray.ray_local import TOO_SLOW
from tests.cluster.extraction import PROJECT, command, extract, tables_of
from tests.test_packaging import PROJECT as PROJECT_TOML

WORKER = "ray._private.worker"


def test_printed_lines_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[str, str]] = []
    worker = pytest.importorskip(WORKER)
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)
    assert take_printed_lines(lambda who, line: taken.append((who, line)))
    worker.print_to_stdstream({"lines": ["a", "b"], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    assert taken == [("raylet", "a"), ("raylet", "b")]


@pytest.mark.parametrize("is_module_gone", [True, False])
def test_what_ray_lacks_is_not_put_there(monkeypatch: pytest.MonkeyPatch, is_module_gone: bool) -> None:
    worker = pytest.importorskip(WORKER)
    if is_module_gone:
        monkeypatch.setitem(sys.modules, WORKER, None)
    monkeypatch.delattr(worker, "print_to_stdstream")
    assert not take_printed_lines(lambda who, line: None)
    keep_printed_logs()
    assert not hasattr(worker, "print_to_stdstream")


WITHOUT = """
import sys
if "extract" in sys.orig_argv:
    import ray._private.worker as worker
    del worker.print_to_stdstream
    import ray._private.log as log
    log.PlainRayHandler.__name__ = "AnotherHandler"
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_a_run_ends_well_without_what_is_private(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    out = tmp_path / "out"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tmp_path, PROJECT))))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    for _ in range(4):
        run = command(clips, "-o", out, "--engine", "ray", "--actors", "1", "--actor-cpus", "1")
        said, complaints = run.communicate(timeout=600)
        if TOO_SLOW not in complaints:
            break
    assert run.returncode == 0 and "3 files: 3 computed" in said, complaints
    extract(clips, out=tmp_path / "local")
    assert tables_of(out) == tables_of(tmp_path / "local")


def test_the_release_that_is_asked_for_is_the_one_that_is_tested() -> None:
    major, minor = map(int, TESTED.split("."))
    (asked,) = (line for line in PROJECT_TOML["project"]["optional-dependencies"]["ray"] if "ray[" in line)
    assert asked == f"ray[data,default]>={TESTED},<{major}.{minor + 1}"
    pins = (PROJECT / "constraints" / "cpu.txt").read_text().splitlines()
    assert any(line.startswith(f"ray=={TESTED}.") for line in pins)
    assert describe_release(f"{TESTED}.3") == ""
    assert f"Ray {major}.{minor + 1}.0 is installed" in describe_release(f"{major}.{minor + 1}.0")
