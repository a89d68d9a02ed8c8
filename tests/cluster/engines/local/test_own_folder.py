"""Temporary folders of workers: none is left over of a supervisor that was killed, none in use is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from framemill.cluster.engines.local.own_folder import OwnFolder
from tests.cluster.extraction import PROJECT

HOLDS_ONE = """
import os, signal
from framemill.cluster.engines.local.own_folder import OwnFolder
folder = OwnFolder()
open(os.path.join(folder.path, "left"), "w").close()
print(folder.path, flush=True)
signal.pause()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_that_a_killed_process_left_is_removed_and_one_in_use_stays(temporary: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_ONE],
        cwd=PROJECT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    other = Path(process.stdout.readline().strip())
    first = OwnFolder()
    assert other.exists() and other.parent == temporary
    process.send_signal(signal.SIGKILL)
    process.communicate()
    second = OwnFolder()
    assert _names(temporary) == {Path(first.path).name, Path(second.path).name}
    first.remove()
    second.remove()
    assert not _names(temporary)


def test_what_only_has_the_name_is_left_alone(
    temporary: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "kept").touch()
    (temporary / "framemill-worker-link").symlink_to(elsewhere)
    (temporary / "framemill-worker-file").touch()
    (temporary / "another").mkdir()
    OwnFolder().remove()
    assert _names(temporary) == {"framemill-worker-link", "framemill-worker-file", "another"}
    assert (elsewhere / "kept").exists()
