"""Montages from made-up tables: the promises of the timeline, and what bad input gets."""

from __future__ import annotations

import json
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import opentimelineio as otio
import pytest

from benchmarks.made_corpus import make_corpus
from framemill.cluster.cli.main import main
from framemill.cluster.editing.montage import MontageRequest, make_montage
from framemill.cluster.results.dataset import Dataset
from framemill.errors import UsageError
from tests.actors.clips import moving, write_clip


def clicks(path: Path, seconds: float, bpm: float = 120.0) -> Path:
    """A click on every beat."""
    rate = 16_000
    samples = np.zeros(int(seconds * rate))
    click = np.sin(2 * np.pi * 1000 * np.arange(800) / rate) * np.hanning(800)
    if bpm:
        for start in np.arange(0.5, seconds - 0.1, 60 / bpm):
            at = round(start * rate)
            samples[at : at + 800] = click
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 20_000).astype("<i2").tobytes())
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Dataset:
    return make_corpus(tmp_path, 8, 40)


def test_cuts_fall_on_beats_and_clips_lie_in_their_shots(corpus: Dataset, tmp_path: Path) -> None:
    music = clicks(tmp_path / "clicks.wav", 40)
    request = MontageRequest(seconds=30, music=str(music))
    made = make_montage(corpus, request)
    timeline = made.timeline
    assert timeline.num_frames == 900 and made.problems == {} and made.notes == []
    truth = np.arange(0.5, 40, 0.5)
    assert max(np.abs(truth - cut).min() for cut in made.cuts_seconds) < 0.08
    assert len(timeline.clips) == len(made.cuts_seconds) + 1 >= 12
    for clip in timeline.clips:
        first, last = clip.start_frame / 30, (clip.start_frame + clip.num_frames) / 30
        assert (
            int(first / 5 + 1e-9) == int(last / 5 - 1e-6)
            and clip.start_frame + clip.num_frames <= clip.media_frames
        )
    assert make_montage(corpus, request).timeline == timeline


def test_files_are_shown_as_often_as_allowed(corpus: Dataset) -> None:
    made = make_montage(corpus, MontageRequest(seconds=30, per_file=2))
    counts = Counter(clip.uri for clip in made.timeline.clips)
    assert len(counts) == 8 and set(counts.values()) <= {1, 2}
    short = make_montage(corpus, MontageRequest(seconds=30, per_file=1))
    assert len(short.timeline.clips) == 8 and short.timeline.seconds < 30
    assert any("1 clips a file" in note for note in short.notes)


def test_music_without_beats_and_music_that_ends(corpus: Dataset, tmp_path: Path) -> None:
    silent = make_montage(
        corpus, MontageRequest(seconds=10, music=str(clicks(tmp_path / "silence.wav", 20, bpm=0)))
    )
    assert silent.timeline.num_frames == 300 and any("no beats" in note for note in silent.notes)
    short = make_montage(corpus, MontageRequest(seconds=20, music=str(clicks(tmp_path / "short.wav", 8))))
    assert short.timeline.num_frames == 600 and short.timeline.music_frames == 240
    assert any("music ends after 8.0 s" in note for note in short.notes)
    steps = np.diff(short.cuts_seconds)
    assert steps == pytest.approx(np.full(len(steps), 2.0), abs=0.05)


def test_bad_input_gets_a_shorter_montage_or_none_and_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    black = [np.zeros((64, 96, 3), np.uint8)]
    write_clip(tmp_path / "black.mp4", black * 50)
    write_clip(tmp_path / "two frames.mp4", moving(2))
    out, cut = str(tmp_path / "out"), tmp_path / "cut.otio"
    sources = [str(tmp_path / "black.mp4"), str(tmp_path / "two frames.mp4")]
    assert main(["extract", *sources, "-o", out, "--sample", "every:0.5", "-q"]) == 0
    command = ["montage", out, "--seconds", "5", "-o", str(cut)]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert "nothing was written" in told and not cut.exists()
    assert "0.0 s instead of 5 s" in told or "no file has a frame that may be shown" in told
    # One endless shot and one of a second: what they have, and why it is not more.
    write_clip(tmp_path / "endless.mp4", moving(150))
    write_clip(tmp_path / "second.mp4", moving(25, seed=1))
    sources += [str(tmp_path / "endless.mp4"), str(tmp_path / "second.mp4")]
    assert main(["extract", *sources, "-o", out, "--sample", "every:0.5", "-q"]) == 0
    assert main([*command[:3], "30", *command[4:]]) == 0
    told = capsys.readouterr().err
    read = otio.adapters.read_from_file(str(cut))
    assert 2 < read.duration().to_seconds() < 7.1
    assert "instead of 30 s: all that there is" in told


def test_files_that_are_gone_are_left_out(corpus: Dataset, tmp_path: Path) -> None:
    gone = sorted((tmp_path / "media").iterdir())[:3]
    for path in gone:
        path.unlink()
    made = make_montage(corpus, MontageRequest(seconds=10))
    assert set(made.problems) == set(map(str, gone))
    assert {clip.uri for clip in made.timeline.clips}.isdisjoint(map(str, gone))
    assert made.timeline.num_frames == 300


def test_the_command(corpus: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    music, target = clicks(tmp_path / "clicks.wav", 30), tmp_path / "cut.otio"
    command = ["montage", str(corpus.root), "--seconds", "10", "--music", str(music), "-o", str(target)]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] == 10 and found["timeline"] == str(target)
    read = otio.adapters.read_from_file(str(target))
    assert read.duration().to_seconds() == 10 and read.name == "cut"
    first = target.read_bytes()
    assert main(command) == 0
    assert target.read_bytes() == first
    assert "10.0 s" in capsys.readouterr().err
    sorted((tmp_path / "media").iterdir())[0].unlink()
    assert main([*command, "-q"]) == 3
    assert "is not there any more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seconds", "10"], "where the result goes"),
        (["--seconds", "0.2", "-o", "a.otio"], "must be 1 to"),
        (["--seconds", "10", "-o", "a.txt"], "must end in"),
        (["--seconds", "10", "--render", "a.avi"], "must end in .mp4"),
        (["--seconds", "10", "--render", "no/a.mp4"], "make it first"),
        (["--seconds", "10", "-o", "a.otio", "--size", "9x9"], "it must be 64"),
        (["--seconds", "10", "-o", "a.otio", "--size", "101x100"], "both must be even"),
        (["--seconds", "10", "-o", "a.otio", "--size", "big"], "as in 1280x720"),
        (["--seconds", "10", "-o", "a.otio", "--fps", "31"], "choose one of"),
        (["--seconds", "10", "-o", "a.otio", "--music", "no.ogg"], "the music no.ogg"),
    ],
)
def test_wrong_commands_are_refused(
    arguments: list[str],
    told: str,
    corpus: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["montage", str(corpus.root), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "a.otio").exists()


def test_without_tables_the_remedy_is_named(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "out", create=True)
    with pytest.raises(UsageError, match="--ops media,frames"):
        make_montage(dataset, MontageRequest(seconds=10))
