"""What must be known of a model: one value, checked elsewhere, that planning can compare."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from framemill.models.folders import ModelFile

# Raise it when `framemill.models.onnx_batching` would make a different graph of the same file.
BATCH_TRANSFORM_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """What must be known of a model to fetch it, check it and feed it.

    Attributes:
        name: key of the registry. role: what it is used for. family: how inputs and outputs are laid out.
        sha256: hex digest of the file. num_bytes: its size.
        files: of a model that is a folder, the files in it; then `sha256` is their `digest_files`,
            `num_bytes` their sum, and `url` ends in a slash, which a file's name follows.
        url: where it can be downloaded; its content is fixed by the digest.
        path: a file of the user's own; package_file: a file inside an installed Python package.
        licence: SPDX identifier, or words. commercial: whether it allows commercial use.
        input_size: (width, height) of the picture the model takes in pixels, or None.
        colour: order of the channels, rgb, bgr, gray or empty.
        mean, scale: the model takes (value - mean) * scale, value in 0..255; one number for all channels
            or one per channel; empty means 0 and 1.
        labels: names of the classes by class index.
        vectors_of: of a head on embeddings, the image model whose vectors it takes; empty for any.
        batching: `dynamic`: the first axis takes any length; `fixed`: published for one row, made dynamic
            where batches pay; `none`: always one row at a time.
    """

    name: str
    role: str
    family: str
    sha256: str
    num_bytes: int
    licence: str
    commercial: bool
    url: str = ""
    path: str = ""
    package_file: str = ""
    files: tuple[ModelFile, ...] = ()
    input_size: tuple[int, int] | None = None
    colour: str = ""
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    vectors_of: str = ""
    batching: str = "none"

    @property
    def file_name(self) -> str:
        """Name of the file, or of the model's own folder, in a mirror folder."""
        return self.name if self.files else f"{self.name}.onnx"

    @property
    def key(self) -> str:
        """Changes when rows made with this model could change; part of an operation key."""
        contract = repr((self.input_size, self.colour, self.mean, self.scale, self.labels))
        transform = BATCH_TRANSFORM_VERSION if self.batching == "fixed" else 0
        digest = hashlib.sha256(contract.encode()).hexdigest()
        return f"{self.family}:{self.sha256}:{digest[:16]}:{transform}"
