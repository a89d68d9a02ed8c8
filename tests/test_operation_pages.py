"""Docs pages on operations of one's own: their code and their lines as they stand there, on tiny networks."""

from __future__ import annotations

import shlex
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.cluster.extraction import rows_of
from tests.operation_pages import (
    python_blocks,
    render_dark_then_bright,
    typed_lines,
    write_demucs,
    write_video_tower,
    write_videomae,
)
from tests.plugged import SCRIPT, run, succeed

OFFLINE = {"FRAMEMILL_OFFLINE": "1"}
PULL_STEMS = ("models", "pull", "--for", "stems:Stems")
CLASSES = "hiding\nwalking\njuggling balls\nrunning\n"
# Page -> the files that its blocks of Python are, the last of which tests the first.
MODULES = {
    "stems.md": ("stems.py", "write_stems.py", "test_page.py"),
    "actions.md": ("actions.py", "test_page.py"),
    "clip-embeddings.md": ("video_embeddings.py", "test_page.py"),
}


def write_modules(page: str, folder: Path) -> None:
    """The Python of a page, in the files that it names."""
    for name, code in zip(MODULES[page], python_blocks(page), strict=True):
        (folder / name).write_text(code)
    if page == "actions.md":
        (folder / "actions.txt").write_text(CLASSES)


def type_lines(page: str, folder: Path) -> list[str]:
    """Types the lines of a page; gives what each printed, tables with tabs."""
    printed = []
    for line in typed_lines(page):
        program, *words = shlex.split(line)
        assert program == "framemill"
        printed.append(succeed(folder, SCRIPT, *words, environment=OFFLINE).stdout)
    return printed


@pytest.mark.slow
@pytest.mark.parametrize("page", MODULES)
def test_the_operation_of_a_page_keeps_its_contract(page: str, tmp_path: Path) -> None:
    write_modules(page, tmp_path)
    code = "import test_page\n[test() for name, test in vars(test_page).items() if name.startswith('test_')]"
    succeed(tmp_path, sys.executable, "-c", code)


@pytest.mark.slow
def test_stems_are_measured_and_come_out_as_files(tmp_path: Path) -> None:
    write_modules("stems.md", tmp_path)
    write_demucs(tmp_path / "demucs.onnx")
    (tmp_path / "talks").mkdir()
    mix = render_dark_then_bright(tmp_path / "talks" / "a.mkv")
    absent = run(tmp_path, SCRIPT, *PULL_STEMS, environment=OFFLINE)
    assert absent.returncode == 5 and "htdemucs" in absent.stderr, "it would be fetched"
    (tmp_path / "framemill.toml").write_text('[model]\nstems = "demucs.onnx"\n')  # what is at hand stands in
    _, _, told = type_lines("stems.md", tmp_path)
    assert "talks/a.mkv" in told and told.splitlines()[1].split("\t")[1] == "0.0"
    loud = 20 * np.log10(np.sqrt((mix**2).mean()))
    levels = {row["stem"]: row["rms_db"] - loud for row in rows_of(tmp_path / "out", "stems")}
    shares = dict(zip(("drums", "bass", "other", "vocals"), (0.1, 0.2, 0.3, 0.4), strict=True))
    assert levels == pytest.approx({stem: 20 * np.log10(share) for stem, share in shares.items()}, abs=0.05)
    succeed(tmp_path, sys.executable, "write_stems.py", "out", "voices")
    (path,) = (tmp_path / "voices").iterdir()
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 44_100)
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).T / 32767
    assert heard.shape[1] == pytest.approx(4 * 44_100, abs=2)
    time = np.arange(heard.shape[1]) / 44_100
    tone = 0.4 * 0.5 * np.sin(2 * np.pi * 330 * time)
    inside = slice(1000, -1000)  # a resampler rings where sound begins and ends
    assert np.abs(heard - np.stack([tone, tone / 2]))[:, inside].max() < 1e-3


@pytest.mark.slow
def test_segments_of_a_long_track_fade_into_each_other(tmp_path: Path) -> None:
    write_modules("stems.md", tmp_path)
    write_demucs(tmp_path / "demucs.onnx")
    render_dark_then_bright(tmp_path / "a.mkv")
    line = ("extract", "a.mkv", "-o", "out", "--ops", "media,stems:Stems", "--model", "stems=demucs.onnx")
    settings = ("--set", "stems.keep=vocals", "--set", "stems.segment_samples=30000")
    succeed(tmp_path, SCRIPT, *line, *settings)
    rows = sorted(rows_of(tmp_path / "out", "stems"), key=lambda row: row["start_seconds"])
    voices = [row for row in rows if row["stem"] == "vocals"]
    assert len(voices) > 5 and all(row["sound"] is None for row in rows if row["stem"] != "vocals")
    assert [row["end_seconds"] for row in voices[:-1]] == [row["start_seconds"] for row in voices[1:]]
    heard = np.frombuffer(b"".join(row["sound"] for row in voices), "<i2").reshape(-1, 2).T / 32767
    tone = 0.2 * np.sin(2 * np.pi * 330 * np.arange(heard.shape[1]) / 44_100)
    assert np.abs(heard - np.stack([tone, tone / 2]))[:, 1000:-1000].max() < 1e-3


@pytest.mark.slow
def test_actions_are_named_for_each_stretch_and_choose_clips(tmp_path: Path) -> None:
    write_modules("actions.md", tmp_path)
    write_videomae(tmp_path / "videomae.onnx")
    (tmp_path / "videos").mkdir()
    render_dark_then_bright(tmp_path / "videos" / "a.mkv")
    _, told, _ = type_lines("actions.md", tmp_path)
    assert [line.split("\t")[1:3] for line in told.splitlines()[1:]] == [
        ["0.0", "hiding"],
        ["2.0", "juggling balls"],
    ]
    (clip,) = [row for row in rows_of(tmp_path / "out", "clips") if row["kept"]]
    assert (clip["start_seconds"], clip["end_seconds"]) == (2.0, 4.0)
    words = "hiding\nwalking\nwaving\nrunning\n"  # other names are another model, whose rows are made anew
    (tmp_path / "actions.txt").write_text(words)
    refused = run(tmp_path, SCRIPT, *shlex.split(typed_lines("actions.md")[0])[1:])
    assert refused.returncode == 2 and "'actions' was made differently: models is" in refused.stderr


@pytest.mark.slow
def test_shots_get_vectors_of_video_models_and_pictures_can_be_asked_for_later(tmp_path: Path) -> None:
    write_modules("clip-embeddings.md", tmp_path)
    write_video_tower(tmp_path / "internvideo2.onnx", 4, 224)
    write_video_tower(tmp_path / "cosmos.onnx", 8, 336)
    (tmp_path / "videos").mkdir()
    render_dark_then_bright(tmp_path / "videos" / "a.mkv")
    extract = shlex.split(typed_lines("clip-embeddings.md")[0])[1:]
    blind = run(tmp_path, SCRIPT, *(word for word in extract if word != "--images"))
    assert blind.returncode == 3 and "frames holds no pictures" in blind.stdout
    succeed(tmp_path, SCRIPT, *extract, "--retry-failed")
    assert type_lines("clip-embeddings.md", tmp_path)[0].count("1 already there")
    vectors = [np.array(row["vector"]) for row in rows_of(tmp_path / "out", "video_embeddings")]
    assert [len(vector) for vector in vectors] == [12, 12]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1])
    assert vectors[0] @ vectors[1] < 0, "one of the shots is dark and one bright"
    line = " ".join(extract).replace("video_embeddings=internvideo2", "cosmos_embeddings=cosmos")
    succeed(tmp_path, SCRIPT, *line.replace(":VideoEmbeddings", ":CosmosEmbeddings").split())
    found = [np.array(row["vector"]) for row in rows_of(tmp_path / "out", "cosmos_embeddings")]
    assert [len(vector) for vector in found] == [24, 24] and (np.array(found) > 0).all(), "it takes 0..1"
