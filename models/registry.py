"""Which models Framemill knows, and what a choice such as `objects=yolox_nano` means.

Light on purpose: planning and `--help` import it. Weights are found by `models.store`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from models.errors import ModelError, UsageError

# Raise it when `models.batchable` would make a different graph of the same file.
BATCH_TRANSFORM_VERSION = 1
BATCHING = ("dynamic", "fixed", "none")
COLOURS = ("rgb", "bgr", "gray", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """What must be known of a model to fetch it, check it and feed it.

    Attributes:
        name: key of the registry. role: what it is used for. family: how inputs and outputs are laid out.
        sha256: hex digest of the file. num_bytes: its size.
        url: where it can be downloaded; its content is fixed by the digest.
        path: a file of the user's own; package_file: a file inside an installed Python package.
        licence: SPDX identifier, or words. commercial: whether it allows commercial use.
        input_size: (width, height) of the picture the model takes in pixels, or None.
        colour: order of the channels, one of `COLOURS`.
        mean, scale: the model takes (value - mean) * scale, value in 0..255; one number for all channels
            or one per channel; empty means 0 and 1.
        labels: names of the classes by class index.
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
    input_size: tuple[int, int] | None = None
    colour: str = ""
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    batching: str = "none"

    @property
    def file_name(self) -> str:
        """Name of the file in a mirror folder."""
        return f"{self.name}.onnx"

    @property
    def key(self) -> str:
        """Changes when rows made with this model could change; part of an operation key."""
        contract = repr((self.input_size, self.colour, self.mean, self.scale, self.labels))
        transform = BATCH_TRANSFORM_VERSION if self.batching == "fixed" else 0
        digest = hashlib.sha256(contract.encode()).hexdigest()
        return f"{self.family}:{self.sha256}:{digest[:16]}:{transform}"


# Class names of the COCO detection task in the order of its 80 training classes.
# fmt: off
COCO_80 = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
LABEL_SETS: Mapping[str, tuple[str, ...]] = {"coco80": COCO_80}

KNOWN: tuple[ModelEntry, ...] = (
    # The same bytes are in opencv_zoo at 371cb249700106b50b2f934b7f18df3f9d127473; the release of the
    # model's authors is the origin of both.
    ModelEntry(
        name="yolox_nano",
        role="objects",
        family="yolox",
        url="https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx",
        sha256="c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
        num_bytes=3_659_407,
        licence="Apache-2.0",
        commercial=True,
        input_size=(416, 416),
        colour="bgr",
        labels=COCO_80,
        batching="fixed",
    ),
    ModelEntry(
        name="silero_vad_v6",
        role="vad",
        family="silero",
        package_file="faster_whisper/assets/silero_vad_v6.onnx",
        sha256="4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2",
        num_bytes=1_245_151,
        licence="MIT",
        commercial=True,
    ),
)

# The first known entry of a role is its default.
DEFAULTS: Mapping[str, ModelEntry] = {entry.role: entry for entry in reversed(KNOWN)}


def user_folder() -> Path:
    """Folder of the user's model blocks; `FRAMEMILL_CONFIG_DIR` moves it."""
    root = os.environ.get("FRAMEMILL_CONFIG_DIR")
    if not root:
        import platformdirs

        root = platformdirs.user_config_dir("framemill", appauthor=False)
    return Path(root) / "models"


def user_entries() -> list[ModelEntry]:
    """Entries of the user's TOML blocks, by file name; raises ModelError for a block that is wrong."""
    folder = user_folder()
    if not folder.is_dir():
        return []
    return [read_entry(path) for path in sorted(folder.glob("*.toml"))]


def read_entry(path: Path) -> ModelEntry:
    """One user's entry from its TOML file."""
    try:
        block = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ModelError(f"model block {path} cannot be read: {exc}; repair or delete it") from exc
    try:
        return parse_entry(block)
    except UsageError as exc:
        raise ModelError(f"model block {path}: {exc}; repair or delete it") from exc


def parse_entry(block: Mapping[str, Any]) -> ModelEntry:
    """An entry from the keys of a TOML block, each checked.

    `labels` is a list of names or the name of a label set.

    Raises:
        UsageError: a key is unknown, missing or has a wrong value.
    """
    allowed = {f.name for f in fields(ModelEntry)}
    if unknown := sorted(set(block) - allowed):
        raise UsageError(f"unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}")
    values: dict[str, Any] = {"licence": "unknown", "commercial": False, "num_bytes": 0, **block}
    for name in ("name", "role", "family", "sha256"):
        if not isinstance(values.get(name), str) or not values[name]:
            raise UsageError(f"{name} must be a text, not {values.get(name)!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", values["name"]):
        raise UsageError(f"name {values['name']!r} must be 1 to 64 letters, digits, '.', '_' or '-'")
    if not re.fullmatch(r"[0-9a-f]{64}", values["sha256"]):
        raise UsageError(f"sha256 {values['sha256']!r} must be 64 hexadecimal digits in lower case")
    for name in ("licence", "url", "path", "package_file", "colour"):
        if not isinstance(values.get(name, ""), str):
            raise UsageError(f"{name} must be a text, not {values[name]!r}")
    labels = values.get("labels", ())
    if isinstance(labels, str):
        if labels not in LABEL_SETS:
            raise UsageError(f"labels {labels!r} is no label set; known: {', '.join(LABEL_SETS)}")
        labels = LABEL_SETS[labels]
    values["labels"] = _tuple_of(labels, str, "labels")
    values["mean"] = _tuple_of(values.get("mean", ()), (int, float), "mean")
    values["scale"] = _tuple_of(values.get("scale", ()), (int, float), "scale")
    size = _tuple_of(values.get("input_size") or (), int, "input_size")
    if size and (len(size) != 2 or min(size) < 1):
        raise UsageError(f"input_size must be [width, height] in pixels, not {list(size)}")
    values["input_size"] = size or None
    if values.get("batching", "none") not in BATCHING:
        raise UsageError(f"batching {values['batching']!r} must be one of {', '.join(BATCHING)}")
    if values.get("colour", "") not in COLOURS:
        raise UsageError(f"colour {values['colour']!r} must be rgb, bgr or gray")
    if type(values["num_bytes"]) is not int or values["num_bytes"] < 0:
        raise UsageError(f"num_bytes must be a whole number >= 0, not {values['num_bytes']!r}")
    if type(values["commercial"]) is not bool:
        raise UsageError(f"commercial must be true or false, not {values['commercial']!r}")
    entry = ModelEntry(**values)
    check_role(entry.role, entry.family)
    return entry


def _tuple_of(values: Any, kind: type | tuple[type, ...], name: str) -> tuple[Any, ...]:
    if not isinstance(values, (list, tuple)) or not all(
        isinstance(v, kind) and not isinstance(v, bool) for v in values
    ):
        raise UsageError(f"{name} is {values!r}, which is no list of the right kind")
    return tuple(values)


def check_role(role: str, family: str) -> None:
    """Raises UsageError where no operation would take a model of this role and family."""
    if role not in DEFAULTS:
        raise UsageError(f"unknown model role {role!r}; known roles: {', '.join(sorted(DEFAULTS))}")
    families = sorted({entry.family for entry in KNOWN if entry.role == role})
    if family not in families:
        raise UsageError(f"family {family!r} does not serve role {role!r}; known: {', '.join(families)}")


def all_entries() -> list[ModelEntry]:
    """The known entries, then the user's, which win over known ones of the same name."""
    users = user_entries()
    taken = {entry.name for entry in users}
    return [entry for entry in KNOWN if entry.name not in taken] + users


def resolve(role: str, choice: str = "") -> ModelEntry:
    """The entry that `choice` names for a role.

    Args:
        role: key of `DEFAULTS`.
        choice: empty for the role's default, a registered name, or the path of an ONNX file, which is taken
            to have the contract of the role's default but for the picture size.

    Raises:
        UsageError: the role or the name is unknown, or the named model serves another role.
        ModelError: the file cannot be read, or a user's block is wrong.
    """
    if role not in DEFAULTS:
        raise UsageError(f"unknown model role {role!r}; known roles: {', '.join(sorted(DEFAULTS))}")
    if not choice:
        return DEFAULTS[role]
    entries = all_entries()
    for entry in entries:
        if entry.name == choice:
            if entry.role != role:
                raise UsageError(f"model {choice!r} serves role {entry.role!r}, not {role!r}")
            return entry
    if choice.endswith(".onnx") or os.sep in choice:
        return _entry_of_file(role, Path(choice).expanduser(), entries)
    names = ", ".join(entry.name for entry in entries if entry.role == role)
    raise UsageError(f"no model {choice!r} for role {role!r}; known: {names}; or give an .onnx file's path")


def _entry_of_file(role: str, path: Path, entries: list[ModelEntry]) -> ModelEntry:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        num_bytes = path.stat().st_size
    except OSError as exc:
        raise ModelError(f"model file {path} cannot be read: {exc.strerror}; check the path") from exc
    located = str(path.resolve())
    for entry in entries:
        if entry.role == role and entry.sha256 == digest:
            return replace(entry, path=located)
    return replace(
        DEFAULTS[role],
        name=path.stem,
        sha256=digest,
        num_bytes=num_bytes,
        licence="unknown",
        commercial=False,
        url="",
        path=located,
        package_file="",
        input_size=None,
    )
