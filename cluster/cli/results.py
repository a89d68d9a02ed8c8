"""`framemill status`, `sql` and `compact`: looking into a result folder, and tidying it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import click

from framemill.cluster.cli.output import (
    Invocation,
    Record,
    conventions,
    count_kinds,
    held,
    is_fitted_to_terminal,
    print_csv,
    print_json,
    print_json_rows,
    print_table,
    report,
    size,
)
from framemill.cluster.results.answers import SQL_MEMORY_SHARE, SQL_SECONDS

_MOST_SHOWN = 20
_ROWS_SHOWN = 40  # of an answer, as DuckDB's own shell does


@click.command()
@click.argument("output", metavar="OUT")
@conventions
@click.pass_obj
def status(invocation: Invocation, output: str) -> None:
    """Show what a result folder holds.

    Files done and failed, rows and sizes; which files are missing or were changed since they were read.
    """
    from framemill.cluster.results.dataset import Dataset
    from framemill.cluster.results.status import summarise
    from framemill.cluster.run.presence import look_for_sources

    state = Dataset.open(output, create=False).state
    found = summarise(state)
    presence = look_for_sources(state)
    found["missing_sources"] = len(presence.missing)
    found["changed_sources"] = len(presence.changed)
    missing = [dataclasses.asdict(each) for each in presence.missing]
    if invocation.as_json:
        print_json({**found, "missing": missing, "changed": presence.changed})
    else:
        # Files that moved or went are told by name, as far as one can read that many.
        shown = {"missing": missing[:_MOST_SHOWN], "changed": presence.changed[:_MOST_SHOWN]}
        found = {**found, **shown, "partial": count_kinds(found["partial"])}
        if is_fitted_to_terminal():
            found = {**found, "tables": _without_noughts(found["tables"])}
        print_mapping(found)


def _without_noughts(tables: Mapping[str, Record]) -> dict[str, Record]:
    """The columns of statuses that no source has are left out."""
    from framemill.cluster.results.commits import STATUSES

    rare = {name for name in STATUSES if not any(table[name] for table in tables.values())}
    return {
        name: {key: value for key, value in table.items() if key not in rare or key == "ok"}
        for name, table in tables.items()
    }


@click.command()
@click.argument("output", metavar="OUT")
@click.argument("query")
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV with a header.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Rows to print [default: all; {_ROWS_SHOWN} on a terminal].",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=SQL_SECONDS,
    help=f"How long it may work [default: {SQL_SECONDS:g}].",
)
@click.option(
    "--memory",
    metavar="SIZE",
    default="0",
    help=f"Memory it may take, such as 4GB [default: {SQL_MEMORY_SHARE:g} of the machine's].",
)
@conventions
@click.pass_obj
def sql(
    invocation: Invocation,
    output: str,
    query: str,
    as_csv: bool,
    limit: int | None,
    timeout: float,
    memory: str,
) -> None:
    """Run one SQL QUERY over a result folder.

    Each table is a view; no other file can be read. It runs in a process of its own, which ends where the
    statement takes more than it may.

    \b
    framemill sql OUT "SELECT label, count(*) FROM objects GROUP BY 1"
    """
    if as_csv and invocation.as_json:
        raise click.UsageError("--csv and --json exclude each other")
    from framemill.cluster.config import parse_size
    from framemill.cluster.results.sql_process import stream_bounded

    try:
        num_bytes = parse_size(memory)
    except ValueError as exc:
        raise click.UsageError(f"--memory {memory!r} {exc}") from exc
    with stream_bounded(output, query, limit, timeout, num_bytes) as answer:
        if as_csv:
            print_csv(answer.columns, answer.rows)
        elif invocation.as_json:
            print_json_rows(answer.columns, answer.rows)
        else:
            print_table(answer.columns, answer.rows, most=_ROWS_SHOWN if limit is None else None)


@click.command()
@click.argument("output", metavar="OUT")
@conventions
@click.pass_obj
def compact(invocation: Invocation, output: str) -> None:
    """Join the small Parquet files of a result folder."""
    from framemill.cluster.results import compaction

    with held(invocation, output) as (dataset, run_id):
        done = [dataclasses.asdict(tidied) for tidied in compaction.compact(dataset, run_id)]
    if invocation.as_json:
        print_json(done)
    elif done:
        print_records(done)
    elif invocation.verbosity >= 0:
        report("nothing to join")


def print_mapping(content: Record) -> None:
    """Plain values as one table of name and value, then each list of records or nested mapping as its own."""
    plain = {name: value for name, value in content.items() if not isinstance(value, Mapping | list | tuple)}
    if plain:
        print_table(("", ""), [(_words(name), _shown(name, value)) for name, value in plain.items()])
    for name, value in content.items():
        if name in plain or not value:
            continue
        click.echo()
        if isinstance(value, Mapping):
            records: list[Record] = [
                {name: key, **(entry if isinstance(entry, Mapping) else {"value": entry})}
                for key, entry in value.items()
            ]
        else:
            records = [entry if isinstance(entry, Mapping) else {"value": entry} for entry in value]
        print_records(records, _words(name))


def print_records(records: Sequence[Record], title: str | None = None) -> None:
    """One row per record; the columns are all keys in the order of their first appearance."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    print_table(
        [_words(column) for column in columns],
        [[_shown(column, record.get(column)) for column in columns] for record in records],
        title,
    )


def _words(name: str) -> str:
    return name.replace("num_bytes", "size").removeprefix("num_").removesuffix("_bytes").replace("_", " ")


def _shown(name: str, value: Any) -> Any:
    if "_bytes" in name and isinstance(value, int | float):
        return size(value)
    if isinstance(value, list | tuple) and not any(isinstance(item, Mapping | list) for item in value):
        return ", ".join(map(str, value))
    return value
