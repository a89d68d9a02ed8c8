"""`framemill forget`: what a result folder holds of some files goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from framemill.cluster.cli.output import Invocation, conventions, held, print_json, report

if TYPE_CHECKING:
    from framemill.cluster.results.commits import Part


@click.command()
@click.argument("output", metavar="OUT")
@click.argument("uris", metavar="URI...", nargs=-1)
@click.option(
    "--missing", is_flag=True, help="Those that are not on the disk any more (see framemill status)."
)
@conventions
@click.pass_obj
def forget(invocation: Invocation, output: str, uris: tuple[str, ...], missing: bool) -> None:
    """Remove the rows of some files from all tables, in one commit.

    URI is a path, an address, a folder for all below it, or a quoted glob, in which * also stands for
    slashes. The files themselves are never touched. Rows of a content stay while another file has it.
    """
    from framemill.cluster.results import compaction
    from framemill.cluster.results.commits import plan_removal
    from framemill.cluster.run.presence import look_for_sources, match_uris

    if not uris and not missing:
        raise click.UsageError("name files to forget, or say --missing")
    with held(invocation, output) as (dataset, run_id):
        gone = set(match_uris(dataset.state, uris))
        if missing:
            presence = look_for_sources(dataset.state)
            if presence.is_elsewhere:
                raise click.UsageError(
                    f"none of the {len(presence.missing)} files is there: bring their disk back, or name "
                    "what is to be forgotten"
                )
            gone |= presence.gone_uris
        before = {table: _rows(dataset.state.parts_of(table)) for table in dataset.state.tables()}
        if gone:
            compaction.forget(dataset, run_id, plan_removal(dataset.state, gone))
        after = {table: _rows(dataset.state.parts_of(table)) for table in before}
    rows = {table: before[table] - after[table] for table in before if before[table] != after[table]}
    if invocation.as_json:
        print_json({"uris": sorted(gone), "rows": rows})
    elif invocation.verbosity >= 0:
        counts = ", ".join(f"{number} of {table}" for table, number in rows.items()) or "none"
        files = "1 file" if len(gone) == 1 else f"{len(gone)} files"
        report(f"{files} forgotten; rows removed: {counts}")


def _rows(parts: Sequence[Part]) -> int:
    return sum(part.rows for part in parts)
