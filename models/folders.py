"""Models that are a folder of files: what a family needs in it, and one digest for all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated

from msgspec import Meta, Struct

from framemill.errors import ModelError

# No part may be `..`, nor may the path start with a slash: either could lead out of the folder.
_PATH_INSIDE = r"\A[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*\Z"


class ModelFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a folder: its path inside the folder, the hex digest of its bytes, and their number."""

    name: Annotated[str, Meta(pattern=_PATH_INSIDE)]
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    num_bytes: Annotated[int, Meta(ge=0)]


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
    "e5": (("model.onnx", "model.safetensors"), ("tokenizer.json",), ("config.json", "")),
    "owlv2": (("model.onnx",), ("tokenizer.json",)),
    **dict.fromkeys(
        ("clip_text", "openclip_text", "siglip_text", "siglip2_text"),
        (("model.onnx", "text_model.onnx"), ("tokenizer.json",)),
    ),
}


def weights_beside(files: Iterable[ModelFile], graph: Path) -> frozenset[str]:
    """Names of listed files beside a graph that hold its weights: those whose names begin with its own."""
    names = (PurePosixPath(file.name).name for file in files)
    return frozenset(name for name in names if name.startswith(graph.name) and name != graph.name)


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
