"""Raylets of one machine share the folder that a job's code is unpacked to, and each unpacks it anew."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

from ray import cloudpickle

from benchmarks.machines import machines
from framemill.cluster.cli.output import from_here
from framemill.cluster.engines.ray import connecting
from framemill.cluster.engines.ray import preflight as checking
from tests.cluster.engines.ray.ray_watching import finish
from tests.cluster.extraction import OPS, rows_of
from tests.test_packaging import REPOSITORY


def test_code_that_is_being_unpacked_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([FileNotFoundError("pools.py"), "half of it", "the same"])

    def digest() -> str:
        found = next(told, "another")
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(checking, "code_digest", digest)
    assert checking._is_same_code("the same")
    monkeypatch.setattr(checking, "UNPACK_SECONDS", 0.3)
    assert not checking._is_same_code("the same"), "other code is told of in the end"


# It begins where there is a folder without its files, as another process finds it in the middle.
_WORKER = """
import base64, pickle, sys, threading, time
from pathlib import Path
home = Path(sys.argv[1]) / "framemill"
home.mkdir()
sys.path.insert(0, sys.argv[1])
look = pickle.loads(base64.b64decode(sys.argv[2]))
def unpack():
    time.sleep(0.5)
    inner = home / "cluster" / "engines" / "ray"
    inner.mkdir(parents=True)
    (inner / "preflight.py").write_text("def look(*given): return f'looked at {given}'")
    time.sleep(0.5)
    for folder in (inner, inner.parent, inner.parent.parent, home):
        (folder / "__init__.py").write_text("")
threading.Thread(target=unpack).start()
print(look("the results"), sys.modules["framemill"].__file__)
"""


@pytest.mark.parametrize("seconds", [20.0, 0.1])
def test_a_worker_imports_code_once_it_is_there(tmp_path: Path, seconds: float) -> None:
    looking = base64.b64encode(cloudpickle.dumps(checking._looking(seconds))).decode()
    done = subprocess.run(
        [sys.executable, "-P", "-c", _WORKER, tmp_path, looking],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if seconds > 1:
        assert done.stdout.split(") ") == ["looked at ('the results',", f"{tmp_path}/framemill/__init__.py\n"]
    else:
        assert done.returncode == 1 and "Error" in done.stderr


def test_a_folder_that_was_unpacked_anew_is_entered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.rmtree(folder)
    assert from_here("/results/errors") == "/results/errors", "messages need no current folder"
    connecting.return_to(str(folder))
    assert connecting.current_folder() == "", "it is not there yet"
    folder.mkdir()
    connecting.return_to(str(folder))
    assert os.getcwd() == str(folder)


@pytest.mark.cluster
@pytest.mark.slow
def test_the_first_job_after_a_change_where_two_raylets_share_a_machine(clips: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("cluster", "actors", "ops", "models", "framemill"):
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(REPOSITORY / name, project / name, symlinks=True, ignore=ignored)
    with machines(2, 2, in_namespaces=False) as shared:
        for number in range(2):
            with (project / "cluster" / "__init__.py").open("a") as file:
                file.write(f"# change {number}\n")
            out = tmp_path / f"out-{number}"
            run = shared.submit("extract", clips, "-o", out, "--ops", ",".join(OPS), folder=project)
            said = finish(run)
            assert run.returncode == 0, said
            assert len(rows_of(out, "media")) == 3
