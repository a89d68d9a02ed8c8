"""Operations that are not ours: named `package.module:Class`, or offered by an installed package.

A package offers some in the entry-point group `framemill.ops`, name -> module:Class. Every process that
needs such an operation is told of it and imports it by itself; classes do not travel.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from framemill.errors import SetupError, UsageError, did_you_mean
from framemill.models import registry
from framemill.models.entry import ModelEntry
from framemill.ops import OPS, PLUGINS
from framemill.ops.operation import Op, Reads

GROUP = "framemill.ops"
# Tables that every result folder has or that commands make, and views of `framemill sql`.
TAKEN = frozenset(
    {"errors", "runs", "sources", "spoken", "people", "duplicates", "thumbnails", "highlights", "recall"}
    | {"tags", "person_names", "captions", "summaries", "clips"}
)
# Module -> digest of the source that this process imported.
_imported: dict[str, str] = {}
# Role in `OWN_MODELS` -> module:Class that brought it.
_brought: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Plugin:
    """An operation of somebody else's, as one process tells another of it.

    Attributes:
        name: of the operation and of its table.
        spec: module:Class.
        digest: of the file that defines the class, 32 hex digits; part of the operation key.
        folder: where the module was found. Others search it after everything else, so that nothing in it
            stands in for what they import.
    """

    name: str
    spec: str
    digest: str
    folder: str


def offered() -> dict[str, str]:
    """What installed packages offer: operation name -> module:Class.

    Raises:
        UsageError: two packages offer different classes under one name.
    """
    import importlib.metadata  # which takes longer than all else here

    found: dict[str, str] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        if found.setdefault(entry.name, entry.value) != entry.value:
            raise UsageError(
                f"installed packages offer {found[entry.name]} and {entry.value} as the operation "
                f"{entry.name!r}: uninstall one of them"
            )
    return found


def name_of(asked: str, plugins: dict[str, Plugin]) -> str:
    """The name of an operation as a person asks for it: its name, or module:Class.

    Args:
        plugins: name -> operation of a run that is not ours; those that are met are added.

    Raises:
        UsageError: as `find_plugin`; or another class of the run has the same name.
    """
    ours = {spec: name for name, spec in OPS.items()}
    if asked in OPS or asked in plugins or asked in ours:
        return ours.get(asked, asked)
    plugin = find_plugin(asked)
    if plugins.setdefault(plugin.name, plugin) != plugin:
        raise UsageError(
            f"operations {plugins[plugin.name].spec!r} and {plugin.spec!r} have one name, {plugin.name!r}, "
            "and so one table: run them into two output folders, or rename one"
        )
    return plugin.name


def find_plugin(asked: str) -> Plugin:
    """The operation that a person asked for, known to `load_op` from now on.

    Args:
        asked: module:Class, searched in the current folder last; or the name of one that is `offered`.

    Raises:
        UsageError: there is none, it cannot be imported, or the class is no operation with a free name.
    """
    if ":" in asked:
        return _load(asked, os.getcwd())
    offers = offered()
    if asked not in offers:
        nearest = did_you_mean(asked, [*OPS, *offers], most=3)
        raise UsageError(
            f"unknown operation {asked!r}{nearest}: `framemill ops` lists all; one of your own is asked for "
            "as package.module:Class"
        )
    plugin = _load(offers[asked], "")
    if plugin.name != asked:
        raise UsageError(
            f"an installed package offers {plugin.spec} as the operation {asked!r}, and its class says "
            f"name = {plugin.name!r}: they must be the same"
        )
    return plugin


def load_plugins(plugins: Iterable[Plugin]) -> None:
    """Makes known to `load_op` what another process found.

    Raises:
        UsageError: as `find_plugin`.
        SetupError: what is imported here is not what was found there.
    """
    for plugin in plugins:
        found = _load(plugin.spec, plugin.folder)
        if found.digest != plugin.digest:
            raise SetupError(
                f"operation {plugin.spec!r}: the module in {found.folder} differs from the one in "
                f"{plugin.folder} that the run was planned with: let both be the same, and run again"
            )


def spec_of(kind: Any) -> str:
    """How other processes find a class: module:Class.

    Raises:
        UsageError: it is no class, or they cannot import it.
    """
    if not isinstance(kind, type):
        raise UsageError(f"ops: {kind!r} is neither the name of an operation nor a class")
    module = sys.modules.get(kind.__module__)
    if kind.__module__ == "__main__" or _attribute(module, kind.__qualname__) is not kind:
        raise UsageError(
            f"ops: worker processes cannot import {kind.__module__}:{kind.__qualname__}. Put the class at "
            "the top level of a module, import it from there, and import it again after an edit"
        )
    return f"{kind.__module__}:{kind.__qualname__}"


def _load(spec: str, folder: str) -> Plugin:
    name, _, path = spec.partition(":")
    if not all(part.isidentifier() for part in (*name.split("."), *path.split("."))):
        raise UsageError(f"operation {spec!r}: write package.module:Class, such as my_module:Blur")
    is_there = folder in sys.path or ("" in sys.path and folder == os.getcwd())
    if folder and not is_there:
        sys.path.append(folder)
    importlib.invalidate_caches()  # the file may be younger than the last look
    try:
        module = importlib.import_module(name)
        digest = _digest(spec, _attribute(module, path))
        # Workers of Ray outlive a run, and notebooks an edit.
        home = getattr(_attribute(module, path), "__module__", name)
        if _imported.setdefault(home, digest) != digest:
            importlib.reload(sys.modules[home])
            module = importlib.reload(module)
            _imported[home] = digest
    except UsageError:
        raise
    except Exception as error:
        searched = f" and, last, in {folder}" if folder else ""
        raise UsageError(
            f"operation {spec!r}: importing {name} failed ({type(error).__name__}: {error}); it was searched "
            f"where Python finds modules{searched}: install it, or start from its folder"
        ) from error
    kind = _attribute(module, path)
    found = _checked(spec, kind)
    _learn_models(spec, kind)
    PLUGINS[found] = spec
    depth = name.count(".") + hasattr(module, "__path__")
    return Plugin(found, spec, digest, str(Path(str(module.__file__)).absolute().parents[depth]))


def _attribute(module: ModuleType | None, path: str) -> Any:
    """What a dotted path leads to, None where it leads nowhere."""
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _digest(spec: str, kind: Any) -> str:
    """Of the file that defines the class."""
    file = getattr(sys.modules.get(getattr(kind, "__module__", "")), "__file__", None)
    if kind is None or file is None:
        module = sys.modules[spec.partition(":")[0]]
        raise UsageError(
            f"operation {spec!r}: there is no such class in {getattr(module, '__file__', None) or module}: "
            "check the spelling, and whether another module of that name is found first"
        )
    return hashlib.blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()


def _learn_models(spec: str, kind: type[Op]) -> None:
    """Makes known to `resolve` what the models of an operation's own roles are like."""
    roles = set(kind.models) - registry.DEFAULTS.keys()
    for entry in kind.own_models:
        if not isinstance(entry, ModelEntry) or entry.role not in roles:
            raise UsageError(
                f"operation {spec!r} has {entry!r:.100} in own_models: list a "
                "framemill.models.entry.ModelEntry whose role is in `models` and is none of Framemill's own"
            )
        bringer = _brought.setdefault(entry.role, spec)
        if bringer != spec and registry.OWN_MODELS[entry.role] != entry:
            raise UsageError(
                f"operations {bringer!r} and {spec!r} bring different models for the role {entry.role!r}: "
                "let one of them name its role otherwise"
            )
        registry.OWN_MODELS[entry.role] = entry


def _checked(spec: str, kind: Any) -> str:
    """The name of an operation, once it is known to be one."""

    def refuse(why: str) -> UsageError:
        return UsageError(f"operation {spec!r} {why}")

    if not (isinstance(kind, type) and issubclass(kind, Op)):
        raise refuse("is no operation: derive it from FrameOp, TableOp or Op of framemill.ops.operation")
    if inspect.isabstract(kind):
        raise refuse(f"lacks what its base class leaves to it: {', '.join(sorted(kind.__abstractmethods__))}")
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise refuse(f"has name = {name!r}: it names a table, so write a-z, 0-9 and _, a letter first")
    if name in OPS or name in TAKEN:
        raise refuse(f"has name = {name!r}, which is a table of Framemill's own: choose another name")
    for attribute, wanted, remedy in (
        ("schema", pa.Schema, "a pyarrow.Schema of its columns"),
        ("reads", Reads, "a value of framemill.ops.operation.Reads"),
    ):
        if not isinstance(getattr(kind, attribute, None), wanted):
            raise refuse(f"has no attribute {attribute}: give it {remedy}")
    if not dataclasses.is_dataclass(kind.Options):
        raise refuse("has Options that are no dataclass: write @dataclass(frozen=True, kw_only=True)")
    return name
