"""What must be known of a model: one value that planning can compare, and the schema of its TOML block."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from framemill.models.folders import ModelFile

# Raise it when `framemill.models.onnx_batching` would make a different graph of the same file.
BATCH_TRANSFORM_VERSION = 1
_SURE_FROM = 0.9

Batching: TypeAlias = Literal["dynamic", "fixed", "none"]
Commercial: TypeAlias = Literal["yes", "no", "unclear"]

# The descriptions end the messages on values that do not fit: what to give instead.
_Text: TypeAlias = Annotated[str, Meta(description="a text")]
_Name: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        description="1 to 64 letters, digits, '.', '_' or '-'",
    ),
]
_Digest: TypeAlias = Annotated[
    str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="64 hexadecimal digits in lower case")
]
_Files: TypeAlias = Annotated[
    tuple[ModelFile, ...],
    Meta(description="each name (the path inside the model, without its folder), sha256 and num_bytes"),
]
_Pixels: TypeAlias = Annotated[int, Meta(ge=1)]
_Size: TypeAlias = Annotated[tuple[_Pixels, _Pixels] | None, Meta(description="[width, height] in pixels")]
_Texts: TypeAlias = Annotated[tuple[str, ...], Meta(description="a list of texts")]
_Channels: TypeAlias = Annotated[
    # Whole numbers stay whole: `ModelEntry.key` depends on how a number is written.
    tuple[int | float, ...],
    Meta(description="a list of numbers: one for all channels, one per channel, or none"),
]
_Labels: TypeAlias = Annotated[
    tuple[str, ...], Meta(description="a list of names by class index, or the name of a label set")
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """What must be known of a model to fetch it, check it and feed it.

    Attributes:
        name: key of the registry. role: what it is used for. family: how inputs and outputs are laid out.
        sha256: hex digest of the file. num_bytes: its size.
        files: of a model that is a folder, the files in it; then `sha256` is their `digest_files`,
            `num_bytes` their sum, and each of `urls` ends in a slash, which a file's name follows.
        urls: where it can be downloaded, tried in this order; its content is fixed by the digest. What
            follows a `#` names a member of the zip archive before it.
        path: a file of the user's own; package_file: a file inside an installed Python package.
        licence: of the weights, SPDX identifier or words. licence_of_code: of the code that made them.
        trained_on: the data that the weights were made from. research_only: the sets among them whose own
            terms leave commercial use out, or that were withdrawn.
        commercial: `yes` where the licence that the publisher gives the weights is an open one, `no` where it
            forbids commercial use, `unclear` where it is one of the publisher's own or none is stated.
        unconfirmed: names of fields here that no publisher's page, pointer or file has confirmed.
        input_size: (width, height) of the picture the model takes in pixels, or None.
        colour: order of the channels, rgb, bgr, gray or empty.
        mean, scale: the model takes (value - mean) * scale, value in 0..255; one number for all channels
            or one per channel; empty means 0 and 1.
        labels: names of the classes by class index.
        same_above: of a model of faces, the least cosine at which its publisher takes two vectors to be of
            one person; 0 where none is stated.
        sure_from: of a model of faces, the score above which it finds what is one, seen upright and large.
        vectors_of: of a head on embeddings, the image model whose vectors it takes, empty for any; of a text
            tower, the image model whose vectors its own compare with; of a variant of an image model, the
            one that it stands for.
        logit_scale, logit_bias: of a text tower that names classes: their logits are the scale times the
            cosine of picture and text, plus the bias; a scale of 0 where they are not known.
        batching: `dynamic`: the first axis takes any length; `fixed`: published for one row, made dynamic
            where batches pay; `none`: always one row at a time.
    """

    name: _Name
    role: _Text
    family: _Text
    sha256: _Digest
    num_bytes: Annotated[int, Meta(ge=0, description="a whole number >= 0")]
    licence: _Text
    commercial: Annotated[Commercial, Meta(description="yes, no or unclear")]
    licence_of_code: _Text = ""
    trained_on: _Text = ""
    research_only: _Texts = ()
    unconfirmed: _Texts = ()
    urls: _Texts = ()
    path: _Text = ""
    package_file: _Text = ""
    files: _Files = ()
    input_size: _Size = None
    colour: Annotated[Literal["rgb", "bgr", "gray", ""], Meta(description="rgb, bgr or gray")] = ""
    mean: _Channels = ()
    scale: _Channels = ()
    labels: _Labels = ()
    same_above: Annotated[float, Meta(ge=-1, le=1, description="a number from -1 to 1")] = 0.0
    sure_from: Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")] = _SURE_FROM
    vectors_of: _Text = ""
    logit_scale: Annotated[float, Meta(ge=0, description="a number >= 0")] = 0.0
    logit_bias: Annotated[float, Meta(description="a number")] = 0.0
    batching: Annotated[Batching, Meta(description="dynamic, fixed or none")] = "none"

    @property
    def file_name(self) -> str:
        """Name of the file, or of the model's own folder, in a mirror folder."""
        return self.name if self.files else f"{self.name}.onnx"

    @property
    def space(self) -> str:
        """The image model whose vectors it gives or takes; empty for a head that takes any.

        A text tower that states none belongs to the image model that it is named after: `NAME_text`.
        """
        if self.vectors_of or self.role == "aesthetics":
            return self.vectors_of
        return self.name.removesuffix("_text")

    @property
    def key(self) -> str:
        """Changes when rows made with this model could change; part of an operation key."""
        contract = repr((self.input_size, self.colour, self.mean, self.scale, self.labels))
        if self.sure_from != _SURE_FROM:  # else keys are as they were before entries could state it
            contract += repr(self.sure_from)
        if self.logit_scale:
            contract += repr((self.logit_scale, self.logit_bias))
        transform = BATCH_TRANSFORM_VERSION if self.batching == "fixed" else 0
        digest = hashlib.sha256(contract.encode()).hexdigest()
        return f"{self.family}:{self.sha256}:{digest[:16]}:{transform}"
