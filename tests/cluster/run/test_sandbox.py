"""What a run lets those reach that open its media, and what is said where a layer does not hold."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.run import sandbox, sandbox_kernel, sandbox_plan
from framemill.cluster.run.messages import Sandbox
from framemill.cluster.run.planning import plan_ops
from framemill.cluster.run.sandbox_plan import plan_sandbox, sandbox_in_memory, sandbox_on_ray
from framemill.cluster.run.sources import list_sources
from framemill.errors import SetupError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with something hidden, a film and a folder."""
    home = tmp_path / "people" / "me"
    for name in (".ssh/key", "films/film.mp4", "film.mp4"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"\0")
    monkeypatch.setenv("HOME", str(home))
    return home


def planned(*sources: Path | str, root: Any = None, **asked: Any) -> Sandbox:
    request = ExtractRequest(sources=tuple(map(str, sources)), output="out", ops=("media",), **asked)
    files = list_sources([str(each) for each in sources if "://" not in str(each)])
    return plan_sandbox(request, plan_ops(request, 600.0), files.files, root or Path("/results"))


def test_a_folder_is_read_whole_and_a_file_by_itself(tmp_path: Path, home: Path) -> None:
    folder, other = tmp_path / "videos", tmp_path / "others"
    for path in (folder / "a.mp4", folder / "deep" / "b.mp4", other / "c.mp4", other / "d.mp4"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0")
    (folder / "link.mp4").symlink_to(other / "d.mp4")
    found = planned(folder, other / "c.mp4")
    assert set(found.reads) == {os.fsencode(path) for path in (folder, other / "c.mp4", other / "d.mp4")}
    assert found.writes == (b"/results",) and not found.open


def test_a_folder_that_holds_the_home_counts_as_its_files(tmp_path: Path, home: Path) -> None:
    for folder in (home, home.parent):
        assert set(planned(folder).reads) == {
            os.fsencode(home / "film.mp4"),
            os.fsencode(home / "films" / "film.mp4"),
        }


def test_of_very_many_files_the_folders_are_read(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_plan, "MOST_FILES", 1)
    assert planned(home / "films" / "film.mp4").reads == (os.fsencode(home / "films" / "film.mp4"),)
    (home / "films" / "other.mp4").write_bytes(b"\0")
    both = planned(home / "films" / "film.mp4", home / "films" / "other.mp4")
    assert both.reads == (os.fsencode(home / "films"),)


def test_files_that_options_of_other_peoples_operations_name_are_read(tmp_path: Path, home: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"\0")
    request = ExtractRequest(sources=(), output="", ops=("media",))
    plan = plan_ops(request, 600.0)
    options = {"weights": str(weights), "others": [f"@{weights}", "no path", ""], "most": 3}
    theirs = replace(plan, ops={"theirs": replace(plan.ops["media"], options=options)})
    assert list(sandbox_plan._of_operations(request, theirs)) == [os.fsencode(weights)] * 2
    assert list(sandbox_plan._of_operations(request, plan)) == []


def test_what_is_hidden_in_the_home_folder_stays_closed(home: Path) -> None:
    (home / "to-keys").symlink_to(home / ".ssh")
    (home.parent / "round").symlink_to(home.parent)
    shown = {path for path, rights in sandbox._shown(os.fsencode(home.parent.parent), 0)}
    assert {os.fsencode(home / "films"), os.fsencode(home / "film.mp4")} <= shown
    assert not any(sandbox.is_above(path, os.fsencode(home / ".ssh" / "key")) for path in shown)


def test_a_strict_run_refuses_what_needs_the_network_or_all_files(home: Path) -> None:
    remote = RemotePath("s3", "bucket", "out")
    request = ExtractRequest(sources=(), output="", ops=("media",), sandbox="strict")
    plan = plan_ops(request, 600.0)
    for make in (
        lambda: sandbox_on_ray(request),
        lambda: sandbox_in_memory(request, plan, Path("/results")),
        lambda: planned(root=remote, sandbox="strict"),
    ):
        with pytest.raises(SetupError, match=r"network.*sandbox='auto'"):
            make()
    assert sandbox_on_ray(ExtractRequest(sources=(), output="")).open.keys() == {
        "network",
        "reads",
        "writes",
        "limits",
    }


def test_results_around_the_home_folder_leave_writing_open_and_say_so(home: Path) -> None:
    assert planned(root=home.parent).open == {"writes": "the result folder holds the home folder"}
    with pytest.raises(SetupError, match="holds the home folder"):
        planned(root=home, sandbox="strict")


def test_a_processor_without_a_filter_and_a_system_without_calls_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="riscv64"):
        sandbox_kernel.filter_calls(network=False)
    monkeypatch.setattr(sandbox_kernel.sys, "platform", "darwin")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    sandbox_kernel._libc.cache_clear()
    with pytest.raises(OSError, match="Darwin"):
        sandbox_kernel.drop_privileges()


def test_layers_that_lack_are_told_with_their_reasons() -> None:
    whole = dict.fromkeys(sandbox.LAYERS, "")
    assert sandbox.describe(whole) == "sandbox: privileges, calls, network, reads, writes, limits"
    lacking = whole | {"reads": "no Landlock", "writes": "no Landlock", "network": "objects"}
    assert sandbox.describe(lacking) == (
        "sandbox: privileges, calls, limits; not network: objects; not reads, writes: no Landlock"
    )
    assert "off" in sandbox.describe({})
    sandbox.require_whole("strict", whole)
    sandbox.require_whole("auto", lacking)
    with pytest.raises(SetupError, match="no Landlock"):
        sandbox.require_whole("strict", lacking)


def test_without_a_sandbox_nothing_is_entered() -> None:
    config = sandbox.bare_config(Sandbox(), threads=1, memory_bytes=1 << 30)
    assert sandbox.enter(config) == {}
    assert sandbox.enter_shared(config.sandbox) == {}
