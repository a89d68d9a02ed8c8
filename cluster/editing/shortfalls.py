"""Reasons why files got fewer results than asked for, grouped for a short report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Files that got fewer than asked for, and why.

    Attributes:
        reason: in words. num_files: how many. uri: one of them.
    """

    reason: str
    num_files: int
    uri: str


def group_shortfalls(dataset: Dataset, cases: Iterable[tuple[str, str]]) -> tuple[Shortfall, ...]:
    """Groups pairs of reason and content id, the reason with most files first."""
    uris = uris_by_source(dataset)
    found: dict[str, list[str]] = {}
    for reason, source_id in cases:
        found.setdefault(reason, []).append(uris.get(source_id, [source_id])[0])
    grouped = [Shortfall(reason, len(names), min(names)) for reason, names in found.items()]
    return tuple(sorted(grouped, key=lambda shortfall: (-shortfall.num_files, shortfall.reason)))
