from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.models.session import open_model
from framemill.models.store import find
from framemill.ops.frames.text_encoder import TEXT_FAMILIES, TOWER_FAMILIES, TextEncoder, embed_unique
from framemill.ops.text.embeddings import TextEmbeddings, TranscriptEmbeddings
from tests.ops.frames.embedding_stand_ins import (
    EMBEDDING_ENTRIES,
    WORDS,
    SentenceRunner,
    folder_entry,
    word_tokenizer,
)
from tests.ops.frames.towers import text_tower
from tests.ops.stand_ins import shard
from tests.small_models import SMALL

ENTRY = EMBEDDING_ENTRIES["text_embeddings"]
TABLE = np.random.default_rng(5).normal(size=(len(WORDS) + 2, 6)).astype(np.float32)


class FlatRunner(SentenceRunner):
    """A model whose output has an axis too many."""

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return {"pooler_output": np.zeros((len(inputs["input_ids"]), 2, 6), np.float32)}


def tower(folder: Path, family: str) -> TextEncoder:
    word_tokenizer(folder / "tokenizer.json")
    text_tower(folder / "model.onnx", family, TABLE)
    entry = folder_entry(folder, "tiny", "image_text", family)
    model, _ = open_model(entry, find(entry), 1, "cpu")
    return TextEncoder("image_text", model, TOWER_FAMILIES)


def ids(text: str) -> list[int]:
    return [WORDS.index(word) + 2 for word in text.split()]


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


TEXTS = ["a dog runs", "the beach", "a cat sleeps", "the"]


def test_clip_texts_keep_their_length(tmp_path: Path) -> None:
    found = tower(tmp_path, "clip_text").encode(TEXTS)
    expected = [unit(TABLE[ids(text)].sum(axis=0)) for text in TEXTS]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_openclip_texts_are_filled_to_77_tokens_of_32_bits(tmp_path: Path) -> None:
    found = tower(tmp_path, "openclip_text").encode(TEXTS)
    # The tokenizer here has no `!`: what fills is token 0, as it is in CLIP's.
    expected = [unit(TABLE[ids(text)].sum(axis=0) + (77 - len(ids(text))) * TABLE[0]) for text in TEXTS]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_siglip_texts_are_filled_to_64_tokens(tmp_path: Path) -> None:
    found = tower(tmp_path, "siglip_text").encode(TEXTS)
    fills = [64 - len(ids(text)) for text in TEXTS]
    expected = [
        unit(TABLE[ids(text)].sum(axis=0) + fill * TABLE[1]) for text, fill in zip(TEXTS, fills, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_siglip2_knows_small_letters_and_fills_with_its_own_token(tmp_path: Path) -> None:
    encoder = tower(tmp_path, "siglip2_text")
    found = encoder.encode(TEXTS)
    np.testing.assert_array_equal(encoder.encode([text.upper() for text in TEXTS]), found)
    # The tokenizer here has no <pad>: what fills is token 0.
    expected = [unit(TABLE[ids(text)].sum(axis=0) + (64 - len(ids(text))) * TABLE[0]) for text in TEXTS]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_e5_tells_texts_from_questions_by_their_first_word() -> None:
    class Heard(SentenceRunner):
        """Remembers the tokens it gets."""

        def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
            heard.append(inputs["input_ids"].shape[1])
            return super().run(inputs)

    heard: list[int] = []
    entry = replace(ENTRY, family="e5")
    encoder = TextEncoder("text_embeddings", Model(entry, Heard()), TEXT_FAMILIES)
    said: list[str] = []
    real = encoder._tokenizer.encode
    encoder._tokenizer.encode = lambda texts: said.extend(texts) or real(texts)  # type: ignore[method-assign,func-returns-value]
    passages, queries = encoder.encode(["a dog"]), encoder.encode(["a dog"], are_queries=True)
    assert said == ["passage: a dog", "query: a dog"]
    # The tokenizer here knows neither word, nor the colon: each is one token of its own.
    assert heard == [4, 4] and passages.shape == queries.shape
    plain = TextEncoder("text_embeddings", Model(ENTRY, SentenceRunner()), TEXT_FAMILIES)
    np.testing.assert_array_equal(plain.encode(["a dog"]), plain.encode(["a dog"], are_queries=True))


def test_sentences_are_the_mean_of_their_tokens() -> None:
    encoder = TextEncoder("text_embeddings", Model(ENTRY, SentenceRunner()), ("sentence",))
    found = encoder.encode(["a dog runs", "a a dog"])
    assert found.shape == (2, 16)
    np.testing.assert_allclose(found[1, [2, 3]], unit(np.array([2.0, 1.0])), atol=1e-6)
    # Alone, beside others, in another order: the same.
    np.testing.assert_array_equal(encoder.encode(["a a dog", "the", "a dog runs"])[[2, 0]], found)


def test_each_different_text_runs_once() -> None:
    runner = SentenceRunner()
    encoder = TextEncoder("text_embeddings", Model(ENTRY, runner), ("sentence",))
    found = embed_unique(encoder, ["the cat", "a dog", "the cat", "the cat"])
    assert runner.num_rows == 2
    np.testing.assert_array_equal(found, encoder.encode(["the cat", "a dog", "the cat", "the cat"]))


def test_models_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is of family 'sentence'; choose one of clip_text"):
        TextEncoder("image_text", Model(ENTRY, SentenceRunner()), ("clip_text",))
    entry = replace(ENTRY, role="image_text", family="siglip_text")
    with pytest.raises(ModelError, match="for 1 texts of 64 tokens, but its family siglip_text gives pooler"):
        TextEncoder("image_text", Model(entry, FlatRunner()), ("siglip_text",)).encode(["a dog"])


@pytest.mark.parametrize("kind", [TextEmbeddings, TranscriptEmbeddings])
def test_rows_speak_of_the_rows_they_come_from(kind: type[TextEmbeddings]) -> None:
    op = kind(kind.Options(), {"text_embeddings": Model(ENTRY, SentenceRunner())})
    before = pa.table(
        {
            "start_seconds": [2.0, 0.5, 0.5],
            "end_seconds": [3.0, 1.0, 1.0],
            "text": ["the cat", "the beach", "a dog"],
            "score": [0.9, 0.8, 0.7],
        }
    )
    rows = op.combine({op.after[0]: before}, shard(10, 16, 9, 4.0))
    assert rows["text"].to_pylist() == ["a dog", "the beach", "the cat"]
    assert rows["start_seconds"].to_pylist() == [0.5, 0.5, 2.0]
    lengths = np.linalg.norm(np.array(rows["vector"].to_pylist()), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    assert op.combine({op.after[0]: before.slice(0, 0)}, shard()).num_rows == 0


def test_neither_runs_the_other() -> None:
    assert TextEmbeddings.after == ("text_spans",) and TranscriptEmbeddings.after == ("transcript",)
    assert SMALL["text_embeddings"].family == "sentence"
