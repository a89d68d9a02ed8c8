"""Which models Framemill knows, and what a choice such as `objects=yolox_nano` means.

Light on purpose: planning and `--help` import it. Weights are found by `framemill.models.store`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from framemill.errors import ModelError, UsageError
from framemill.models.audioset import AUDIOSET_521, AUDIOSET_527
from framemill.models.entries_aesthetics import AESTHETICS_ENTRIES
from framemill.models.entries_embeddings import EMBEDDING_ENTRIES, IMAGENET_1000
from framemill.models.entries_faces import FACE_ENTRIES, FACE_FAMILIES
from framemill.models.entries_objects import COCO_80, OBJECT_ENTRIES
from framemill.models.entries_poses import POSE_ENTRIES, POSE_FAMILIES
from framemill.models.entries_sounds import SOUND_ENTRIES
from framemill.models.entries_speech import SPEECH_ENTRIES
from framemill.models.entries_text import TEXT_ENTRIES
from framemill.models.entry import BATCH_TRANSFORM_VERSION as BATCH_TRANSFORM_VERSION
from framemill.models.entry import ModelEntry as ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS
from framemill.models.folders import digest_file, digest_files, list_folder, parse_files

BATCHING = ("dynamic", "fixed", "none")
COLOURS = ("rgb", "bgr", "gray", "")


LABEL_SETS: Mapping[str, tuple[str, ...]] = {
    "audioset521": AUDIOSET_521,
    "audioset527": AUDIOSET_527,
    "coco80": COCO_80,
    "imagenet1000": IMAGENET_1000,
}

KNOWN: tuple[ModelEntry, ...] = (
    *OBJECT_ENTRIES,
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
    *FACE_ENTRIES,
    *POSE_ENTRIES,
    *TEXT_ENTRIES,
    *SPEECH_ENTRIES,
    *SOUND_ENTRIES,
    *EMBEDDING_ENTRIES,
    *AESTHETICS_ENTRIES,
)

# Families that serve a role but of which no checkpoint is known here.
MORE_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "objects": ("yolox", "yolov8", "yolo_end_to_end", "rtdetr", "dfine", "detr"),
    "aesthetics": ("laion", "nima", "nima_keras"),
    "sounds": ("panns", "vggish", "openl3", "clap"),
    **FACE_FAMILIES,
    **POSE_FAMILIES,
}

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

    `labels` is a list of names or the name of a label set. What the block does not say and
    `FAMILY_DEFAULTS` does is taken from there.

    Raises:
        UsageError: a key is unknown, missing or has a wrong value.
    """
    allowed = {f.name for f in fields(ModelEntry)}
    if unknown := sorted(set(block) - allowed):
        raise UsageError(f"unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}")
    values: dict[str, Any] = {"licence": "unknown", "commercial": False, "num_bytes": 0}
    values |= {**FAMILY_DEFAULTS.get(str(block.get("family")), {}), **block}
    for name in ("name", "role", "family", "sha256"):
        if not isinstance(values.get(name), str) or not values[name]:
            raise UsageError(f"{name} must be a text, not {values.get(name)!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", values["name"]):
        raise UsageError(f"name {values['name']!r} must be 1 to 64 letters, digits, '.', '_' or '-'")
    if not re.fullmatch(r"[0-9a-f]{64}", values["sha256"]):
        raise UsageError(f"sha256 {values['sha256']!r} must be 64 hexadecimal digits in lower case")
    for name in ("licence", "url", "path", "package_file", "colour", "vectors_of"):
        if not isinstance(values.get(name, ""), str):
            raise UsageError(f"{name} must be a text, not {values[name]!r}")
    labels = values.get("labels", ())
    if isinstance(labels, str):
        if labels not in LABEL_SETS:
            raise UsageError(f"labels {labels!r} is no label set; known: {', '.join(LABEL_SETS)}")
        labels = LABEL_SETS[labels]
    values["labels"] = _tuple_of(labels, str, "labels")
    values["files"] = parse_files(values.get("files", ()), values["sha256"])
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


def named_entries(names: Iterable[str]) -> dict[str, ModelEntry]:
    """Entries by name, in the order asked for.

    Raises:
        UsageError: a name is unknown.
    """
    known = {entry.name: entry for entry in all_entries()}
    wanted = list(names)
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"unknown model {unknown[0]!r}; known: {', '.join(known)}")
    return {name: known[name] for name in wanted}


def check_role(role: str, family: str) -> None:
    """Raises UsageError where no operation would take a model of this role and family."""
    if role not in DEFAULTS:
        raise UsageError(f"unknown model role {role!r}; known roles: {', '.join(sorted(DEFAULTS))}")
    families = sorted({e.family for e in KNOWN if e.role == role} | set(MORE_FAMILIES.get(role, ())))
    if family not in families:
        raise UsageError(f"family {family!r} does not serve role {role!r}; known: {', '.join(families)}")


def check_licence(entry: ModelEntry, accepted: bool) -> None:
    """Refuses a known model that may not be used commercially, unless its licence was accepted.

    A model of the user's own is the user's own affair.

    Raises:
        UsageError: it names the licence and the flag.
    """
    if accepted or entry.commercial or entry.name not in {known.name for known in KNOWN}:
        return
    alike = [e.name for e in KNOWN if e.role == entry.role and e.commercial]
    raise UsageError(
        f"model {entry.name} (role {entry.role}) is not for commercial use; its licence: {entry.licence}. "
        f"Say `accept_licence` if your use is allowed, or choose {' or '.join(alike[:3])}"
    )


def all_entries() -> list[ModelEntry]:
    """The known entries, then the user's, which win over known ones of the same name."""
    users = user_entries()
    taken = {entry.name for entry in users}
    return [entry for entry in KNOWN if entry.name not in taken] + users


def resolve(role: str, choice: str = "") -> ModelEntry:
    """The entry that `choice` names for a role.

    Args:
        role: key of `DEFAULTS`.
        choice: empty for the role's default, a registered name, or the path of an ONNX file (of a folder,
            where the role's default is one), which is taken to have the contract of the role's default but
            for the picture size.

    Raises:
        UsageError: the role or the name is unknown, or the named model serves another role.
        ModelError: the file cannot be read, the folder lacks files, or a user's block is wrong.
    """
    if role not in DEFAULTS:
        raise UsageError(f"unknown model role {role!r}; known roles: {', '.join(sorted(DEFAULTS))}")
    if not choice:
        return DEFAULTS[role]
    entries = all_entries()
    named = {entry.role: entry for entry in entries if entry.name == choice}
    if role in named:
        return named[role]
    if named:
        roles = " and ".join(map(repr, sorted(named)))
        raise UsageError(f"model {choice!r} serves role {roles}, not {role!r}")
    path = Path(choice).expanduser()
    is_folder = bool(DEFAULTS[role].files)
    if os.sep in choice or (path.is_dir() if is_folder else choice.endswith(".onnx")):
        return _entry_of_path(role, path, entries)
    names = ", ".join(entry.name for entry in entries if entry.role == role)
    remedy = "a model folder's path" if is_folder else "an .onnx file's path"
    raise UsageError(f"no model {choice!r} for role {role!r}; known: {names}; or give {remedy}")


def _entry_of_path(role: str, path: Path, entries: list[ModelEntry]) -> ModelEntry:
    default = DEFAULTS[role]
    files = list_folder(path, default.family) if default.files else ()
    if files:
        digest, num_bytes = digest_files(files), sum(file.num_bytes for file in files)
    else:
        digest, num_bytes = digest_file(path), path.stat().st_size
    located = str(path.resolve())
    for entry in entries:
        if entry.role == role and entry.sha256 == digest:
            return replace(entry, path=located)
    return replace(
        default,
        name=path.name if files else path.stem,
        sha256=digest,
        num_bytes=num_bytes,
        files=files,
        licence="unknown",
        commercial=False,
        url="",
        path=located,
        package_file="",
        input_size=None,
    )
