"""Sees to it, before any work, that the models of a run are on this machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from framemill.cluster.run.planning import OpsPlan
from framemill.errors import ModelError
from framemill.models.entry import ModelEntry
from framemill.models.registry import KNOWN, resolve
from framemill.models.store import find, locate

if TYPE_CHECKING:
    from framemill.models.download import OnProgress


def require_models(
    plan: OpsPlan, ops: Collection[str], choices: Mapping[str, str], report: Callable[[str], None]
) -> None:
    """Downloads what some operations of a plan lack.

    Args:
        ops: operations that will be computed. choices: role -> registry name or path, where not the default.
        report: called with a line on what is fetched.

    Raises:
        ModelError: it names each role whose model cannot be had, the command that fetches it, and what can
            run without it.
    """
    problems: dict[str, str] = {}
    for role in sorted({role for op in ops for role in plan.ops[op].key["models"]}):
        entry = resolve(role, choices.get(role, ""))
        try:
            if locate(entry) is None:
                find(entry, _reporting(entry, report))
        except ModelError as exc:
            problems[role] = f"no model for the role {role}: {exc}. {_remedy(entry)}"
    if not problems:
        return
    blocked = set(_blocked(plan, set(problems)))
    asked = [name for name in plan.ops if name not in plan.added]
    free = [name for name in asked if name not in blocked]
    advice = f"these can run without: `ops={free!r}`" if free else "nothing else was asked for"
    listed = "\n".join(problems.values())
    raise ModelError(f"{listed}\nIt stops {', '.join(name for name in asked if name in blocked)}; {advice}")


def _reporting(entry: ModelEntry, report: Callable[[str], None]) -> OnProgress:
    """Reports how far a download is, at its first byte and at each fifth, and why it is tried again."""
    fifths = [-1]

    def on_progress(done: int, total: int, retry: str) -> None:
        if retry:
            report(f"fetching model {entry.name}: {retry}")
            return
        fifth = 5 * done // max(total, done, 1) if total else 0
        if fifth > fifths[0]:
            fifths[0] = fifth
            size = (total or entry.num_bytes) / 1e6
            report(f"fetching model {entry.name}: {done / 1e6:.1f} of {size:.1f} MB")

    return on_progress


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
