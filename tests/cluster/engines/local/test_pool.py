"""Processes that open media for commands beside runs: in the sandbox, and one that dies ends nothing else."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from framemill.cluster.engines.local.pool import run_sandboxed
from framemill.cluster.run import sandbox_kernel
from framemill.cluster.run.messages import Sandbox
from framemill.cluster.run.sandbox_plan import plan_opening
from framemill.errors import SetupError

linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")


def tried(folder: str) -> list[str]:
    """Names of what a process may do, tried in it."""
    place = Path(folder)
    attempts: dict[str, Callable[[], object]] = {
        "reads its source": (place / "source" / "film.mp4").read_bytes,
        "writes its results": lambda: (place / "results" / "clip.mp4").write_bytes(b"\0"),
        "writes a temporary file": lambda: tempfile.TemporaryFile().close(),
        "network": socket.socket,
        "reads": (place / "other" / "letter.txt").read_bytes,
        "writes": lambda: (place / "other" / "new.txt").write_bytes(b"\0"),
        "writes to a source": lambda: (place / "source" / "film.mp4").write_bytes(b"\0"),
    }
    found = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except PermissionError:
            continue
        found.append(name)
    return found


def ended(number: int) -> int:
    if number == 1:
        os._exit(7)
    return number


def lack() -> None:
    """Takes a part of the kernel away."""

    def refuse() -> int:
        raise OSError(38, "no such thing here")

    sandbox_kernel.landlock_version = refuse


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("source/film.mp4", "results/keep", "other/letter.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"\0")
    return tmp_path


@linux
def test_a_process_reaches_its_sources_and_results_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(place / "other"))
    tempfile.tempdir = None  # it is asked for anew
    before, told = dict(os.environ), []
    cage = plan_opening("auto", [str(place / "source" / "film.mp4")], [place / "results"])
    try:
        ((number, found),) = run_sandboxed(tried, [(str(place),)], 1, cage, told.append)
    finally:
        tempfile.tempdir = None
    allowed = ["reads its source", "writes its results", "writes a temporary file"]
    if told:
        pytest.skip(f"a layer does not hold here: {told}")
    assert (number, found) == (0, allowed)
    assert dict(os.environ) == before and os.listdir(place / "other") == ["letter.txt"]


@linux
def test_a_layer_that_lacks_is_told_and_refused_where_all_are_to_hold(place: Path) -> None:
    calls = [(str(place),)]

    def found(mode: str, told: list[str]) -> list[str]:
        cage = Sandbox(mode=mode, writes=(os.fsencode(place),))
        ((_, names),) = run_sandboxed(tried, calls, 1, cage, told.append, begin=lack)
        assert names is not None
        return names

    told: list[str] = []
    assert {"reads", "writes"} <= set(found("auto", told))
    assert len(told) == 1 and "not reads, writes: Landlock: no such thing here" in told[0]
    (place / "other" / "new.txt").unlink()
    with pytest.raises(SetupError, match=r"no such thing here.*sandbox='auto'"):
        found("strict", [])
    assert not (place / "other" / "new.txt").exists()
    off: list[str] = []
    assert "network" in found("off", off) and len(off) == 1 and "sandbox: off" in off[0]


def test_of_a_call_that_ends_its_process_alone_there_is_no_result() -> None:
    cage = Sandbox(mode="off")
    found = dict(run_sandboxed(ended, [(0,), (1,), (2,)], 2, cage, lambda text: None))
    assert found == {0: 0, 1: None, 2: 2}


def test_addresses_in_a_store_leave_the_network_open_and_no_strict_sandbox(place: Path) -> None:
    paths = [str(place / "source" / "film.mp4"), "s3://bucket/film.mp4"]
    cage = plan_opening("auto", paths, [place / "results"])
    assert cage.open.keys() == {"network"} and cage.reads == (os.fsencode(paths[0]),)
    with pytest.raises(SetupError, match=r"network.*sandbox='auto'"):
        plan_opening("strict", paths)
    assert plan_opening("off", paths) == Sandbox()
