"""One namespace: nothing of a user's own is shadowed, overwritten or taken for ours."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster.extraction import render_clip
from tests.test_packaging import REPOSITORY

FOLDERS = ("cluster", "actors", "ops", "models")
# What a project of the user's may well hold, each of which ends whoever imports it.
THEIRS = ("models.py", "cluster.py", "ops/__init__.py", "actors/__init__.py")


@pytest.fixture
def their_project(tmp_path: Path) -> Path:
    """A folder with modules of the user's own under the names of our folders, and a clip."""
    folder = tmp_path / "project"
    for name in THEIRS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"raise SystemExit('{name} of the user was imported')\n")
    render_clip(folder / "clip.mp4", seed=1)
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def extract(folder: Path, *command: str) -> str:
    line = (*command, "extract", "clip.mp4", "-o", str(folder / "out"), "--ops", "media,frames")
    done = run(folder, *line)
    assert done.returncode == 0, done.stderr
    assert "1 computed" in done.stdout
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [(str(Path(sys.executable).with_name("framemill")),), (sys.executable, "-m", "framemill")],
    ids=["script", "module"],
)
def test_a_project_with_modules_of_the_same_names(their_project: Path, command: Sequence[str]) -> None:
    extract(their_project, *command)


def test_the_api_beside_modules_of_the_same_names(their_project: Path) -> None:
    code = "import framemill; print(framemill.extract('clip.mp4', 'out', ops=['media']).exit_code)"
    done = run(their_project, sys.executable, "-c", code)
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr


@pytest.mark.cluster
@pytest.mark.slow
def test_ray_beside_modules_of_the_same_names(their_project: Path) -> None:
    pytest.importorskip("ray")
    line = (sys.executable, "-m", "framemill", "extract", "clip.mp4", "-o", "out", "--ops", "media,frames")
    done = run(their_project, *line, "--engine", "ray")
    assert done.returncode == 0, done.stderr


def test_the_folders_are_links_within_the_repository() -> None:
    for name in FOLDERS:
        link = REPOSITORY / "framemill" / name
        assert os.readlink(link) == f"../{name}"


def test_the_old_way_to_start_it_from_the_repository_still_works() -> None:
    done = run(REPOSITORY, sys.executable, "-m", "cluster", "--version")
    assert done.returncode == 0 and "framemill" in done.stdout


def test_a_wheel_holds_one_package_and_all_of_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    pack = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, check=True,
    )  # fmt: skip
    names = [name for name in pack.stdout.decode().split("\0") if name and (REPOSITORY / name).exists()]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            archive.add(REPOSITORY / name, name)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        archive.extractall(source, filter="tar")
    line = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        tmp_path,
    ]
    done = subprocess.run(line, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in held} == {"framemill"}
    ours = {name for name in names if name.startswith(tuple(f"{folder}/" for folder in FOLDERS))}
    ours = {f"framemill/{name}" for name in ours if name.endswith((".py", ".toml", ".txt", ".js", ".css"))}
    own = {name for name in names if name.startswith("framemill/") and name.rpartition("/")[2] not in FOLDERS}
    assert held == ours | own


def test_an_archive_without_links_says_what_to_do(tmp_path: Path) -> None:
    package = tmp_path / "framemill"
    package.mkdir()
    for path in (REPOSITORY / "framemill").iterdir():
        if path.is_symlink():  # as `unzip` without links, or a job server, leaves them
            (package / path.name).write_text(os.readlink(path))
        elif path.is_file():
            (package / path.name).write_bytes(path.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", "import framemill"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "text files where links" in done.stderr and "--working-dir" in done.stderr
