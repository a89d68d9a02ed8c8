"""`framemill check`: whether everything holds that the tables promise."""

from __future__ import annotations

import dataclasses

import click

from framemill.cluster.cli.output import Invocation, conventions, print_json, printable


@click.command()
@click.argument("output", metavar="OUT")
@conventions
@click.pass_obj
def check(invocation: Invocation, output: str) -> int:
    """Check that all rows of a result folder are sound.

    Numbers finite, times within the length, boxes within the picture, frames in order, no key twice, ids that
    refer. A line for each source and column where something is broken, then a count; exit 0 where all holds,
    3 where not.
    """
    from framemill.cluster.results.broken import Broken
    from framemill.cluster.results.checking import check_folder
    from framemill.cluster.results.dataset import Dataset

    found: list[Broken] = []

    def show(broken: Broken) -> None:
        if invocation.as_json:
            found.append(broken)
        else:
            click.echo(printable(f"{broken.source_id or '-'} {broken}"))

    checked = check_folder(Dataset.open(output, create=False), show)
    if invocation.as_json:
        print_json({**dataclasses.asdict(checked), "broken": found})
    else:
        click.echo(f"{checked.num_tables} tables, {checked.num_rows} rows, {checked.num_broken} broken")
    return 3 if checked.num_broken else 0
