"""What replacing tables means for the rows there: which the sources of a run cover, and which would be lost.

The rows of a source go in the commit that brings its new ones (`cluster.run.committing`). Those of sources
that a run does not name have no such commit: they go only where a person says so, when all else is done.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framemill.cluster.results.commits import OWNED_BY_URI, DatasetState, Removal
from framemill.cluster.results.packed import Entry
from framemill.errors import UsageError

if TYPE_CHECKING:
    from framemill.cluster.run.planning import OpsPlan

_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Replacement:
    """What becomes of the rows of one table that were made under another key than that of the run.

    Attributes:
        table: its name. rows, files: to be replaced, of sources that the run names; as files count the
            owners of rows, which are contents, or paths in `media`.
        other_rows, other_files: of all others.
        others: whose they are, as in `Entry.owner`.
    """

    table: str
    rows: int
    files: int
    other_rows: int
    other_files: int
    others: tuple[str, ...]


def plan_replacement(plan: OpsPlan, state: DatasetState, uris: Collection[str]) -> list[Replacement]:
    """The tables of a plan with rows of another key, in the order of the plan.

    Args:
        uris: the sources that the run names.
    """
    named = frozenset(uris)
    contents = {record.source_id for record in state.sources.values() if record.uri in named}
    found: dict[str, list[Entry]] = {}
    for entry in state.entries.values():
        op = plan.ops.get(entry.table)
        if op is not None and entry.rows_key not in ("", op.key["digest"]):
            found.setdefault(entry.table, []).append(entry)
    replacements = []
    for table in [name for name in plan.ops if name in found]:
        covered = named if table in OWNED_BY_URI else contents
        others = [entry for entry in found[table] if entry.owner not in covered]
        other_rows = sum(entry.rows for entry in others)
        replacements.append(
            Replacement(
                table=table,
                rows=sum(entry.rows for entry in found[table]) - other_rows,
                files=len(found[table]) - len(others),
                other_rows=other_rows,
                other_files=len(others),
                others=tuple(sorted(entry.owner for entry in others)),
            )
        )
    return replacements


def require_covered(plan: OpsPlan, state: DatasetState, uris: Collection[str]) -> None:
    """Refuses to begin to replace a table that holds rows of sources which the run does not name.

    One whose newest rows have the run's key already was begun with before: to go on drops nothing.

    Raises:
        UsageError: it names how many rows of which files, and what can be done.
    """
    begun = {
        name for name, op in plan.ops.items() if state.keys.get(name, {}).get("digest") == op.key["digest"]
    }
    lost = [r for r in plan_replacement(plan, state, uris) if r.others and r.table not in begun]
    if not lost:
        return
    names = _names(state, {owner for each in lost for owner in each.others})
    rows = sum(each.other_rows for each in lost)
    tables = ", ".join(each.table for each in lost)
    shown = ", ".join(names[:_MOST_SHOWN]) + (", ..." if len(names) > _MOST_SHOWN else "")
    raise UsageError(
        f"`replace` would drop {_count(rows, 'row')} of {_count(len(names), 'other file')}, which "
        f"{'is' if len(names) == 1 else 'are'} not among the sources ({shown}; in {tables}). Nothing was "
        "changed. Name those files too, use another output folder, or say `replace_all` to drop their rows "
        "once all else is done"
    )


def plan_rest(plan: OpsPlan, state: DatasetState, uris: Collection[str]) -> Removal:
    """The rows that `replace_all` drops in the end: of tables with new rows, those of sources not named."""
    owners = {
        each.table: frozenset(each.others)
        for each in plan_replacement(plan, state, uris)
        if each.others and state.keys[each.table]["digest"] == plan.ops[each.table].key["digest"]
    }
    entries = tuple((table, owner) for table, held in owners.items() for owner in sorted(held))
    return Removal(owners, entries, ())


def _names(state: DatasetState, owners: Collection[str]) -> Sequence[str]:
    """Paths of the files that own something; a content that no path has any more by its id."""
    uris: dict[str, list[str]] = {}
    for record in state.sources.values():
        uris.setdefault(record.source_id, []).append(record.uri)
    return sorted({name for owner in owners for name in uris.get(owner, [owner])})


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
