from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from framemill.errors import ModelError
from framemill.models.registry import KNOWN, fitting, label_set, resolve
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
    image_models = ("clip_vit_b32", "clip_vit_l14", "siglip_base", "siglip2_base")
    towers = {entry.name for entry in KNOWN if entry.role == "image_text"}
    found = {name: fitting("image_text", resolve("image_embeddings", name)) for name in names}
    beside = {name: tower.name for name, tower in found.items() if tower}
    assert beside == {name: f"{name}_text" for name in image_models}
    assert towers == set(beside.values())
    assert len(set(imagenet)) == 1000
    assert [imagenet[i] for i in (0, 207, 999)] == ["tench", "golden retriever", "toilet tissue"]
    assert resolve("labels", "mobilenet_v2").labels is imagenet


def test_towers_that_name_classes_are_those_of_the_search_by_words() -> None:
    named = [entry for entry in KNOWN if entry.role == "labels" and entry.files]
    assert {entry.name for entry in named} == {entry.name for entry in KNOWN if entry.role == "image_text"}
    for entry in named:
        plain = replace(entry, role="image_text", logit_scale=0.0, logit_bias=0.0, labels=())
        assert plain == resolve("image_text", entry.name)
        assert entry.labels is label_set("everyday") and entry.logit_scale >= 100
        assert (entry.logit_bias < 0) == entry.family.startswith("siglip")
    assert len(set(label_set("everyday"))) == len(label_set("everyday")) > 300
