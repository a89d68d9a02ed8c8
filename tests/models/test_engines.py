from __future__ import annotations

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
