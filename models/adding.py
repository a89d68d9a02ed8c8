"""Adds a user's own model: looks into the file, judges its batch axis, and writes one TOML block."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from framemill.errors import ModelError, UsageError
from framemill.models.download import OnProgress, download, replacing
from framemill.models.family_defaults import FAMILY_DEFAULTS
from framemill.models.model_io import check_graph
from framemill.models.onnx_batching import input_shapes, parse_graph, read_graph
from framemill.models.registry import (
    DEFAULTS,
    KNOWN,
    LABEL_SETS,
    ModelEntry,
    all_entries,
    check_role,
    label_set,
    parse_entry,
    user_folder,
)
from framemill.models.session import picture_size
from framemill.models.store import cache_folder, cache_path
from framemill.models.trial import try_model

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".npy", ".npz")


def add(
    source: str,
    role: str,
    *,
    name: str = "",
    family: str = "",
    input_size: tuple[int, int] | None = None,
    colour: str | None = None,
    mean: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    labels: str | Sequence[str] | None = None,
    licence: str = "unknown",
    commercial: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Registers an ONNX file for a role; what is not given is taken from the file, its family, then the role.

    A family that is not given is the first of those that known models of the role have which fits the file.

    Args:
        source: path of a file, which stays where it is, or an https URL, fetched into the cache.
        name: key in the registry; the file's name without suffix if empty.
        labels: names by class index, or the name of a label set.
        others: as in `ModelEntry`.

    Returns:
        The entry's fields, and `block` (path of the TOML file) and `reason` (why it is batched or not).

    Raises:
        UsageError: the role, name or a value is wrong, or the name is taken.
        ModelError: the file is missing, not safe, not valid or not of its family.
    """
    if role not in DEFAULTS:
        raise UsageError(f"unknown model role {role!r}; known roles: {', '.join(sorted(DEFAULTS))}")
    default = DEFAULTS[role]
    ours = [e for e in KNOWN if e.role == role]
    # A file does not tell whether it is of a family whose models are folders.
    files = [e for e in ours if not e.files] or ours
    families = [family] if family else list(dict.fromkeys(e.family for e in files))
    check_role(role, families[0])
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source.split("?")[0]).stem).strip("-._")
    if name in {entry.name for entry in all_entries()}:
        raise UsageError(f"a model named {name!r} exists; choose another `name`")
    if source.split("?")[0].lower().endswith(_PICKLES):
        raise UsageError(f"{source} looks like a pickle, which can run code when opened; export it as ONNX")
    url = source if "://" in source else ""
    path = _fetch(url, on_progress) if url else Path(source).expanduser().resolve()
    try:
        content = read_graph(path)  # once, so that what is checked and what is described are the same
        model = parse_graph(content, path)
        shapes = list(input_shapes(model).values())
        size = input_size or (picture_size(shapes[0]) if shapes else None)
        batching, reason = try_model(content, path, size)
        block = {
            "name": name,
            "role": role,
            "sha256": hashlib.sha256(content).hexdigest(),
            "num_bytes": len(content),
            "licence": licence,
            "commercial": "yes" if commercial else "unclear",
            "urls": [url] if url else [],
            "path": "" if url else str(path),
            "input_size": size,
        }
        given = {"colour": colour, "mean": mean, "scale": scale, "labels": labels}
        block |= {key: value for key, value in given.items() if value is not None}
        entry = replace(_fitting(block, families, model, default), batching=batching)
        if url:
            path.replace(cache_path(entry))
    finally:
        if url:
            path.unlink(missing_ok=True)
    return {**asdict(entry), "block": str(write_block(entry)), "reason": reason}


def _fitting(
    block: Mapping[str, Any], families: Sequence[str], model: Any, default: ModelEntry
) -> ModelEntry:
    """The entry of the first of these families that fits a model; raises what the first one does if none."""
    problem: ModelError | None = None
    for family in families:
        usual = FAMILY_DEFAULTS.get(family) or asdict(default)
        known = {key: usual[key] for key in ("colour", "mean", "scale")}
        labels = usual.get("labels", default.labels)
        entry = parse_entry({"family": family, **known, "labels": labels, **block})
        try:
            check_graph(entry, model)
        except ModelError as exc:
            problem = problem or exc
        else:
            return entry
    assert problem is not None
    raise problem


def _fetch(url: str, on_progress: OnProgress | None) -> Path:
    path = cache_folder() / "models" / f".added-{hashlib.sha256(url.encode()).hexdigest()[:16]}.onnx"
    with replacing(path) as file:
        download(url, file, 0, on_progress)
    return path


def write_block(entry: ModelEntry) -> Path:
    lines = []
    usual = FAMILY_DEFAULTS.get(entry.family, {})
    for field in fields(ModelEntry):
        value = getattr(entry, field.name)
        if value == usual.get(field.name, field.default):
            continue
        if field.name == "labels":
            value = next((name for name in LABEL_SETS if label_set(name) == value), value)
        # JSON's texts, numbers, truth values and lists are TOML's too, but for DEL.
        line = f"{field.name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
        try:
            line.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{field.name} {value!r:.200} is not UTF-8, as TOML is; give another") from None
        lines.append(line)
    text = "\n".join(lines) + "\n"
    assert parse_entry(tomllib.loads(text)) == entry
    path = user_folder() / f"{entry.name}.toml"
    with replacing(path) as file:
        file.write(text.encode())
    return path
