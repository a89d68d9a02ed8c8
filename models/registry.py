"""The known models, and what a choice such as `objects=yolox_nano` means.

Light on purpose: planning and `--help` import it. Weights are found by `framemill.models.store`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from framemill.errors import ModelError, UsageError, did_you_mean
from framemill.models.entry import ModelEntry as ModelEntry
from framemill.models.family_defaults import FAMILY_DEFAULTS
from framemill.models.folders import digest_file, digest_files, list_folder

# Files of `labels/`: names of classes by class index, a line each. `coco80`: the 80 training classes of the
# COCO detection task; `coco91`: the same by category number, 0 to 90, where numbers that name nothing are
# called unused. `imagenet1000`: those of ILSVRC 2012 in the order of their synset numbers, the first
# name of each synset, made distinct where two share it. `everyday`: what pictures often show, for models that
# name classes by words. `audioset527`: all of AudioSet, in its own
# order (Gemmeke et al., ICASSP 2017); `audioset521`: the same without the six that YAMNet leaves out.
LABEL_SETS = ("audioset521", "audioset527", "coco80", "coco91", "everyday", "imagenet1000")

# Of a file of the user's: the labels of twenty thousand classes take a tenth of it.
MOST_TOML_BYTES = 4 << 20
_LARGEST = 3.4e38  # of float32, in which models compute; what is no number is not below it
# Files of `entries/`, in the order in which models are listed.
_FILES = (
    "objects",
    "vad",
    "faces",
    "poses",
    "text",
    "speech",
    "sounds",
    "labels",
    "embeddings",
    "aesthetics",
    "moderation",
    "shots",
    "depth",
    "open_vocabulary",
)

# The known entries, and by role the first of them, its default; both are read when first asked for.
KNOWN: tuple[ModelEntry, ...]
DEFAULTS: Mapping[str, ModelEntry]


def __getattr__(name: str) -> Any:
    if name == "KNOWN":
        return _known()
    if name == "DEFAULTS":
        return _defaults()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _known() -> tuple[ModelEntry, ...]:
    folder = Path(__file__).parent / "entries"
    files = [tomllib.loads((folder / f"{name}.toml").read_text("utf-8")) for name in _FILES]
    return tuple(_convert(block) for file in files for block in file["model"])


@cache
def _defaults() -> Mapping[str, ModelEntry]:
    return {entry.role: entry for entry in reversed(_known())}


@cache
def label_set(name: str) -> tuple[str, ...]:
    """The names of one of `LABEL_SETS`, by class index."""
    return tuple((Path(__file__).parent / "labels" / f"{name}.txt").read_text("utf-8").splitlines())


# Families that serve a role but of which no checkpoint is known here.
MORE_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "objects": ("yolox", "yolov8", "yolo_end_to_end", "rtdetr", "dfine", "detr", "rfdetr"),
    "aesthetics": ("laion", "nima", "nima_keras"),
    "sounds": ("panns", "panns_16k", "vggish", "openl3", "clap"),
    "faces": ("scrfd", "ultraface", "yunet"),
    "face_landmarks": ("scrfd", "yunet"),
    "eyes": ("eye_state", "ocec"),
    "emotions": ("fer", "fer_rgb", "fer_aligned", "hsemotion"),
    "text_embeddings": ("sentence", "e5"),
    "poses": ("blazepose", "rtmpose", "rtmo"),
}

# Of operations from outside, as far as this process was told of them (see `framemill.plugins`): role -> what
# its models are like.
OWN_MODELS: dict[str, ModelEntry] = {}


def _roles() -> Mapping[str, ModelEntry]:
    return {**_defaults(), **OWN_MODELS}


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


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a file of the user's in TOML.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no TOML, or is larger or nested more deeply than such a file is.
    """
    with path.open("rb") as file:
        data = file.read(MOST_TOML_BYTES + 1)
    if len(data) > MOST_TOML_BYTES:
        raise ValueError(f"it has more than the {MOST_TOML_BYTES} bytes that are read")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it nests tables or lists too deeply") from None


def read_entry(path: Path) -> ModelEntry:
    """One user's entry from its TOML file."""
    try:
        block = read_toml(path)
    except (OSError, ValueError) as exc:
        raise ModelError(f"model block {path} cannot be read: {exc}; repair or delete it") from exc
    try:
        return parse_entry(block)
    except UsageError as exc:
        raise ModelError(f"model block {path}: {exc}; repair or delete it") from exc


def parse_entry(block: Mapping[str, Any]) -> ModelEntry:
    """An entry from the keys of a TOML block, checked against the types of `ModelEntry`.

    `labels` is a list of names or the name of a label set. What the block leaves out and
    `FAMILY_DEFAULTS` holds is taken from there.

    Raises:
        UsageError: a key is unknown, missing or has a wrong value.
    """
    entry = _convert(block)
    check_role(entry.role, entry.family)
    return entry


def _convert(block: Mapping[str, Any]) -> ModelEntry:
    allowed = {*(field.name for field in fields(ModelEntry)), "url"}
    if unknown := sorted(set(block) - set(allowed)):
        raise UsageError(f"unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}")
    values: dict[str, Any] = {"licence": "unknown", "commercial": "unclear", "num_bytes": 0}
    values |= {**FAMILY_DEFAULTS.get(str(block.get("family")), {}), **block}
    # As blocks were written before there could be several addresses, or a doubt.
    if url := values.pop("url", ""):
        values["urls"] = [url]
    if isinstance(values["commercial"], bool):
        values["commercial"] = "yes" if values["commercial"] else "no"
    labels = values.get("labels")
    if isinstance(labels, str):
        if labels not in LABEL_SETS:
            raise UsageError(f"labels {labels!r} is no label set; known: {', '.join(LABEL_SETS)}")
        values["labels"] = ()
    values["input_size"] = values.get("input_size") or None
    try:
        entry = msgspec.convert(values, ModelEntry)
    except msgspec.ValidationError as exc:
        raise UsageError(_explain(str(exc), values)) from None
    for key in ("mean", "scale", "logit_scale", "logit_bias"):
        number = getattr(entry, key)
        if not all(abs(n) <= _LARGEST for n in (number if isinstance(number, tuple) else (number,))):
            raise UsageError(_explain(f"at `$.{key}`", values))
    if isinstance(labels, str):  # one value for all entries that name the set
        entry = replace(entry, labels=label_set(labels))
    if entry.files and entry.sha256 != digest_files(entry.files):
        wanted = digest_files(entry.files)
        raise UsageError(f"sha256 is {entry.sha256}, but that of the list of files is {wanted}")
    return entry


def _explain(problem: str, values: Mapping[str, Any]) -> str:
    """Which key has which value and what to give instead, from msgspec's message: `... - at `$.key[0]``."""
    found = re.search(r"at `\$\.(\w+)", problem) or re.search(r"required field `(\w+)`", problem)
    assert found, problem
    key = found[1]
    value = f"is {values[key]!r:.200}" if key in values else "is missing"
    (meta,) = get_type_hints(ModelEntry, include_extras=True)[key].__metadata__
    return f"{key} {value}; give {meta.description}"


def named_entries(names: Iterable[str]) -> dict[str, ModelEntry]:
    """Entries by name, in the order asked for.

    Raises:
        UsageError: a name is unknown.
    """
    known = {entry.name: entry for entry in all_entries()}
    wanted = list(names)
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(
            f"unknown model {unknown[0]!r}{did_you_mean(unknown[0], known)}; known: {', '.join(known)}"
        )
    return {name: known[name] for name in wanted}


def check_role(role: str, family: str) -> None:
    """Raises UsageError where no operation would take a model of this role and family."""
    if role not in _defaults():
        raise UsageError(f"unknown model role {role!r}; known roles: {', '.join(sorted(_defaults()))}")
    families = sorted({e.family for e in _known() if e.role == role} | set(MORE_FAMILIES.get(role, ())))
    if family not in families:
        raise UsageError(f"family {family!r} does not serve role {role!r}; known: {', '.join(families)}")


def check_licences(entries: Iterable[ModelEntry], accepted: bool) -> None:
    """Refuses known models that may not be used commercially, unless their licences were accepted.

    Where that is unclear, accepting it once is remembered. Models that the user added are not checked.

    Raises:
        UsageError: it names each such model with its licence, and the flag.
        ModelError: what was accepted cannot be remembered.
    """
    ours = {known.sha256 for known in _known()}
    limited = [entry for entry in entries if entry.commercial != "yes" and entry.sha256 in ours]
    open_ = [entry for entry in limited if entry.commercial == "no" or not _is_remembered(entry)]
    if open_ and not accepted:
        raise UsageError("\n".join(map(_refusal, open_)))
    for entry in open_:
        if entry.commercial == "unclear":
            _remember(entry)


def _refusal(entry: ModelEntry) -> str:
    is_unclear = entry.commercial == "unclear"
    alike = [e.name for e in _known() if e.role == entry.role and e.commercial == "yes"]
    problem = "may be for commercial use or not" if is_unclear else "is not for commercial use"
    trained_on = f", trained on {entry.trained_on}" if entry.trained_on else ""
    return (
        f"model {entry.name} (role {entry.role}) {problem}; its licence: {entry.licence}{trained_on}. "
        f"Say `accept_licence` {'once ' if is_unclear else ''}if your use is allowed, or choose "
        f"{' or '.join(alike[:3])}"
    )


def _accepted_file() -> Path:
    """Digests and names of the models whose unclear licence was accepted, a line each."""
    return user_folder().parent / "accepted_licences.txt"


def _is_remembered(entry: ModelEntry) -> bool:
    try:
        lines = _accepted_file().read_text("utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, UnicodeDecodeError) as exc:
        raise ModelError(f"{_accepted_file()} cannot be read: {exc}; repair or delete it") from exc
    return any(line.startswith(entry.sha256) for line in lines)


def _remember(entry: ModelEntry) -> None:
    path = _accepted_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{entry.sha256} {entry.name}\n")
    except OSError as exc:
        raise ModelError(
            f"cannot write {path}: {exc.strerror}; make the folder writable or set FRAMEMILL_CONFIG_DIR"
        ) from exc


def is_default(entry: ModelEntry) -> bool:
    """Whether a run takes this model for its role where none is named."""
    default = _roles().get(entry.role)
    return default is not None and default.name == entry.name


def all_entries() -> list[ModelEntry]:
    """The known entries, then the user's, which win over known ones of the same name."""
    users = user_entries()
    taken = {entry.name for entry in users}
    theirs = [entry for entry in OWN_MODELS.values() if entry.sha256]
    return [entry for entry in (*_known(), *theirs) if entry.name not in taken] + users


def resolve(role: str, choice: str = "") -> ModelEntry:
    """The entry that `choice` names for a role.

    Args:
        role: key of `DEFAULTS` or `OWN_MODELS`.
        choice: empty for the role's default, a registered name, or the path of an ONNX file or of a folder,
            which is taken to have the contract of the role's first model that is one, but for the picture
            size.

    Raises:
        UsageError: the role or the name is unknown, the named model serves another role, or the role has no
            model of its own that could stand for it.
        ModelError: the file cannot be read, the folder lacks files, or a user's block is wrong.
    """
    defaults = _roles()
    if role not in defaults:
        raise UsageError(f"unknown model role {role!r}; known roles: {', '.join(sorted(defaults))}")
    if not choice:
        if not defaults[role].sha256:
            raise UsageError(
                f"no file is known for the model role {role!r}: name one of family {defaults[role].family}, "
                f"`models={{{role!r}: 'FILE.onnx'}}`"
            )
        return defaults[role]
    entries = all_entries()
    named = {entry.role: entry for entry in entries if entry.name == choice}
    if role in named:
        return named[role]
    if named:
        roles = " and ".join(map(repr, sorted(named)))
        raise UsageError(f"model {choice!r} serves role {roles}, not {role!r}")
    path = Path(choice).expanduser()
    first = {bool(e.files): e for e in reversed((*_known(), *OWN_MODELS.values())) if e.role == role}
    is_folder = path.is_dir() if len(first) == 2 else True in first
    if os.sep in choice or (path.is_dir() if is_folder else choice.endswith(".onnx")):
        return _entry_of_path(first[is_folder], path, entries)
    names = ", ".join(entry.name for entry in entries if entry.role == role)
    remedy = " or ".join(words for kind, words in _PATHS.items() if kind in first)
    close = did_you_mean(choice, [entry.name for entry in entries if entry.role == role])
    raise UsageError(f"no model {choice!r} for role {role!r}; known: {names}; or give {remedy}{close}")


_PATHS = {True: "a model folder's path", False: "an .onnx file's path"}


def _entry_of_path(default: ModelEntry, path: Path, entries: list[ModelEntry]) -> ModelEntry:
    files = list_folder(path, default.family) if default.files else ()
    if files:
        digest, num_bytes = digest_files(files), sum(file.num_bytes for file in files)
    else:
        digest, num_bytes = digest_file(path), path.stat().st_size
    located = str(path.resolve())
    for entry in entries:
        if entry.role == default.role and entry.sha256 == digest:
            return replace(entry, path=located)
    return replace(
        default,
        name=path.name if files else path.stem,
        sha256=digest,
        num_bytes=num_bytes,
        files=files,
        licence="unknown",
        commercial="unclear",
        licence_of_code="",
        trained_on="",
        research_only=(),
        unconfirmed=(),
        same_above=0.0,
        urls=(),
        path=located,
        package_file="",
        input_size=None,
    )


def fitting(role: str, image: ModelEntry) -> ModelEntry | None:
    """The first model of a role that takes an image model's vectors, or gives such as compare with them."""
    return next((entry for entry in all_entries() if entry.role == role and entry.space == image.space), None)
