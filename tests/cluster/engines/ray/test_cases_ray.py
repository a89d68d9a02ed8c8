"""Every case of `../shared/cases` comes out of the Ray engine as it comes out of the local one."""

from __future__ import annotations

import shutil
import wave
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from framemill.cluster.cli.extract import extract as extract_command
from framemill.cluster.cli.output import Invocation
from framemill.cluster.config import read_settings
from framemill.cluster.engines.ray import pipeline
from framemill.cluster.request import RunSummary
from tests.cases.described import Case, read_cases
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import extract, failures, statuses, tables_of
from tests.hostile import Material, canary_server, write_hostile
from tests.shared import SHARED

FOLDER = SHARED / "cases"
CASES = read_cases(FOLDER / "cases.json") if (FOLDER / "cases.json").is_file() else ()
# What runs are asked for. Hostile files run beside the others: neither engine may let them disturb those.
COMMANDS = Counter(case.command for case in CASES)
_NO_SETTINGS = ("sources", "output", "config", "preview")  # what else the command takes

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.media,
    pytest.mark.skipif(not CASES, reason="no real cases at ../shared/cases"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster(models_dir: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
        with small_ray(environment={"FRAMEMILL_MODEL_MIRROR": str(models_dir)}):
            yield


def _sources(cases: Sequence[Case], folder: Path) -> list[Path]:
    """Files of these cases, each once; those that want names of their own as a folder."""
    files = {FOLDER / file for case in cases if not case.names for file in (case.file, *case.neighbours)}
    for case in cases:
        for name in case.names:
            folder.mkdir(exist_ok=True)
            shutil.copyfile(FOLDER / case.file, folder / name)
    return [*sorted(files), *([folder] if folder.is_dir() else [])]


def _settings(command: tuple[str, ...]) -> dict[str, Any]:
    given = extract_command.make_context("extract", ["x", "-o", "x", *command], obj=Invocation()).params
    return dict(read_settings({key: value for key, value in given.items() if key not in _NO_SETTINGS}, {}))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_rows_errors_and_statuses_of_the_local_engine(command: tuple[str, ...], tmp_path: Path) -> None:
    sources = _sources([case for case in CASES if case.command == command], tmp_path / "named")
    settings = _settings(command)
    here = extract(*sources, out=tmp_path / "local", **settings)
    there = extract_on_ray(*sources, out=tmp_path / "ray", **settings)
    _check_same(here, there, tmp_path)


def _check_same(here: RunSummary, there: RunSummary, folder: Path) -> None:
    for field in ("exit_code", "files_computed", "files_failed", "files_partial", "rows"):
        assert getattr(there, field) == getattr(here, field), field
    expected, found = tables_of(folder / "local"), tables_of(folder / "ray")
    assert found.keys() == expected.keys() >= {"media"}
    for name, rows in expected.items():
        assert found[name] == rows, name


@pytest.fixture(scope="module")
def hostile(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A folder of files that lie, are none, or have odd names, with good ones beside them; and a list."""
    folder = tmp_path_factory.mktemp("hostile")
    with canary_server(clips / "b.mp4") as canary:
        write_hostile(folder, Material(clips / "a.mp4", canary))
    for name in ("a\udcff.mp4", "a\\xff.mp4", "a\\x5cxff.mp4"):  # one name by a careless escape
        shutil.copyfile(clips / "b.mp4", folder / name)
    for clip in clips.iterdir():
        shutil.copyfile(clip, folder / f"good {clip.name}")
    with wave.open(str(folder / "one_hertz.wav"), "wb") as sound:
        sound.setparams((1, 1, 1, 0, "NONE", ""))
        sound.writeframes(bytes(range(256)) * 128)  # nine hours, in 32 kB
    with open(folder / "sparse.mp4", "wb") as file:
        file.truncate(1 << 40)
    # Named by hand, nothing is passed over as no media; a list is UTF-8, so one name is not in it.
    listed = folder / "list.txt"
    named = [str(path) for path in sorted(folder.iterdir()) if str(path).isprintable()]
    listed.write_text("\n".join([*named, "/proc/kmsg", "/proc/self/mem"]))
    return str(folder), f"@{listed}"


@pytest.mark.parametrize("opened_by", ["actors", "tasks", "decoders"])
def test_hostile_files_cost_what_they_cost_on_the_local_engine(
    opened_by: str, hostile: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if opened_by == "tasks":
        monkeypatch.setattr(pipeline, "SMALL_BYTES", -1)
    topology = "split" if opened_by == "decoders" else "uniform"
    ops = ("media", "frames", "scenes", "audio_levels", "silences")
    here = extract(*hostile, out=tmp_path / "local", ops=ops)
    asked: dict[str, Any] = {"actors": "1", "topology": topology}
    there = extract_on_ray(*hostile, out=tmp_path / "ray", ops=ops, **asked)
    _check_same(here, there, tmp_path)
    escaped = ("a\\xff.mp4", "a\\x5cxff.mp4", "a\\x5cx5cxff.mp4")
    done = statuses(tmp_path / "ray")
    assert {done[name] for name in (*escaped, "good a.mp4", "good b.mp4", "good c.mkv")} == {"ok"}
    told = {name for name, _ in failures(tmp_path / "ray")}
    assert told >= {"one_hertz.wav", "sparse.mp4", "kmsg", "mem", "pipe.mp4"}
