"""Sources in batches whose rows can be held together, since each question to the tables has its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def source_batches(counts: Mapping[str, int], most_sources: int, most_rows: int) -> Iterator[list[str]]:
    """Sources in their order, in batches within both limits; one with more rows than that stands alone.

    Args:
        counts: content id -> rows that are read of it.
    """
    batch: list[str] = []
    rows = 0
    for source, own in counts.items():
        if batch and (len(batch) == most_sources or rows + own > most_rows):
            yield batch
            batch, rows = [], 0
        batch.append(source)
        rows += own
    if batch:
        yield batch
