"""Settings of a run: flags beat FRAMEMILL_* variables, which beat framemill.toml, which beats defaults.

A setting is a field of `cluster.request.ExtractRequest`, apart from `set` and the shortcuts `images`,
`language`, `task`, `budget`, `max_segments` and `recall_target`, which all land in its `options`, and
`clips` and `clips_to`, which land there among those of clips (see `cluster.clips.options`).
In the file, `model` and `set` are tables:

    sample = "every:1"
    memory = "4GB"
    [model]
    objects = "yolox_nano"
    [set.frames]
    images = true
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from framemill.errors import UsageError, did_you_mean

# Names of settings or of options, and their values as a file, a flag or a variable has them.
Settings = dict[str, Any]
FILE_NAME = "framemill.toml"
# Among the options of operations, those of clips.
CLIPS = "clips"

# Powers of 1000 and of 1024, as the SI and the IEC name them.
_UNITS = {"": 1, "b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("", 1000), ("b", 1000), ("ib", 1024))
}


def read_settings(flags: Settings, environ: Mapping[str, str], path: Path | None = None) -> Settings:
    """Keyword arguments for `ExtractRequest` from all places, those not set anywhere left out.

    Args:
        flags: setting name -> text or value as typed; None means not given.
        environ: the process environment; only FRAMEMILL_<SETTING> of known settings are read.
        path: the configuration file; None means `framemill.toml` in the current folder, if there is one.

    Raises:
        UsageError: an unknown key, a value that does not fit, or a file that cannot be read; names the place.
    """
    settings: Settings = {}
    merged: dict[str, Settings] = {"model": {}, "set": {}}
    spare: set[str] = set()
    for is_shared, values in (
        (True, _from_file(path)),
        (False, _from_environ(environ)),
        (False, _from_flags(flags)),
    ):
        for name, value in values.items():
            if name in _SHORTCUTS:
                name, value = "set", {_SHORTCUTS[name]: value}
            if name in merged:
                merged[name].update(value)
                named = {key.partition(".")[0] for key in value}
                spare = spare | named if is_shared else spare - named
            else:
                settings[_FIELDS.get(name, name)] = value
    options: dict[str, Settings] = {}
    for key, value in merged["set"].items():
        op, _, option = key.partition(".")
        options.setdefault(op, {})[option] = value
    if options:
        settings["options"] = options
    if merged["model"]:
        settings["models"] = merged["model"]
    if spare:
        settings["spare"] = tuple(sorted(spare))
    return settings


def unknown_variables(environ: Mapping[str, str], known: Iterable[str] = ()) -> list[str]:
    """FRAMEMILL_* variables that are neither a setting nor in `known`: most likely misspelt."""
    expected = {_variable(name) for name in (*_OLD_NAMES, *_kinds())} | set(known)
    return sorted(name for name in environ if name.startswith("FRAMEMILL_") and name not in expected)


def parse_size(value: Any) -> int:
    """Bytes from a number with an optional unit: 1500, 10GB (powers of 1000), 512MiB (powers of 1024)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError("is no size; write bytes or a number with a unit, such as 10GB or 512MiB")
    return int(float(match[1]) * _UNITS[match[2]])


def parse_picture_size(text: str) -> tuple[int, int]:
    """Width and height of a size such as 1280x720.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None:
        raise UsageError(f"the size {text!r} is none: give width and height, as in 1280x720")
    return int(match[1]), int(match[2])


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("is no list of names; write a,b")
    return tuple(item.strip() for item in value if item.strip())


def _pairs(value: Any) -> dict[str, str]:
    """ROLE=NAME pairs, or the table that holds the same in a file."""
    if isinstance(value, str):
        value = _words(value)
    if isinstance(value, list | tuple):
        value = dict(_split(item, "ROLE=NAME") for item in value)
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value.values()):
        raise ValueError("must map each role to a name or a path in quotes")
    return dict(value)


def _assignments(value: Any) -> Settings:
    """OP.OPTION -> value; texts that are JSON are read as JSON, so 3, true and [1, 2] keep their types."""
    if isinstance(value, str):
        value = _words(value)
    if isinstance(value, Mapping):
        if not all(isinstance(table, Mapping) for table in value.values()):
            raise ValueError("must be a table per operation, such as [set.frames]")
        return {f"{op}.{option}": v for op, table in value.items() for option, v in table.items()}
    if not isinstance(value, list | tuple):
        raise ValueError("must be a table per operation, such as [set.frames]")
    result: Settings = {}
    for item in value:
        key, text = _split(item, "OP.OPTION=VALUE")
        if not re.fullmatch(r"\w+\.\w+", key):
            raise ValueError(f"has {item!r}, which is not written OP.OPTION=VALUE")
        result[key] = _json_or_text(text)
    return result


def _tolerance(value: Any) -> str:
    """A flag without a value, or true in a file, stands for all."""
    text = str(value).strip().lower()
    text = {"true": "all", "false": ""}.get(text, text)
    if not re.fullmatch(r"(all|\d{1,12}|\d{1,3}(\.\d{1,9})?%)?", text):
        raise ValueError("is no number of files, such as 10, no share of them, such as 5%, and not all")
    return text


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}") from error


def _split(item: Any, shape: str) -> tuple[str, str]:
    key, sign, text = str(item).partition("=")
    if not (key and sign and text):
        raise ValueError(f"has {item!r}, which is not written {shape}")
    return key, text


def _json_or_text(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return text


# Those that are written in a way of their own; all others are read as their type in `ExtractRequest` says.
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "ops": _names,
    "cascade": _names,
    "sandbox_allow": _names,
    "set": _assignments,
    "model": _pairs,
    "keep_bytes": parse_size,
    "memory": parse_size,
    "tolerate_failures": _tolerance,
}
# Settings that are called otherwise than their fields.
_FIELDS = {
    "memory": "memory_bytes",
    "stall_after": "stall_seconds",
    "wait_for_room": "room_seconds",
    "model": "models",
    "set": "options",
}
_NO_SETTINGS = ("sources", "output", "spare", "verbosity")
# What settings were called before, which still works.
_OLD_NAMES = {"mills": "actors", "mill_cpus": "actor_cpus", "mill_gpus": "actor_gpus"}
# Settings that are an operation's option, or one of clips.
_SHORTCUTS = {
    "images": "frames.images",
    "language": "transcript.language",
    "task": "transcript.task",
    "budget": "sampling.budget",
    "max_segments": "sampling.max_segments",
    "recall_target": "candidates.recall_target",
    "clips": "clips.plan",
    "clips_to": "clips.to",
}


@cache
def _kinds() -> Settings:
    """Setting -> the type of its value, in the order of the request; then the shortcuts."""
    # Not before it is needed: `--help` shows settings without reading any.
    from framemill.cluster.request import Count, Factor, kinds_of_fields

    names = {field: name for name, field in _FIELDS.items()}
    kinds = {names.get(k, k): kind for k, kind in kinds_of_fields().items() if k not in _NO_SETTINGS}
    counts = {"budget": Count, "max_segments": Count, "recall_target": Factor}
    texts = dict.fromkeys(("language", "task", "clips", "clips_to"), str)
    return {**kinds, "images": bool, **texts, **counts}


def keywords() -> dict[str, str]:
    """Setting -> the keyword that it is in Python; of an operation's option the mapping to give."""
    settings = {name: _FIELDS.get(name, name) for name in _kinds()}
    paths = {name: path.split(".") for name, path in _SHORTCUTS.items()}
    return settings | {
        name: f'clips={{"{option}": ...}}' if op == CLIPS else f'options={{"{op}": {{"{option}": ...}}}}'
        for name, (op, option) in paths.items()
    }


def _renamed(values: Settings) -> Settings:
    """The same under today's names; where both are given, today's counts."""
    old = {_OLD_NAMES[name]: value for name, value in values.items() if name in _OLD_NAMES}
    return old | {name: value for name, value in values.items() if name not in _OLD_NAMES}


def _variable(name: str) -> str:
    return f"FRAMEMILL_{name.upper()}"


def _parse(name: str, value: Any, place: str) -> Any:
    from framemill.cluster.request import convert

    if name not in _PARSERS:
        return convert(f"{place}: ", value, _kinds()[name], is_text=True)
    try:
        return _PARSERS[name](value)
    except ValueError as error:
        raise UsageError(f"{place}: {value!r} {error}") from error


def _from_flags(flags: Settings) -> Settings:
    given = _renamed({name: value for name, value in flags.items() if value is not None and value != ()})
    return {name: _parse(name, value, f"--{name.replace('_', '-')}") for name, value in given.items()}


def _from_environ(environ: Mapping[str, str]) -> Settings:
    names = (*_OLD_NAMES, *_kinds())
    given = _renamed({name: environ[_variable(name)] for name in names if environ.get(_variable(name))})
    return {name: _parse(name, value, _variable(name)) for name, value in given.items()}


def _from_file(path: Path | None) -> Settings:
    if path is None:
        path = Path(FILE_NAME)
        if not path.is_file():
            return {}
    try:
        from framemill.models.registry import read_toml

        content = read_toml(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: the configuration cannot be read: {error}") from error
    content = _renamed(content)
    for name in content:
        if name not in _kinds():
            raise UsageError(
                f"{path}: unknown key {name!r}{did_you_mean(name, _kinds())}; "
                f"known keys: {', '.join(sorted(_kinds()))}"
            )
    return {name: _parse(name, value, f"{path}: {name}") for name, value in content.items()}
