"""`framemill shots`: a row for each shot, with what all tables know of it."""

from __future__ import annotations

import click

from framemill.cluster.cli.output import Invocation, conventions, print_csv, print_json, report

_SHOWN = 20
# Of little use to a person; `--json` and `--csv` have them.
_NOT_SHOWN = ("source_id", "uri", "start_frame", "end_frame", "num_frames", "best_frame")
# What people may add: shown where they did.
_ADDED = ("names", "tags")


@click.command()
@click.argument("output", metavar="OUT")
@click.option("--where", metavar="SQL", help="Only shots for which this is true, such as 'num_faces = 1'.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Most rows [default: {_SHOWN}; all with --json or --csv].",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV with a header.")
@conventions
@click.pass_obj
def shots(invocation: Invocation, output: str, where: str | None, limit: int | None, as_csv: bool) -> None:
    """List the shots and what is in each.

    Faces, people, labels, text and words. The rows are those of the view shots, which `framemill sql` has
    too, but for the pictures.

    \b
    framemill shots OUT --where "num_faces = 1 AND len(text) = 0 AND
      sharpness > 100 AND duration_seconds BETWEEN 3 AND 10"
    """
    if as_csv and invocation.as_json:
        raise click.UsageError("--csv and --json exclude each other")
    from framemill.cluster.cli.results import print_records
    from framemill.cluster.corpus.shots import find_shots

    found = find_shots(output, where, limit)
    records = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    if invocation.as_json:
        print_json(records)
        return
    if as_csv:
        print_csv(found.columns, found.rows)
        return
    shown = records[: limit or _SHOWN]
    columns = [
        name
        for name in found.columns
        if name not in _NOT_SHOWN
        and any(record[name] if name in _ADDED else record[name] is not None for record in shown)
    ]
    if shown:
        print_records([{name: record[name] for name in columns} for record in shown])
    if invocation.verbosity >= 0:
        more = f"; {len(shown)} shown" if len(shown) < len(records) else ""
        report(f"{len(records)} shots{more}")
