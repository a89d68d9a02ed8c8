"""Which operations run, with which options, under which keys: pure, and checked before any work."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import Any

from framemill.actors.plan import DECODE_VERSION, STEERED_BY, Sampling, parse_sampling
from framemill.cluster.request import ExtractRequest, convert
from framemill.cluster.results.commits import OperationKey
from framemill.cluster.results.packed import Entry
from framemill.errors import UsageError, did_you_mean
from framemill.models.entry import ModelEntry
from framemill.models.registry import check_licences, resolve
from framemill.ops import DEFAULT_OPS, OPS, load_op
from framemill.ops.operation import Op, Reads
from framemill.plugins import Plugin, name_of

# Every option with its value, as JSON.
Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlannedOp:
    """One operation of a run.

    Attributes:
        name: key of OPS or PLUGINS.
        options: every option with its value, as JSON.
        key: the operation key.
        reads: what it is fed.
        after: operations whose rows it needs first, in this run.
        additions: of its options that fill in columns and change no row (`Op.additions`), those that are on,
            with how they are made, such as "images quality=90". They are no part of the key: what lacks them
            is filled in.
    """

    name: str
    options: Options
    key: OperationKey
    reads: Reads
    after: tuple[str, ...]
    additions: frozenset[str] = frozenset()

    @property
    def content_key(self) -> str:
        """As the digest of the key, and another where columns are filled in: for rows on their way."""
        if not self.additions:
            return str(self.key["digest"])
        return _digest({"key": self.key["digest"], "additions": sorted(self.additions)})

    def additions_of(self, entry: Entry) -> frozenset[str]:
        """Which columns the rows of an entry under this key have filled in, and how."""
        kind, options = load_op(self.name), self.key["options"]
        names = entry.additions
        if names is None:
            names = tuple(name for name in kind.additions if options.get(name))
        # A name alone is of before it was written down how: the key told that.
        return frozenset(name if "=" in name else _addition(kind, name, options) for name in names)


@dataclass(frozen=True, slots=True)
class OpsPlan:
    """All operations of a run, each after those it depends on.

    Attributes:
        ops: name -> planned operation.
        sampling: the sampling policy.
        added: operations that were not asked for but are needed by others.
        plugins: those of the operations that are not ours.
    """

    ops: Mapping[str, PlannedOp]
    sampling: Sampling
    added: tuple[str, ...]
    plugins: tuple[Plugin, ...] = ()

    def stages(self) -> list[list[str]]:
        """Operations that can share one decode: those behind a table that picks frames need another one."""
        number: dict[str, int] = {}
        for name, op in self.ops.items():
            steps = op.reads is Reads.FRAMES
            needs = [need for need in op.key["after"] if need in number]
            number[name] = max((number[need] + (steps and need in _PICKING) for need in needs), default=0)
        return [
            [name for name in self.ops if number[name] == stage] for stage in sorted(set(number.values()))
        ]


# Tables that say which frames others look at.
_PICKING = (*STEERED_BY.values(), "candidates")
_SHORT = {
    "sampling": "`budget`, `max_segments` and the options of sampling need `sample='adaptive'`",
    "candidates": "`recall_target` and the options of candidates need `cascade`",
}


def _is_sampled(name: str) -> bool:
    kind = load_op(name)
    return kind.reads is Reads.FRAMES or any(_is_sampled(other) for other in kind.after)


def plan_ops(
    request: ExtractRequest, shard_seconds: float, held: Mapping[str, OperationKey] = MappingProxyType({})
) -> OpsPlan:
    """Checks what was asked for and makes the operation keys.

    Args:
        shard_seconds: a constant of the result folder.
        held: operation name -> key, of the tables there. Folders of before hold keys in which additions
            (`Op.additions`) are on, or that lack options which are newer; they stand for the same rows, and
            are gone on with.

    Raises:
        UsageError: an unknown operation, option, value, role or model, or a licence that is not accepted.
        ModelError: a model given by path cannot be read.
    """
    sampling = parse_sampling(request.sample)
    plugins: dict[str, Plugin] = {}
    named = partial(name_of, plugins=plugins)
    asked = [named(op) for op in request.ops] or list(DEFAULT_OPS)
    for name in request.options:
        named(name)
    entry_of = cache(lambda role: resolve(role, request.models.get(role, "")))
    _check_cascade(request, asked)
    afters = _ordered(asked, entry_of, sampling, request.cascade, named)
    kinds = {name: load_op(name) for name in afters}
    for name in request.options:
        if name not in kinds and name not in request.spare:
            if name in _SHORT:
                raise UsageError(_SHORT[name])
            raise UsageError(f"options are given for {name!r}, which does not run: add it to `ops`")
        _options(load_op(name), request.options[name])
    roles = {role for kind in kinds.values() for role in kind.models}
    for role in request.models:
        if role in request.spare:
            entry_of(role)
        elif role not in roles:
            known = ", ".join(sorted(roles)) or "none"
            raise UsageError(
                f"`models={{{role!r}: ...}}`: no operation of this run uses that role; used: {known}"
                + did_you_mean(role, roles)
            )
    check_licences(map(entry_of, sorted(roles)), request.accept_licence)
    tracks = {"video": request.video_track, "audio": request.audio_track}
    named_tracks = {kind: track for kind, track in tracks.items() if track}
    planned: dict[str, PlannedOp] = {}
    for name, kind in kinds.items():
        options = _options(kind, request.options.get(name, {}))
        key: dict[str, Any] = {
            "name": name,
            "version": kind.version,
            "options": {**options, **_without_additions(kind)},
            "models": {
                role: _model_key(entry_of(role), request.precision)
                for role in kind.roles(kind.Options(**options))
            },
            "sampling": request.sample if _is_sampled(name) else None,
            "decode_version": DECODE_VERSION,
            "shard_seconds": shard_seconds,
            "after": {other: planned[other].key["digest"] for other in _needs(name, afters[name], sampling)},
        }
        if name in plugins:
            key["module"] = plugins[name].digest
        if named_tracks:
            key["tracks"] = named_tracks
        key["digest"] = _digest(key)
        if name in held and _stands_for(kind, key, held[name]):
            key = dict(held[name])
        additions = frozenset(
            _addition(kind, option, options) for option in kind.additions if options[option]
        )
        planned[name] = PlannedOp(name, options, key, kind.reads, afters[name], additions)
    added = tuple(name for name in planned if name not in asked)
    return OpsPlan(planned, sampling, added, tuple(plugins[name] for name in planned if name in plugins))


def _digest(key: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=16).hexdigest()


def _without_additions(kind: type[Op]) -> Options:
    return {
        field.name: field.default
        for field in dataclasses.fields(kind.Options)
        if field.name in (*kind.additions, *kind.addition_options)
    }


def _addition(kind: type[Op], name: str, options: Options) -> str:
    """An option that fills in columns, with how it does: "images quality=90"."""
    how = {**_without_additions(kind), **options}
    return " ".join([name, *(f"{option}={how[option]}" for option in kind.addition_options)])


def _stands_for(kind: type[Op], key: OperationKey, there: OperationKey) -> bool:
    """Whether a key of before is for the same rows: but for additions, and options there were none of then.

    A new option changes no row where it has its default: else the version would have been raised.
    """
    fields = [field for field in dataclasses.fields(kind.Options) if field.default is not dataclasses.MISSING]
    defaults = {field.name: field.default for field in fields}
    plain = {**there, "options": {**defaults, **there.get("options", {}), **_without_additions(kind)}}
    del plain["digest"]
    return bool(_digest(plain) == key["digest"])


def _model_key(entry: ModelEntry, precision: str) -> str:
    """What rows of a model depend on. Halves on TensorRT move them; Whisper's runtime knows nothing of that.

    Eight bits are files of their own, with keys of their own.
    """
    return f"{entry.key}:fp16" if precision == "fp16" and entry.family != "whisper" else entry.key


def _needs(name: str, after: tuple[str, ...], sampling: Sampling) -> tuple[str, ...]:
    scenes = ("scenes",) if sampling.kind == "scenes" and _is_sampled(name) else ()
    return (*after, *scenes)


def _check_cascade(request: ExtractRequest, asked: Collection[str]) -> None:
    for name in request.cascade:
        if name not in OPS and name not in asked:
            raise UsageError(
                f"`cascade`: unknown operation {name!r} (see `framemill ops`){did_you_mean(name, OPS)}"
            )
        if load_op(name).reads is not Reads.FRAMES or name == "frames":
            raise UsageError(
                f"`cascade={name!r}`: only operations that look at sampled frames can be spared some of "
                "them, and frames is the cheap look that the choice is made by"
            )
        if name not in asked:
            raise UsageError(f"`cascade={name!r}`: it does not run; add it to `ops`")


def _ordered(
    asked: Collection[str],
    entry_of: Callable[[str], ModelEntry],
    sampling: Sampling,
    cascade: Collection[str],
    named: Callable[[str], str],
) -> dict[str, tuple[str, ...]]:
    """The operations and those that each comes after, which stand before it."""
    ordered: dict[str, tuple[str, ...]] = {}
    steering = (STEERED_BY[sampling.kind],) if sampling.kind in STEERED_BY else ()

    def is_cascaded(name: str) -> bool:
        kind = load_op(name)
        behind = kind.follows(asked, entry_of)
        return kind.reads is Reads.FRAMES and (name in cascade or any(map(is_cascaded, behind)))

    def picked_by(name: str) -> tuple[str, ...]:
        """The table with the very frames that an operation is to see."""
        if is_cascaded(name):
            return ("candidates",)
        return steering if steering == ("sampling",) and load_op(name).reads is Reads.FRAMES else ()

    def add(name: str, behind: tuple[str, ...] = ()) -> None:
        if name in behind:
            raise UsageError(f"operation {name!r} comes after itself ({', '.join(behind)}): change `after`")
        if name not in ordered:
            kind = load_op(name)
            for other in map(named, kind.after):
                if kind.reads is not Reads.TABLES and load_op(other).reads is not kind.reads:
                    raise UsageError(
                        f"operation {name!r} reads {kind.reads.value} and comes after {other!r}, whose rows "
                        "are not made beside them: derive it from TableOp, or leave that out of `after`"
                    )
            after = (*kind.follows(asked, entry_of), *picked_by(name))
            for other in after:
                add(other, (*behind, name))
            ordered[name] = after

    # `scenes` goes before what it may steer; otherwise the order of OPS, then of what was asked for.
    places = list(dict.fromkeys(("scenes", *OPS, *asked)))
    for name in sorted({*asked, *steering}, key=places.index):
        add(name)
    return ordered


def _options(kind: type[Op], given: Options) -> Options:
    types = typing.get_type_hints(kind.Options)
    known = {field.name for field in dataclasses.fields(kind.Options)}
    for option in given:
        if option not in known:
            names = ", ".join(sorted(known)) or "none"
            close = did_you_mean(option, known)
            raise UsageError(f"{kind.name} has no option {option!r}; it has: {names}{close}")
    typed = {
        name: convert(f"{kind.name}.{name}=", value, types[name], is_text=True)
        for name, value in given.items()
    }
    return dataclasses.asdict(kind.Options(**typed))


# Parts of a key that change with Framemill alone.
_VERSIONS = {"version": "version of the operation", "decode_version": "version of the decode rules"}


def check_keys(plan: OpsPlan, held: Mapping[str, OperationKey]) -> None:
    """Refuses to mix rows made under different keys in one table.

    Raises:
        UsageError: names each difference and what can be done.
    """
    outdated: dict[str, str] = {}
    for name, op in plan.ops.items():
        there = held.get(name)
        if there is None or there["digest"] == op.key["digest"]:
            continue
        parts = [
            part
            for part in dict.fromkeys((*op.key, *there))
            if part != "digest" and there.get(part) != op.key.get(part)
        ]
        differences = [f"{part} is {there.get(part)!r} there and {op.key.get(part)!r} here" for part in parts]
        # What rows of an outdated table were made into is outdated with them.
        is_outdated = set(parts) <= {*_VERSIONS, "after"} and (
            not set(parts).isdisjoint(_VERSIONS) or not outdated.keys().isdisjoint(op.key["after"])
        )
        if not is_outdated:
            raise UsageError(
                f"table {name!r} was made differently: {'; '.join(differences)}. "
                "Use the same settings, another output folder, or `replace` to compute the table anew"
            )
        changed = [
            f"{_VERSIONS[part]} {there.get(part)!r} there and {op.key[part]!r} here"
            for part in parts
            if part in _VERSIONS
        ]
        outdated[name] = ", ".join(changed) or "made from one that was"
    if outdated:
        tables = "; ".join(f"{name}: {why}" for name, why in outdated.items())
        raise UsageError(
            "these tables were made by another version of Framemill, and their rows would differ now "
            f"({tables}). Compute them anew with `replace`, by `framemill extract SOURCES -o OUT --replace` "
            "with the options as they were; or use another output folder"
        )
