"""Search on a dataset made by the main job with tiny towers: a clip's vector is its colour."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.corpus.search import search_text
from framemill.cluster.results.commits import Commit
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry
from framemill.cluster.results.parts import write_part
from framemill.errors import ModelError, SetupError, UsageError
from framemill.models.registry import user_folder
from framemill.ops.text.embeddings import TextEmbeddings
from tests.models.test_bert_graph import CONFIG, tiny_weights, write_safetensors
from tests.ops.frames.embedding_stand_ins import WORDS, folder_entry, word_tokenizer
from tests.ops.frames.towers import image_tower, text_tower

COLOURS = {"dog": (220, 40, 40), "beach": (40, 60, 230)}


def render(path: Path, colour: tuple[int, int, int]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"preset": "ultrafast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        pixels = np.empty((64, 96, 3), np.uint8)
        pixels[:] = colour
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


def add_blocks(folder: Path) -> None:
    """Adds tiny_clip and its text tower, where each colour's word points at the colour."""
    tower = image_tower(folder / "tiny_clip.onnx", "clip")
    digest = hashlib.sha256(tower.read_bytes()).hexdigest()
    user_folder().mkdir(parents=True, exist_ok=True)
    (user_folder() / "tiny_clip.toml").write_text(
        f'name = "tiny_clip"\nrole = "image_embeddings"\nfamily = "clip"\npath = "{tower}"\n'
        f'sha256 = "{digest}"\ninput_size = [224, 224]\ncolour = "rgb"\nmean = [127.5]\nscale = [0.01]\n'
    )
    words = folder / "words"
    words.mkdir()
    word_tokenizer(words / "tokenizer.json")
    table = np.zeros((len(WORDS) + 2, 3), np.float32)
    for word, colour in COLOURS.items():
        table[WORDS.index(word) + 2] = np.array(colour) - 127.5
    text_tower(words / "model.onnx", "clip_text", table)
    entry = folder_entry(words, "tiny_clip_text", "image_text", "clip_text")
    files = "".join(
        f'[[files]]\nname = "{f.name}"\nsha256 = "{f.sha256}"\nnum_bytes = {f.num_bytes}\n'
        for f in entry.files
    )
    (user_folder() / "tiny_clip_text.toml").write_text(
        'name = "tiny_clip_text"\nrole = "image_text"\nfamily = "clip_text"\n'
        f'path = "{words}"\nsha256 = "{entry.sha256}"\n{files}'
    )


def extract(folder: Path, model: str) -> str:
    clips = [str(render(folder / f"{word}.mp4", colour)) for word, colour in COLOURS.items()]
    out = str(folder / "out")
    command = ["extract", *clips, "-o", out, "--ops", "image_embeddings", "--sample", "every:0.4", "-q"]
    assert main([*command, "--model", f"image_embeddings={model}"]) == 0
    return out


def found(capsys: pytest.CaptureFixture[str]) -> list[str]:
    hits = json.loads(capsys.readouterr().out)
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    return [Path(hit["uri"]).stem for hit in hits]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_OFFLINE", "1")


def test_words_and_pictures_find_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_blocks(tmp_path)
    out = extract(tmp_path, "tiny_clip")
    capsys.readouterr()
    assert main(["search", out, "the dog", "--json"]) == 0
    assert found(capsys) == ["dog"] * 3 + ["beach"] * 3
    assert main(["search", out, "a beach", "--top", "2", "--in", "frames", "--json"]) == 0
    assert found(capsys) == ["beach"] * 2
    picture = tmp_path / "query.png"
    cv2.imwrite(str(picture), np.full((50, 70, 3), (200, 70, 60), np.uint8))  # blue, green, red
    assert main(["search", out, "--image", str(picture), "--top", "3", "--json"]) == 0
    assert found(capsys) == ["beach"] * 3
    assert main(["search", out, "the dog", "--top", "1"]) == 0
    shown = capsys.readouterr().out
    assert "dog.mp4" in shown and "text" not in shown.splitlines()[0]
    # A tower of another length of vectors.
    folder = tmp_path / "other"
    folder.mkdir()
    word_tokenizer(folder / "tokenizer.json")
    text_tower(folder / "model.onnx", "siglip2_text", np.ones((len(WORDS) + 2, 5), np.float32))
    with pytest.raises(ModelError, match="has 5 numbers, those of image_embeddings have 3"):
        search_text(Dataset.open(out, create=False), "dog", 3, models={"image_text": str(folder)})


def test_a_model_without_words_is_exit_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_blocks(tmp_path)
    out = extract(tmp_path, "tiny_clip")
    (user_folder() / "tiny_clip_text.toml").unlink()
    assert main(["search", out, "the dog"]) == 5
    said = capsys.readouterr().err
    assert "understands no words" in said and "--model image_embeddings=siglip2_base --replace" in said
    (user_folder() / "tiny_clip.toml").unlink()
    with pytest.raises(SetupError, match="not in the registry"):
        search_text(Dataset.open(out, create=False), "dog", 3)
    assert main(["search", out, "--image", str(tmp_path / "absent.png")]) == 2


def test_text_is_found_by_meaning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", tiny_weights())
    (folder / "config.json").write_text(json.dumps(CONFIG))
    word_tokenizer(folder / "tokenizer.json")
    from framemill.cluster.corpus.search import _open
    from framemill.models.registry import resolve
    from framemill.ops.frames.text_encoder import TextEncoder

    entry = resolve("text_embeddings", str(folder))
    texts = ["the dog runs", "a cat sleeps on the beach"]
    vectors = TextEncoder("text_embeddings", _open(entry), (entry.family,)).encode(texts)
    dataset = Dataset.open(tmp_path / "out", create=True)
    rows = pa.table(
        {"start_seconds": [1.0, 7.5], "end_seconds": [2.0, 9.0], "text": texts, "vector": vectors.tolist()},
        schema=TextEmbeddings.schema,
    ).add_column(0, "source_id", pa.array(["s"] * 2, pa.string()))
    with dataset.hold("r"):
        part = write_part(dataset.root, "text_embeddings", [rows], run_id="r", seed=["s"])
        assert part is not None
        key = {"digest": "k", "models": {"text_embeddings": entry.key}}
        dataset.commit(
            Commit(
                run_id="r",
                entries=(Entry("text_embeddings", "s", "k", rows=2),),
                parts=(part,),
                keys={"text_embeddings": key},
            )
        )
    out = str(dataset.root)
    model = f"text_embeddings={folder}"
    assert main(["search", out, "a cat sleeps on the beach", "--model", model, "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert [hit["text"] for hit in hits] == texts[::-1]
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5) and hits[0]["pts_seconds"] == 7.5
    assert main(["search", out, "a cat", "--in", "frames"]) == 5
    assert "has no vectors of frames" in capsys.readouterr().err
    # Vectors of frames that a model unknown here made leave the texts alone.
    with dataset.hold("s"):
        unknown = {"digest": "l", "models": {"image_embeddings": "clip:0:0:0"}}
        dataset.commit(
            Commit(
                run_id="s",
                entries=(Entry("image_embeddings", "s", "l", rows=0),),
                parts=(),
                keys={"image_embeddings": unknown},
            )
        )
    for kind in ("auto", "text"):
        assert main(["search", out, "a cat sleeps", "--in", kind, "--model", model, "--json"]) == 0
        assert {hit["text"] for hit in json.loads(capsys.readouterr().out)} == set(texts)
    assert main(["search", out, "a cat", "--in", "frames"]) == 5
    assert "not in the registry" in capsys.readouterr().err


def test_what_cannot_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(Dataset.open(tmp_path / "out", create=True).root)
    assert main(["search", out]) == 2
    assert main(["search", out, "dog", "--image", "x.png"]) == 2
    assert main(["search", out, "dog", "--model", "image_text"]) == 2
    assert main(["search", out, " "]) == 2
    assert main(["search", out, "dog", "--in", "text"]) == 2
    assert main(["search", out, "--image", "x.png"]) == 2
    assert "--ops image_embeddings" in capsys.readouterr().err
    with pytest.raises(UsageError, match="choose one of auto, frames, text"):
        search_text(Dataset.open(out, create=False), "dog", 3, "sound")
