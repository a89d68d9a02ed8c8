"""Embeddings of texts: sentences of similar meaning have similar vectors.

Sentence-BERT: Reimers and Gurevych, arXiv:1908.10084: the mean of the last layer over all tokens. E5: Wang et
al., arXiv:2402.05672: the same, of texts and questions that begin with words of their own. The text towers of
CLIP, SigLIP and SigLIP 2 give vectors that compare with those of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.errors import ModelError
from framemill.models.runner import Model
from framemill.models.tokens import Tokenizer
from framemill.ops.chunks import Float32Array
from framemill.ops.frames.embeddings import unit_vectors

# Texts in one call: on a GPU the session takes fewer at a time, on a CPU one.
_SLICE = 256


@dataclass(frozen=True, slots=True)
class _Family:
    """Inputs and outputs of a family.

    Attributes:
        max_tokens: longer texts are cut. inputs: names, each [n, tokens]: `text` int32, the others int64.
        output: name of the output. padding: the token that fills every text up to `max_tokens`, or empty
            where texts keep their length.
        passage, query: words that texts and questions about them begin with. lowers: whether it knows
            small letters alone.
        is_mean: whether the vector is the mean of the output over all tokens.
    """

    max_tokens: int
    inputs: tuple[str, ...]
    output: str
    padding: str = ""
    passage: str = ""
    query: str = ""
    lowers: bool = False
    is_mean: bool = False


_BERT = ("input_ids", "attention_mask", "token_type_ids")
FAMILIES: Mapping[str, _Family] = {
    "sentence": _Family(256, _BERT, "last_hidden_state", is_mean=True),
    "e5": _Family(512, _BERT, "last_hidden_state", passage="passage: ", query="query: ", is_mean=True),
    "clip_text": _Family(77, ("input_ids", "attention_mask"), "text_embeds"),
    # OpenCLIP's own export takes exactly 77; token 0 of CLIP fills them, as OpenCLIP does it.
    "openclip_text": _Family(77, ("text",), "embedding", padding="!"),
    # It was trained on texts of exactly 64 tokens and reads the last one.
    "siglip_text": _Family(64, ("input_ids",), "pooler_output", padding="</s>"),
    "siglip2_text": _Family(64, ("input_ids",), "pooler_output", padding="<pad>", lowers=True),
}

# Those of texts by themselves, and those whose vectors compare with pictures'.
TEXT_FAMILIES = ("sentence", "e5")
TOWER_FAMILIES = ("clip_text", "openclip_text", "siglip_text", "siglip2_text")


class TextEncoder:
    """Turns texts into vectors of length 1 with one model; the tokenizer is read at the first text."""

    def __init__(self, role: str, model: Model, families: Sequence[str]) -> None:
        """Raises ModelError where the model is of none of `families`."""
        if model.entry.family not in families:
            raise ModelError(
                f"{role}: model {model.entry.name} is of family {model.entry.family!r}; choose one of "
                + ", ".join(families)
            )
        self._role, self._model = role, model
        self._family = FAMILIES[model.entry.family]

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self._model.entry, self._family.max_tokens)

    def encode(self, texts: Sequence[str], *, are_queries: bool = False) -> Float32Array:
        """Vectors float32 [n, d] of n >= 1 texts, or of questions that look for such texts.

        Texts of as many tokens run together, so that none is padded for another: a text's vector does not
        depend on its neighbours.
        """
        first = self._family.query if are_queries else self._family.passage
        given = [first + (text.lower() if self._family.lowers else text) for text in texts]
        ids = self._tokenizer.encode(given)
        if self._family.padding:
            fill = self._tokenizer.id_of(self._family.padding)
            ids = [row + [fill] * (self._family.max_tokens - len(row)) for row in ids]
        lengths = np.array([len(row) for row in ids])
        found: dict[int, Float32Array] = {}
        for length in np.unique(lengths):
            same = np.flatnonzero(lengths == length)
            for start in range(0, len(same), _SLICE):
                places = same[start : start + _SLICE]
                rows = np.array([ids[place] for place in places], np.int64).reshape(len(places), length)
                found.update(zip(places.tolist(), self._run(rows), strict=True))
        return np.stack([found[place] for place in range(len(texts))])

    def _run(self, ids: npt.NDArray[np.int64]) -> Float32Array:
        values: dict[str, npt.NDArray[Any]] = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
            "text": ids.astype(np.int32),
        }
        outputs = self._model.runner.run({name: values[name] for name in self._family.inputs})
        raw = outputs.get(self._family.output)
        if raw is None and len(outputs) == 1:
            raw = next(iter(outputs.values()))
        if raw is not None and raw.ndim == 3 and self._family.is_mean:
            raw = raw.mean(axis=1)
        if raw is None or raw.ndim != 2 or len(raw) != len(ids):
            shapes = {name: list(array.shape) for name, array in outputs.items()}
            raise ModelError(
                f"{self._role}: model {self._model.entry.name} gives {shapes} for {len(ids)} texts of "
                f"{ids.shape[1]} tokens, but its family {self._model.entry.family} gives "
                f"{self._family.output}; add a model of that kind"
            )
        return unit_vectors(raw)


def embed_unique(encoder: TextEncoder, texts: Sequence[str]) -> Float32Array:
    """Vectors float32 [n, d] of n >= 1 texts, each different one encoded once."""
    different = list(dict.fromkeys(texts))
    place: dict[Any, int] = {text: number for number, text in enumerate(different)}
    return encoder.encode(different)[[place[text] for text in texts]]
