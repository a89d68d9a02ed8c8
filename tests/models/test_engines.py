from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from framemill.models.engines import engine_folder, open_with_engine, timing_folder


def test_everything_that_an_engine_depends_on_is_in_its_name(tmp_path: Path) -> None:
    parts = ["digest", "1", "fp32", "1.31.1", "10.16.1.11", "sm90"]
    folders = {engine_folder(tmp_path, parts)}
    for position in range(len(parts)):
        folders.add(engine_folder(tmp_path, [*parts[:position], "other", *parts[position + 1 :]]))
    assert len(folders) == len(parts) + 1
    assert engine_folder(tmp_path, ["a", "bc"]) != engine_folder(tmp_path, ["ab", "c"])
    assert timing_folder(tmp_path, ["1.31.1", "sm90"]).name == "1.31.1-sm90"


def test_an_engine_is_built_once_and_then_found(tmp_path: Path) -> None:
    folder = engine_folder(tmp_path, ["x"])
    opened: list[Path] = []

    def open_(place: Path) -> str:
        opened.append(place)
        (place / "model.engine").write_text("built")
        return place.name

    session, seconds = open_with_engine(folder, open_)
    assert session == folder.name and seconds > 0
    assert [place == folder for place in opened] == [False, True]  # built apart, opened from its place
    assert open_with_engine(folder, open_) == (folder.name, 0.0) and len(opened) == 3
    assert [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] == [folder.name]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    folder = engine_folder(tmp_path, ["x"])

    def fail(place: Path) -> None:
        (place / "half").write_text("an engine")
        raise RuntimeError("no driver")

    with pytest.raises(RuntimeError, match="no driver"):
        open_with_engine(folder, fail)
    assert [entry.name for entry in folder.parent.iterdir()] == [".lock"]
    assert open_with_engine(folder, lambda place: place.mkdir(exist_ok=True))[1] > 0


def test_a_build_is_told_of_and_an_engine_that_is_there_is_not(tmp_path: Path) -> None:
    folder, told = engine_folder(tmp_path, ["x"]), list[str]()
    open_with_engine(folder, lambda place: None, told.append, "yolox")
    begun, ended = told
    assert "engine of yolox: TensorRT builds it" in begun
    assert "engine of yolox: built in 0 s" in ended and str(folder) in ended
    open_with_engine(folder, lambda place: None, told.append, "yolox")
    assert len(told) == 2


def test_who_waits_for_another_process_says_so_and_builds_nothing(tmp_path: Path) -> None:
    """Builds time kernels on the device, so that those of all workers of a node go one at a time."""
    folder = engine_folder(tmp_path, ["x"])
    code = (
        "import sys, time; from pathlib import Path; from framemill.models.engines import open_with_engine\n"
        "def build(place):\n    print('building', flush=True) if place != folder else None; time.sleep(1)\n"
        "folder = Path(sys.argv[1]); open_with_engine(folder, build)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    told: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "building\n"
        _, seconds = open_with_engine(folder, lambda place: None, told.append, "faces")
    assert seconds == 0 and told == ["engine of faces: waiting for another that is built"]


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    folder = engine_folder(tmp_path, ["x"])
    left = folder.parent / ".building-of-somebody"
    left.mkdir(parents=True)
    (left / "half").write_text("an engine")
    open_with_engine(folder, lambda place: None)
    assert folder.is_dir() and not left.exists()


def test_many_at_once_build_one_engine(tmp_path: Path) -> None:
    folder = engine_folder(tmp_path, ["x"])
    building, most, builds = 0, 0, 0
    lock = threading.Lock()

    def open_(place: Path) -> None:
        nonlocal building, most, builds
        if place == folder:
            assert (place / "done").exists()  # nobody sees a folder without its engine
            return
        with lock:
            building, builds = building + 1, builds + 1
            most = max(most, building)
        threading.Event().wait(0.02)
        (place / "done").touch()
        with lock:
            building -= 1

    with ThreadPoolExecutor(6) as pool:
        seconds = [pool.submit(open_with_engine, folder, open_) for _ in range(6)]
        assert sum(future.result()[1] > 0 for future in seconds) == 1
    assert (most, builds) == (1, 1)
