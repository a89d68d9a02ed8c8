"""The recipes in docs/recipes.md, typed from top to bottom as they are written, over a small made folder."""

from __future__ import annotations

import re
import shlex
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import opentimelineio as otio
import pytest
from PIL import Image

from benchmarks.sample_clip import render_sample
from framemill.cluster.cli.main import main
from tests.shared import media_dir, models_dir

__all__ = ["media_dir", "models_dir"]

Capture = pytest.CaptureFixture[str]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
# Those that are at hand stand in for what is too large for tests.
STAND_INS = '[model]\ntranscript = "whisper_words"\nspeaker_embeddings = "resemblyzer_ge2e"\n'


def recipe(title: str) -> list[list[str]]:
    """The arguments of each line below a heading."""
    text = PAGE.read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
    typed = [shlex.split(line) for line in blocks.splitlines() if line.strip()]
    assert typed and all(words[0] == "framemill" for words in typed)
    return [words[1:] for words in typed]


@pytest.fixture
def type_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> Callable[[str], list[str]]:
    """Types all lines of a recipe in an empty folder; gives what each printed, tables with tabs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "framemill.toml").write_text(STAND_INS)

    def typed(title: str) -> list[str]:
        printed = []
        for arguments in recipe(title):
            code = main(arguments)
            out, err = capsys.readouterr()
            assert code == 0, (arguments, err)
            printed.append(out)
        return printed

    return typed


def test_the_page_holds_a_recipe_for_each_of_those_whom_the_tests_play() -> None:
    titles = re.findall(r"^## (.*)$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    assert titles == [EDITOR, ENGINEER, RESEARCHER]


EDITOR = "An editor with a folder of clips"
ENGINEER = "An engineer who curates a training set"
RESEARCHER = "A researcher who wants to know who says what"


@pytest.mark.slow
def test_the_editor_gets_a_page_lists_and_stills(
    tmp_path: Path, type_recipe: Callable[[str], list[str]]
) -> None:
    (tmp_path / "clips").mkdir()
    render_sample(tmp_path / "clips" / "sample.mp4", 12, 640, 360)
    shots = type_recipe(EDITOR)[2]
    assert [line.split("\t")[1] for line in shots.splitlines()[1:]] == ["0", "1", "2", "3", "4"]
    assert "THIRD SHOT" in (tmp_path / "report.html").read_text("utf-8")
    lists = tmp_path / "lists"
    names = {path.name for path in lists.iterdir()}
    assert names == {"sample-shots.csv", "sample.edl", "sample.otio"}
    timeline = otio.adapters.read_from_file(str(lists / "sample.otio"))
    assert [clip.source_range.duration.value for clip in timeline.find_clips()] == [50, 62, 62, 51, 75]
    assert len((lists / "sample-shots.csv").read_text("utf-8").splitlines()) >= 6
    assert "00:00:02:00 00:00:04:12" in (lists / "sample.edl").read_text("utf-8")
    stills = sorted((tmp_path / "stills").iterdir())
    assert len(stills) == 5
    for path in stills:
        with Image.open(path) as picture:
            assert picture.size == (640, 360)


@pytest.mark.slow
def test_the_engineer_gets_the_shots_with_one_face_once(
    tmp_path: Path,
    media_dir: Path,
    models_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    type_recipe: Callable[[str], list[str]],
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    (tmp_path / "clips").mkdir()
    for name in ("sample_fragmented.mp4", "audio_only_twos_pcm.mp4", "testvideo.mp4"):
        shutil.copy(media_dir / "video" / name, tmp_path / "clips")
    printed = type_recipe(ENGINEER)
    chosen = {line.split("\t")[0] for line in printed[2].splitlines()[1:]}
    assert chosen == {"sample_fragmented.mp4", "audio_only_twos_pcm.mp4"}, "of one picture, with one face"
    assert "video\t1\t2" in printed[4].splitlines()
    (still,) = (tmp_path / "stills").iterdir()
    assert still.stem.rsplit("-", 1)[0] + ".mp4" in chosen
    with tarfile.open(tmp_path / "shards" / "000000.tar") as shard:
        names = [Path(name) for name in shard.getnames()]
    assert {name.suffix for name in names} == {".jpg", ".json"}
    pictures = [path for path in (tmp_path / "dataset" / "train").iterdir() if path.suffix == ".jpg"]
    assert len(pictures) == len(names) / 2 >= 1


@pytest.mark.slow
def test_the_researcher_gets_words_speakers_and_subtitles(
    tmp_path: Path,
    media_dir: Path,
    models_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    type_recipe: Callable[[str], list[str]],
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    (tmp_path / "talks").mkdir()
    shutil.copy(media_dir / "audio" / "whisper_words" / "long_1.flac", tmp_path / "talks")
    printed = type_recipe(RESEARCHER)
    assert len(printed[2].splitlines()) > 1, "a moment is found"
    assert "speaker_0" in printed[3]
    (subtitles,) = (tmp_path / "subtitles").glob("*.srt")
    assert " --> " in subtitles.read_text("utf-8")
    assert len(list((tmp_path / "subtitles").glob("*.vtt"))) == 1
    (turns,) = (tmp_path / "speakers").glob("*.rttm")
    assert all(
        re.match(r"SPEAKER \S+ 1 \S+ \S+ .* speaker_\d+ ", line)
        for line in turns.read_text("utf-8").splitlines()
    )
    assert len(list((tmp_path / "transcripts").glob("*.json"))) == 1
    assert "speaker_0" in printed[-1]
