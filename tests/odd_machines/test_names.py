"""Names of bytes that are no text, in a locale that knows ASCII alone: listed, read, shown, exported."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from framemill.cluster.editing.timeline import media_url
from framemill.cluster.exports.naming import folder_beside
from framemill.cluster.run.sources import paths_of, uri_of
from tests.cluster.extraction import render_clip
from tests.odd_machines.test_machines import C, run

NAMES = (b"n\xff\xe9.mp4", "\u00fc.mp4".encode(), b"two\nlines.mp4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of these names, and a damaged one, with the results of a run in the locale C."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "clips").mkdir()
    clip = render_clip(folder / "clip.mp4", seed=1, seconds=2.0).read_bytes()
    for number, name in enumerate(NAMES):
        with open(os.fsencode(folder / "clips") + b"/" + name, "wb") as file:
            file.write(clip + b"\0\0\0\x08free" * number)
    with open(os.fsencode(folder / "clips") + b"/bad\xfe.mp4", "wb") as file:
        file.write(clip[:500])
    done = run("extract", "clips", "-o", "out", "--ops", "media,frames,scenes", at=folder, env=C)
    assert done.returncode == 3 and r"clips/bad\xfe.mp4" in done.stdout, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("env", [C, {"LC_ALL": "C.UTF-8"}], ids=["C", "UTF-8"])
def test_names_in_bytes_are_known_in_every_locale(folder: Path, env: dict[str, str]) -> None:
    told = run("sql", "out", "SELECT uri FROM media ORDER BY uri", "--json", at=folder, env=env)
    uris = [Path(row["uri"]).name for row in json.loads(told.stdout)]
    assert uris == [r"n\xff\xe9.mp4", "two\nlines.mp4", "\u00fc.mp4"]
    status = run("status", "out", "--json", at=folder, env=env)
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["missing"] == [] and json.loads(status.stdout)["changed"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["shots out", "check out", "probe clips", "report out", "export out --format edl -o edl"]
)
def test_commands_that_show_names_work_in_the_locale_c(folder: Path, command: str) -> None:
    done = run(*command.split(), at=folder, env=C)
    assert done.returncode in (0, 3) and "Error" not in done.stderr, done.stderr


def test_files_go_beside_a_source_whose_folder_has_a_name_in_bytes(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/d\xff"
    os.mkdir(folder)
    assert os.fsencode(folder_beside(uri_of(os.fsdecode(folder + b"/a.mp4")))) == folder


def test_paths_come_back_from_their_uris() -> None:
    for name in NAMES:
        path = os.fsdecode(b"/clips/" + name)
        assert os.fsencode(paths_of(uri_of(path))[0]) == b"/clips/" + name
        assert unquote_to_bytes(media_url(uri_of(path))) == b"file:///clips/" + name
