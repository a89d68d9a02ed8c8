"""Real disks that are full, out of inodes or read-only: small ones in memory, where the test may mount."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cases import Place, Scenario, Tables, assert_whole, tables_in, undisturbed

SIZE_BYTES = 1 << 20


class Disk:
    """A disk of a megabyte, mounted below the folder of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", folder]
        made = subprocess.run(mount, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"a disk cannot be mounted here: {made.stderr.strip()}")

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)

    def fill(self, but_bytes: int) -> Path:
        """Fills it to the brim but for so much; answers the file to remove."""
        filler = self.folder / "filler"
        info = os.statvfs(self.folder)
        filler.write_bytes(bytes(info.f_bavail * info.f_frsize - but_bytes))
        return filler


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        yield Disk(tmp_path / "disk")
    finally:
        subprocess.run(["umount", tmp_path / "disk"], capture_output=True)


@pytest.fixture
def place(scenario: Scenario, disk: Disk, tmp_path: Path) -> Place:
    """Where a run with its results on that disk takes place."""
    on_disk = dataclasses.replace(scenario, base=tmp_path, out=lambda folder: str(disk.folder / "out"))
    return on_disk.prepare("run")


@pytest.fixture(scope="module")
def rows(scenario: Scenario) -> Tables:
    """What it gives on a disk with room."""
    return undisturbed(scenario).tables


def refused(place: Place, words: str) -> None:
    """Runs the command, which ends with these words and leaves whole rows."""
    ended = place.extract()
    assert ended.code in (1, 2) and words in ended.said, (ended.code, ended.said)
    assert "Traceback" not in ended.said and "not foreseen" not in ended.said
    if (Path(place.out) / "_framemill" / "dataset.json").exists():
        assert_whole(place.out)


def completed(place: Place, rows: Tables) -> None:
    """Runs the same command, which gives the rows of a run that nothing disturbed."""
    ended = place.extract()
    assert ended.code == 0, ended.said
    assert tables_in(place) == rows


@pytest.mark.parametrize("pages", [0, 2, 6, 10])
def test_a_full_disk_costs_nothing_once_there_is_room(
    place: Place, disk: Disk, rows: Tables, pages: int
) -> None:
    filler = disk.fill(pages * os.sysconf("SC_PAGE_SIZE"))
    refused(place, "free some space")
    filler.unlink()
    completed(place, rows)


@pytest.mark.parametrize("inodes", [1, 4, 8])
def test_so_does_one_without_inodes(place: Place, disk: Disk, rows: Tables, inodes: int) -> None:
    info = os.statvfs(disk.folder)
    disk.remount(f"nr_inodes={info.f_files - info.f_ffree + inodes}")
    refused(place, "free some space")
    disk.remount("nr_inodes=1000")
    completed(place, rows)


def test_a_disk_that_turned_read_only_costs_nothing_once_it_can_be_written(
    place: Place, disk: Disk, rows: Tables
) -> None:
    disk.remount("ro")
    refused(place, "writable")
    disk.remount("rw")
    completed(place, rows)
    disk.remount("ro")
    assert tables_in(place) == rows
    wanted = ["--ops", "media,frames,audio_levels"]
    ended = place.extract(arguments=wanted)
    assert ended.code == 1 and "writable" in ended.said, ended.said
    disk.remount("rw")
    assert place.extract(arguments=wanted).code == 0
    assert tables_in(place)["frames"] == rows["frames"]
