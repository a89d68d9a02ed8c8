from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from framemill.errors import ModelError
from framemill.models.registry import KNOWN, label_set, resolve, text_tower_name
from framemill.models.tokens import Tokenizer
from tests.ops.frames.embedding_stand_ins import folder_entry, word_tokenizer


def test_words_become_numbers_and_long_texts_are_cut(tmp_path: Path) -> None:
    word_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = Tokenizer(folder_entry(tmp_path, "tiny", "text_embeddings", "sentence"), 3)
    assert tokenizer.encode(["a dog", "the dog runs on the beach", "zebra"]) == [[2, 3], [9, 3, 6], [0]]
    assert tokenizer.id_of("</s>") == 1 and tokenizer.id_of("absent") == 0


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    entry = folder_entry(tmp_path, "tiny", "text_embeddings", "sentence")
    with pytest.raises(ModelError, match="is no tokenizer"):
        Tokenizer(entry, 3)


def test_a_model_without_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    entry = replace(folder_entry(tmp_path, "tiny", "text_embeddings", "sentence"), path=str(tmp_path))
    with pytest.raises(ModelError, match=r"a folder with tokenizer\.json"):
        Tokenizer(entry, 3)


def test_text_towers_stand_beside_their_image_models() -> None:
    imagenet = label_set("imagenet1000")
    names = {entry.name for entry in KNOWN if entry.role == "image_embeddings"}
    towers = {entry.name for entry in KNOWN if entry.role == "image_text"}
    assert towers == {text_tower_name(name) for name in ("clip_vit_b32", "siglip_base", "siglip2_base")}
    assert {name.removesuffix("_text") for name in towers} <= names
    assert len(set(imagenet)) == 1000
    assert [imagenet[i] for i in (0, 207, 999)] == ["tench", "golden retriever", "toilet tissue"]
    assert resolve("labels").labels is imagenet
