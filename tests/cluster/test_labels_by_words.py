"""Labels by words, from the command line, with tiny towers: a clip's vector is its colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.cli.main import main
from framemill.models.entry import ModelEntry
from framemill.models.registry import user_folder
from tests.cluster.corpus.test_search import COLOURS, add_blocks, render
from tests.ops.frames.towers import word_tower

TOWERS = ("--model", "image_embeddings=tiny_clip", "--model", "labels=tiny_words")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")
    monkeypatch.delenv("FRAMEMILL_MODEL_MIRROR", raising=False)


def add_words(folder: Path) -> ModelEntry:
    """Adds tiny_clip, and a tower of the same space in which each colour's word points at the colour."""
    add_blocks(folder)
    points = {word: [part - 127.5 for part in colour] for word, colour in COLOURS.items()}
    entry = word_tower(folder / "labels", "siglip2_text", points)
    files = "".join(
        f'[[files]]\nname = "{f.name}"\nsha256 = "{f.sha256}"\nnum_bytes = {f.num_bytes}\n'
        for f in entry.files
    )
    (user_folder() / "tiny_words.toml").write_text(
        f'name = "tiny_words"\nrole = "labels"\nfamily = "siglip2_text"\npath = "{entry.path}"\n'
        f'sha256 = "{entry.sha256}"\nvectors_of = "tiny_clip"\nlogit_scale = 20.0\nlogit_bias = -10.0\n'
        f'labels = ["dog", "beach"]\n{files}'
    )
    return entry


def rows(capsys: pytest.CaptureFixture[str], out: str, statement: str) -> Any:
    capsys.readouterr()
    assert main(["sql", out, statement, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_frames_are_embedded_once_and_named_by_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_words(tmp_path)
    clips = [str(render(tmp_path / f"{word}.mp4", colour)) for word, colour in COLOURS.items()]
    out = str(tmp_path / "out")
    command = ["extract", *clips, "-o", out, "--sample", "every:0.4", "-q"]
    assert main([*command, "--ops", "media,image_embeddings", *TOWERS[:2]]) == 0
    # The vectors that are there are taken, though their model is gone.
    (tmp_path / "tiny_clip.onnx").rename(tmp_path / "away.onnx")
    assert main([*command, "--ops", "labels", *TOWERS]) == 0
    found = rows(
        capsys, out, "SELECT uri, label, count(*) AS n FROM labels JOIN media USING (source_id) GROUP BY ALL"
    )
    told = {(Path(row["uri"]).stem, row["label"]): row["n"] for row in found}
    assert told == {("dog", "dog"): 3, ("beach", "beach"): 3}
    # Another vocabulary makes other rows.
    words = tmp_path / "words.txt"
    words.write_text("beach\n")
    asked = [*command, "--ops", "labels", *TOWERS, "--set", f"labels.vocabulary=@{words}"]
    assert main(asked) == 2
    assert "table 'labels' was made differently: options is" in capsys.readouterr().err
    assert main([*asked, "--replace"]) == 0
    assert rows(capsys, out, "SELECT label, count(*) AS n FROM labels GROUP BY 1") == [
        {"label": "beach", "n": 3}
    ]


def test_what_does_not_fit_together_is_refused_before_any_decoding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = str(render(tmp_path / "dog.mp4", COLOURS["dog"])), str(tmp_path / "out")
    for ops in ("labels", "aesthetics"):
        words = ("--model", "image_embeddings=dinov2_small")
        assert main(["extract", clip, "-o", out, "--ops", ops, *words]) == 2
        said = capsys.readouterr().err
        assert f"{ops}: model " in said and "are dinov2_small's; add --model image_embeddings=" in said
    assert main(["extract", clip, "-o", out, "--ops", "aesthetics"]) == 2
    assert "goes with siglip2_base: nima_mobilenet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
