"""Models that are a folder of files: what a family needs in it, and one digest for all of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framemill.errors import ModelError, UsageError


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a folder: its name without a path, the hex digest of its bytes, and their number."""

    name: str
    sha256: str
    num_bytes: int


# family -> groups of file names; each group needs one of its names, an empty name makes it optional.
# Whisper's are those that faster-whisper opens. It would fetch a missing tokenizer from the network by
# itself, so here the tokenizer must be present.
FAMILIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "whisper": (
        ("config.json",),
        ("model.bin",),
        ("tokenizer.json",),
        ("vocabulary.json", "vocabulary.txt"),
        ("preprocessor_config.json", ""),
    ),
    "sentence": (("model.onnx", "model.safetensors"), ("tokenizer.json",), ("config.json", "")),
    "clip_text": (("model.onnx", "text_model.onnx"), ("tokenizer.json",)),
    "siglip_text": (("model.onnx", "text_model.onnx"), ("tokenizer.json",)),
}


def digest_file(path: Path) -> str:
    """sha256 of a file as hex digits; raises ModelError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ModelError(
            f"model file {path} cannot be read: {exc.strerror}; check the path and its permissions"
        ) from exc


def digest_files(files: Iterable[ModelFile]) -> str:
    """One digest for a folder: sha256 of the lines that `sha256sum` prints for its files, sorted by name."""
    lines = "".join(f"{f.sha256}  {f.name}\n" for f in sorted(files, key=lambda f: f.name))
    return hashlib.sha256(lines.encode()).hexdigest()


def list_folder(folder: Path, family: str) -> tuple[ModelFile, ...]:
    """The files in a folder that its family uses, digests computed.

    Raises:
        ModelError: files are missing (it names them all), or cannot be read.
    """
    names, missing = [], []
    for group in FAMILIES[family]:
        found = [name for name in group if name and (folder / name).is_file()]
        if found:
            names.append(found[0])
        elif "" not in group:
            missing.append(" or ".join(group))
    if missing:
        raise ModelError(
            f"{folder} is no {family} model: it lacks {', '.join(missing)}; name the folder that holds them"
        )
    paths = [folder / name for name in names]
    return tuple(ModelFile(path.name, digest_file(path), path.stat().st_size) for path in paths)


def parse_files(values: Any, sha256: str) -> tuple[ModelFile, ...]:
    """The `files` of a user's block: a list of tables with name, sha256 and num_bytes; empty for one file.

    Raises:
        UsageError: a table is wrong, or the digest of the files is not `sha256`.
    """
    files = []
    for value in values:
        try:
            file = ModelFile(**value)
        except TypeError:
            raise UsageError(f"files holds {value!r}; give each name, sha256 and num_bytes") from None
        # A name with a slash could lead out of the folder.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", str(file.name)):
            raise UsageError(f"files names {file.name!r}; give a file's name without its folder")
        files.append(file)
    if files and sha256 != digest_files(files):
        raise UsageError(f"sha256 is {sha256}, but that of the list of files is {digest_files(files)}")
    return tuple(files)
