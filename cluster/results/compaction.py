"""Keeping a result folder tidy: joining small parts, and forgetting the least recently used sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from framemill.cluster.results.commits import OWNED_BY_URI, Commit, DatasetState, Part, Removal, plan_removal
from framemill.cluster.results.dataset import Dataset

TARGET_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was done to one table.

    Attributes:
        parts_before, parts_after: files of the table; num_bytes_before, num_bytes_after: their size.
    """

    table: str
    parts_before: int
    parts_after: int
    num_bytes_before: int
    num_bytes_after: int


def plan_compaction(
    state: DatasetState, target_bytes: int = TARGET_BYTES, least_parts: int = 2
) -> dict[str, list[list[Part]]]:
    """Which parts to join, per table: those under half the target, by age, in groups of about the target.

    Args:
        least_parts: tables with fewer such parts are left as they are.
    """
    plan: dict[str, list[list[Part]]] = {}
    for table in state.tables():
        small = [part for part in state.parts_of(table) if part.num_bytes * 2 < target_bytes]
        if len(small) < least_parts:
            continue
        groups: list[list[Part]] = [[]]
        num_bytes = 0
        for part in small:
            groups[-1].append(part)
            num_bytes += part.num_bytes
            if num_bytes >= target_bytes:
                groups.append([])
                num_bytes = 0
        if worthwhile := [group for group in groups if len(group) > 1]:
            plan[table] = worthwhile
    return plan


def compact(
    dataset: Dataset, run_id: str, target_bytes: int = TARGET_BYTES, least_parts: int = 2
) -> list[Tidied]:
    """Joins small parts, one commit per table. Call it inside `dataset.hold`.

    Killed at any moment, each table is either as before or compacted.

    Args:
        target_bytes, least_parts: as in `plan_compaction`.

    Raises:
        DatasetError: a part cannot be read or written, or the disk is full.
    """
    plan = plan_compaction(dataset.state, target_bytes, least_parts)
    if not plan:
        return []  # as after most runs, whose supervisor has read no Parquet
    from framemill.cluster.results.parts import join_parts

    done = []
    for table, groups in plan.items():
        before = dataset.state.parts_of(table)
        joined = tuple(join_parts(dataset.root, group, run_id=run_id) for group in groups)
        removed = tuple((part.table, part.name) for group in groups for part in group)
        dataset.commit(Commit(run_id=run_id, parts=joined, removed_parts=removed))
        done.append(_tidied(table, before, dataset.state.parts_of(table)))
    if done:
        dataset.checkpoint()
    return done


def plan_prune(state: DatasetState, keep_bytes: int) -> tuple[str, ...]:
    """Source ids to forget, least recently used first, until the tables are expected to fit `keep_bytes`.

    A source's size is its share of its parts, owner by owner. `errors` and `runs` count towards the sum but
    are not pruned for their own sake.
    """
    size: defaultdict[str, float] = defaultdict(float)
    for part in state.parts.values():
        for owner in part.owners:
            record = state.sources.get(owner) if part.table in OWNED_BY_URI else None
            size[record.source_id if record else owner] += part.num_bytes / len(part.owners)
    total = float(sum(part.num_bytes for part in state.parts.values()))
    chosen = []
    known = {source.source_id for source in state.sources.values()}
    for source_id in sorted(known, key=lambda s: (state.last_used.get(s, 0.0), s)):
        if total <= keep_bytes:
            break
        if size[source_id]:
            total -= size[source_id]
            chosen.append(source_id)
    return tuple(chosen)


def prune(dataset: Dataset, run_id: str, keep_bytes: int) -> tuple[str, ...]:
    """Forgets the least recently used sources until the tables fit `keep_bytes`.

    Call it inside `dataset.hold`.

    Returns:
        The source ids forgotten.
    """
    forgotten: list[str] = []
    # Shares are estimates: look again after each round. Every round forgets one source at least.
    while chosen := plan_prune(dataset.state, keep_bytes):
        gone = set(chosen)
        uris = [source.uri for source in dataset.state.sources.values() if source.source_id in gone]
        forget(dataset, run_id, plan_removal(dataset.state, uris))
        forgotten += chosen
    return tuple(forgotten)


def forget(dataset: Dataset, run_id: str, removal: Removal) -> None:
    """Carries out a removal in one commit. Call it inside `dataset.hold`."""
    from framemill.cluster.results.parts import rewrite_part

    parts, removed = [], []
    for table, owners in removal.drops.items():
        for part, dropped in dataset.plan_drop(table, owners):
            rewritten = rewrite_part(dataset.root, part, dropped, run_id=run_id)
            removed.append((table, part.name))
            if rewritten is not None:
                parts.append(rewritten)
    dataset.commit(
        Commit(
            run_id=run_id,
            parts=tuple(parts),
            removed_parts=tuple(removed),
            removed_entries=removal.entries,
            removed_sources=removal.uris,
        )
    )


def _tidied(table: str, before: Sequence[Part], after: Sequence[Part]) -> Tidied:
    return Tidied(
        table, len(before), len(after), sum(p.num_bytes for p in before), sum(p.num_bytes for p in after)
    )
