"""What a command imports before it answers, and when the worker process starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.extraction import PROJECT, extract

# Runs a command, and tells what was imported when it ended and at each start of another process.
WATCHED = """
import json, sys
started = []
sys.addaudithook(lambda event, _: event == "subprocess.Popen" and started.append(sorted(sys.modules)))
from framemill.cluster.cli.main import main
code = main(sys.argv[2:])
json.dump([code, sorted(sys.modules), started], open(sys.argv[1], "w"))
"""
ELSEWHERE = {"pandas", "ray", "onnxruntime", "faster_whisper", "requests", "urllib.request", "fsspec"}
HEAVY = {*ELSEWHERE, "numpy", "pyarrow", "av", "cv2", "duckdb", "rich.console"}
SUPERVISOR = {*ELSEWHERE, "av", "cv2", "duckdb", "rich.console", "pyarrow.compute", "pyarrow.parquet"}


def _watch(folder: Path, *arguments: str) -> tuple[set[str], list[set[str]]]:
    """The modules that a command imported in all, and those that were there at each start of a process."""
    told = folder / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(told), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code, modules, started = json.loads(told.read_text())
    assert code == 0, done.stderr
    return set(modules), [set(names) for names in started]


def _imported_by(module: str) -> set[str]:
    code = f"""
import json, sys
from framemill.cluster.without_pandas import without_pandas
with without_pandas():
    import {module}
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def clip(clips: Path) -> Path:
    return clips / "a.mp4"


@pytest.fixture(scope="module")
def out(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports") / "out"
    extract(clip, out=folder, ops=("media",))
    return folder


def test_the_help_imports_nothing_heavy(tmp_path: Path) -> None:
    assert not HEAVY & _watch(tmp_path, "--help")[0]


def test_status_imports_nothing_heavy(out: Path, tmp_path: Path) -> None:
    assert not HEAVY & _watch(tmp_path, "status", str(out))[0]


def test_sql_imports_what_answers_it_alone(out: Path, tmp_path: Path) -> None:
    """The engine is in a process of its own, which is started by one that imports nothing heavy."""
    modules, started = _watch(tmp_path, "sql", str(out), "SELECT count(*) FROM media")
    assert len(started) == 1 and not HEAVY & modules
    modules = _imported_by("framemill.cluster.results.queries")
    assert "duckdb" in modules
    assert not {*ELSEWHERE, "av", "cv2", "rich.console"} & modules


def test_the_list_of_operations_needs_nothing_that_decodes_or_computes(tmp_path: Path) -> None:
    assert not SUPERVISOR & _watch(tmp_path, "ops")[0]


def test_a_run_starts_its_worker_before_it_imports_what_it_does_itself(clip: Path, tmp_path: Path) -> None:
    modules, started = _watch(tmp_path, "extract", str(clip), "-o", "out")
    assert len(started) == 1
    assert not {*HEAVY, "framemill.cluster.extraction_run", "framemill.ops"} & started[0]
    assert not SUPERVISOR & modules
    others = {name for name in modules if name.startswith(("framemill.ops.faces", "framemill.ops.text"))}
    assert not others, "operations that do not run were imported"


def test_a_run_with_nothing_to_do_starts_no_worker(clip: Path, out: Path, tmp_path: Path) -> None:
    modules, started = _watch(tmp_path, "extract", str(clip), "-o", str(out), "--ops", "media")
    assert not started
    assert not SUPERVISOR & modules


def test_a_worker_imports_what_decodes_and_writes_alone() -> None:
    modules = _imported_by("framemill.cluster.engines.local.answering")
    assert {"av", "numpy", "cv2", "pyarrow"} <= modules
    assert not {*ELSEWHERE, "duckdb", "click", "rich", "cupy", "nvidia.dali", "pyarrow.compute"} & modules
