"""Sessions that answer as models of whole pictures and of texts do, from nothing but what they get."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from framemill.models.entry import ModelEntry
from framemill.models.folders import ModelFile, digest_files

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


def _tiny_sentences() -> ModelEntry:
    folder = Path(tempfile.mkdtemp(prefix="framemill-tokens-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    word_tokenizer(folder / "tokenizer.json")
    return folder_entry(folder, "tiny_sentences", "text_embeddings", "sentence")


EMBEDDING_STAND_INS: dict[str, Callable[[], Any]] = {
    "labels": LabelsRunner,
    "image_embeddings": ImageRunner,
    "aesthetics": HeadRunner,
    "moderation": ModerationRunner,
    "text_embeddings": SentenceRunner,
}
EMBEDDING_ENTRIES: dict[str, ModelEntry] = {"text_embeddings": _tiny_sentences()}
