"""What commands share that choose from the tables of a result folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from framemill.cluster.cli.output import Invocation, report

if TYPE_CHECKING:
    from framemill.cluster.editing.shortfalls import Shortfall
    from framemill.cluster.results.dataset import Dataset


def open_completed(invocation: Invocation, output: str, tables: Sequence[str]) -> Dataset:
    """The result folder `output`; what it lacks of `tables` is extracted first (see `complete_tables`)."""
    from framemill.cluster.cli.progress import open_reporter
    from framemill.cluster.editing.completing import complete_tables
    from framemill.cluster.results.dataset import Dataset

    dataset = Dataset.open(output, create=False)
    if tables:
        with open_reporter(invocation.verbosity) as reporter:
            complete_tables(dataset, tables, reporter)
    return dataset


def report_shortfalls(shortfalls: Iterable[Shortfall]) -> None:
    """A line for each reason why files got fewer than asked for."""
    for shortfall in shortfalls:
        more = shortfall.num_files - 1
        others = f" and {more} other{'s' * (more > 1)}" if more else ""
        report(f"fewer for {shortfall.uri}{others}: {shortfall.reason}")
