"""Sees to it, before any work, that the models of a run are on this machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from framemill.actors.shards import SHARD_SECONDS
from framemill.cluster.choices import Quality
from framemill.cluster.request import ExtractRequest
from framemill.cluster.run.planning import OpsPlan, plan_ops
from framemill.cluster.run.quality import with_quality
from framemill.errors import ModelError, UsageError
from framemill.models.entry import ModelEntry
from framemill.models.registry import KNOWN, all_entries, check_licences, fitting, resolve
from framemill.models.store import locate
from framemill.ops import OPS

SEARCH = "search"  # `framemill search`: no operation, but it needs models too
_VECTORS, _TOWER = "image_embeddings", "image_text"


def models_of_run(request: ExtractRequest) -> list[ModelEntry]:
    """The models that operations and those they come after need, under their options and `quality`.

    Among the operations may be `SEARCH`: what finds frames by words, their vectors and the text tower beside.

    Raises:
        UsageError, ModelError: as `plan_ops` does; or the vectors' model has no text tower.
    """
    is_searched = SEARCH in request.ops
    if is_searched:
        request = replace(
            request, ops=tuple(dict.fromkeys(_VECTORS if op == SEARCH else op for op in request.ops))
        )
    tower = request.models.get(_TOWER, "")
    request = with_quality(request)
    plan = plan_ops(request, SHARD_SECONDS)
    entries = {role: resolve(role, request.models.get(role, "")) for role in _roles(plan, plan.ops)}
    if is_searched and _TOWER not in entries:
        entries[_TOWER] = resolve(_TOWER, tower) if tower else _tower_beside(entries[_VECTORS])
        check_licences([entries[_TOWER]], request.accept_licence)
    return list(entries.values())


def _tower_beside(entry: ModelEntry) -> ModelEntry:
    if tower := fitting(_TOWER, entry):
        return tower
    others = ", ".join(known.space for known in all_entries() if known.role == _TOWER)
    raise UsageError(
        f"model {entry.name} of {_VECTORS} understands no words, so nothing is searched with it: choose one "
        f"of {others}"
    )


def require_models(
    plan: OpsPlan, ops: Collection[str], request: ExtractRequest, report: Callable[[str], None]
) -> None:
    """Downloads what some operations of a plan lack.

    Args:
        ops: operations that will be computed. request: with the models named that its quality stands for.
        report: called with a line on what is fetched.

    Raises:
        ModelError: it names each role whose model cannot be had, the command that fetches all of them, and
            what can run without.
    """
    entries = {role: resolve(role, request.models.get(role, "")) for role in _roles(plan, ops)}
    problems: dict[str, ModelError] = {}
    missing: dict[str, ModelEntry] = {}
    for role, entry in entries.items():
        try:
            if locate(entry) is None:
                missing[role] = entry
        except ModelError as exc:
            problems[role] = exc
    if not missing and not problems:
        return
    # Only now: it brings the libraries of a download.
    from framemill.models.pulling import in_lines, is_absent, name_of_all, pull_models

    fetched = pull_models(missing.values(), in_lines(name_of_all(missing.values()), report))
    for role, entry in missing.items():
        if isinstance(outcome := fetched[entry.name], ModelError):
            problems[role] = outcome
    if problems:
        raise ModelError(explain_problems(plan, request, problems, is_absent))


def explain_problems(
    plan: OpsPlan,
    request: ExtractRequest,
    problems: Mapping[str, object],
    is_missing: Callable[[ModelEntry], bool],
) -> str:
    """What is said of models that cannot be had.

    Args:
        request: with the models named that its quality stands for. problems: role -> what is wrong.
        is_missing: whether a model would have to be fetched where the run is to take place.

    Returns:
        A line for each role with what is wrong and its remedy, the command that fetches all of them, and what
        can run without.
    """
    entries = {role: resolve(role, request.models.get(role, "")) for role in sorted(problems)}
    blocked = set(_blocked(plan, set(problems)))
    asked = [name for name in plan.ops if name not in plan.added]
    free = [name for name in asked if name not in blocked]
    advice = f"these can run without: `ops={free!r}`" if free else "nothing else was asked for"
    stopped = [name for name in asked if name in blocked]
    listed = [
        f"no model for the role {role}: {problems[role]}. {_remedy(entry)}" for role, entry in entries.items()
    ]
    command = _command(entries.values(), stopped, request.quality, is_missing)
    return "\n".join([*listed, *command, f"It stops {', '.join(stopped)}; {advice}"])


def _roles(plan: OpsPlan, ops: Collection[str]) -> list[str]:
    return sorted({role for op in ops for role in plan.ops[op].key["models"]})


def _command(
    entries: Iterable[ModelEntry],
    ops: Sequence[str],
    quality: Quality,
    is_missing: Callable[[ModelEntry], bool],
) -> list[str]:
    """A line with the command that fetches what is missing and no more; none for files of one's own.

    It names operations where these would fetch just that by themselves, without the options and models that
    were chosen for this run.
    """
    wanted = {entry.name for entry in entries if entry.urls and is_missing(entry)}
    if not wanted:
        return []
    command = f"`framemill models pull {' '.join(sorted(wanted))}`"
    if set(ops) <= OPS.keys():
        alone = ExtractRequest(sources=(), output="", ops=tuple(ops), quality=quality)
        try:
            would_fetch = {entry.name for entry in models_of_run(alone) if is_missing(entry)}
        except UsageError:  # such as two models that do not go together unless one is named
            would_fetch = set()
        if would_fetch == wanted:
            command = f"`framemill models pull --for {','.join(ops)} --quality {quality}`"
            if quality == "balanced":  # as it is without
                command = f"`framemill models pull --for {','.join(ops)}`"
    return [f"Fetch what is missing: {command}"]


def _remedy(entry: ModelEntry) -> str:
    if entry.path:
        return "Nothing fetches a file of your own"
    if entry.package_file:
        return f"Then check it: framemill models verify {entry.name}"
    if entry.urls:
        return f"Fetch it: framemill models pull {entry.name}"
    others = [e.name for e in KNOWN if e.role == entry.role and e.urls and e.commercial == "yes"]
    if not others:
        return "It is published nowhere as an ONNX file"
    return (
        "It is published nowhere as an ONNX file; another can be fetched: "
        f"framemill models pull {others[0]}, then `models={{{entry.role!r}: {others[0]!r}}}`"
    )


def _blocked(plan: OpsPlan, roles: Collection[str]) -> Iterator[str]:
    """Operations that lack one of these roles, or come after one that does."""
    found: set[str] = set()
    for name, planned in plan.ops.items():  # dependencies first
        if set(planned.key["models"]) & set(roles) or found & set(planned.after):
            found.add(name)
            yield name
