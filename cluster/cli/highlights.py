"""`framemill highlights`: the stretches of each file in which most happens."""

from __future__ import annotations

import dataclasses

import click

from framemill.cluster.cli.choosing import open_completed, report_shortfalls
from framemill.cluster.cli.output import Invocation, conventions, held, print_json, report


@click.command()
@click.argument("output", metavar="OUT")
@click.option("--count", type=int, metavar="N", help="Most stretches of a file [default: 5].")
@click.option("--least", type=float, metavar="SECONDS", help="Least length of a stretch [default: 3].")
@click.option("--most", type=float, metavar="SECONDS", help="Most length of a stretch [default: 10].")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="Rows to show."
)
@click.option("--as-is", is_flag=True, help="Judge by the tables that are there; add none.")
@conventions
@click.pass_obj
def highlights(
    invocation: Invocation,
    output: str,
    count: int | None,
    least: float | None,
    most: float | None,
    limit: int,
    as_is: bool,
) -> None:
    """Find the stretches of each file in which most happens.

    Judges by motion, loudness, speech, faces, text and sounds, as far as they were extracted; writes the
    table highlights. Where other tables of frames were extracted without media and frames, these are added.

    \b
    framemill sql OUT "SELECT uri, start_seconds, reasons FROM highlights
      JOIN sources USING (source_id)"
    """
    from framemill.cluster.cli.results import print_records
    from framemill.cluster.editing.highlights import COUNT, LEAST_SECONDS, MOST_SECONDS, find_highlights
    from framemill.cluster.results.corpus_tables import uris_by_source

    dataset = open_completed(invocation, output, () if as_is else ("media", "frames"))
    with held(invocation, dataset) as (dataset, run_id):
        found = find_highlights(
            dataset,
            run_id,
            COUNT if count is None else count,
            LEAST_SECONDS if least is None else least,
            MOST_SECONDS if most is None else most,
        )
    uris = uris_by_source(dataset)
    shown = found.rows if invocation.as_json else found.rows.slice(0, limit)
    records = [{"uri": uris.get(row["source_id"], [row["source_id"]])[0], **row} for row in shown.to_pylist()]
    if invocation.as_json:
        print_json({**dataclasses.asdict(dataclasses.replace(found, rows=None)), "rows": records})
        return
    if records:
        for record in records:
            del record["source_id"]
        print_records(records)
    if invocation.verbosity >= 0:
        more = f"; {limit} shown" if len(found.rows) > limit else ""
        state = "" if found.changed else " (up to date)"
        report(f"{len(found.rows)} highlights of {found.num_files} files{state}{more}")
        report_shortfalls(found.shortfalls)
        if found.missing:
            wanted = ", ".join(f"{what} ({table})" for table, what in found.missing.items())
            report(f"not known here: {wanted}; extract these tables to have them judged too")
