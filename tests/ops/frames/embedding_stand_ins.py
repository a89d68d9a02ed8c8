"""Sessions that answer as models of whole pictures and of texts do, from nothing but what they get."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.models.entry import ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS
from framemill.models.folders import ModelFile, digest_files
from framemill.models.registry import resolve

Arrays = Mapping[str, npt.NDArray[Any]]
WORDS = ("a", "dog", "cat", "beach", "runs", "sleeps", "on", "the")


class LabelsRunner:
    """The brighter the picture, the higher the class, and its two neighbours after it."""

    max_batch = 4

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (pictures,) = inputs.values()
        assert pictures.dtype == np.float32 and pictures.shape[1:] == (3, 224, 224)
        classes = 400 + (pictures.mean(axis=(1, 2, 3)) * 100).astype(int)
        logits = np.zeros((len(pictures), 1000), np.float32)
        rows = np.arange(len(pictures))
        for offset, logit in ((0, 9.0), (1, 8.0), (-1, 7.0)):
            logits[rows, classes + offset] = logit
        return {"output": logits}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class ImageRunner:
    """Mean red, green and blue."""

    max_batch = 4

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (pictures,) = inputs.values()
        assert pictures.dtype == np.uint8 and pictures.shape[1:] == (224, 224, 3)
        return {"vectors": pictures.mean(axis=(1, 2)).astype(np.uint8)[:, None, None]}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class DinoRunner:
    """Mean red, green and blue as the network gets them, beside the tokens that they are the first of."""

    max_batch = 4

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (pictures,) = inputs.values()
        assert pictures.dtype == np.float32 and pictures.shape[1:] == (3, 224, 224)
        means = pictures.mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
        return {"last_hidden_state": np.stack([means, -means], axis=1), "pooler_output": means}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class HeadRunner:
    """The sum of each vector."""

    max_batch = 4

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (vectors,) = inputs.values()
        assert vectors.dtype == np.float32 and vectors.ndim == 2
        return {"score": vectors.sum(axis=1, keepdims=True)}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class ModerationRunner:
    """The redder the picture, the less safe."""

    max_batch = 4

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (pictures,) = inputs.values()
        assert pictures.dtype == np.float32 and pictures.shape[1:] == (224, 224, 3)
        unsafe = (pictures[..., 2].mean(axis=(1, 2)) + 123) / 255
        return {"probabilities": np.stack([1 - unsafe, unsafe], axis=1)}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class DepthRunner:
    """The brighter, the nearer."""

    max_batch = 4

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        (pictures,) = inputs.values()
        assert pictures.dtype == np.float32 and pictures.shape[1] == 3
        assert pictures.shape[2] % 14 == pictures.shape[3] % 14 == 0
        return {"predicted_depth": 3 + pictures[:, 0]}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


class WordsRunner:
    """Two places: the left half fits the first word the better the brighter the picture, the right none."""

    max_batch = 1

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        raise AssertionError("the words are no part of a batch")

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        pictures, ids = inputs["pixel_values"], inputs["input_ids"]
        assert pictures.dtype == np.float32 and pictures.shape[0] == 1
        assert ids.dtype == inputs["attention_mask"].dtype == np.int64 and ids.shape[1] == 16
        logits = np.full((1, 2, len(ids)), -9.0, np.float32)
        logits[0, 0, 0] = pictures.mean()
        boxes = np.array([[[0.25, 0.25, 0.5, 0.5], [0.75, 0.25, 0.5, 0.5]]], np.float32)
        return {"logits": logits, "pred_boxes": boxes, "text_embeds": np.zeros((1, 4), np.float32)}


class SentenceRunner:
    """Each token is a vector of its own."""

    max_batch = 4
    num_rows = 0

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        ids = inputs["input_ids"]
        assert set(inputs) == {"input_ids", "attention_mask", "token_type_ids"} and ids.dtype == np.int64
        assert (inputs["attention_mask"] == 1).all() and (inputs["token_type_ids"] == 0).all()
        self.num_rows += len(ids)
        return {"last_hidden_state": np.eye(16, dtype=np.float32)[ids % 16]}

    def run_whole(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return self.run(inputs)


def word_tokenizer(path: Path, words: Sequence[str] = WORDS) -> Path:
    """A tokenizer of whole words: 0 is unknown, then </s>, then the words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {token: number for number, token in enumerate(("?", "</s>", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))
    return path


def folder_entry(folder: Path, name: str, role: str, family: str, **others: Any) -> ModelEntry:
    """The entry of a model that is all files of a folder."""
    files = tuple(
        ModelFile(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
        for file in sorted(folder.iterdir())
    )
    return ModelEntry(
        name=name,
        role=role,
        family=family,
        files=files,
        sha256=digest_files(files),
        num_bytes=sum(file.num_bytes for file in files),
        licence="CC0-1.0",
        commercial="yes",
        path=str(folder),
        batching="dynamic",
        **others,
    )


def _with_tokens(name: str, role: str, family: str, **others: Any) -> ModelEntry:
    folder = Path(tempfile.mkdtemp(prefix="framemill-tokens-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    word_tokenizer(folder / "tokenizer.json")
    return folder_entry(folder, name, role, family, **others)


EMBEDDING_STAND_INS: dict[str, Callable[[], Any]] = {
    "labels": LabelsRunner,
    "image_embeddings": ImageRunner,
    "aesthetics": HeadRunner,
    "moderation": ModerationRunner,
    "depth": DepthRunner,
    "open_vocabulary": WordsRunner,
    "text_embeddings": SentenceRunner,
}
# Pictures of real sizes would cost tests minutes.
EMBEDDING_ENTRIES: dict[str, ModelEntry] = {
    "text_embeddings": _with_tokens("tiny_sentences", "text_embeddings", "sentence"),
    "depth": replace(resolve("depth"), input_size=(28, 28)),
    "open_vocabulary": _with_tokens(
        "tiny_words", "open_vocabulary", "owlv2", input_size=(32, 32), **FAMILY_DEFAULTS["owlv2"]
    ),
}
