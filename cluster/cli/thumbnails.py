"""`framemill thumbnails`: the best stills of each file of a result folder."""

from __future__ import annotations

import dataclasses

import click

from framemill.cluster.cli.choosing import open_completed, report_shortfalls
from framemill.cluster.cli.output import Invocation, conventions, held, print_json, report
from framemill.errors import MediaError


@click.command()
@click.argument("output", metavar="OUT")
@click.option("--count", type=int, metavar="N", help="Most pictures of a file [default: 12].")
@click.option("--images", is_flag=True, help="Store the pictures too, decoded from the files.")
@click.option("--sheet", metavar="FILE", help="Draw the pictures into a contact sheet, .jpg or .png.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="Rows to show."
)
@click.option("--as-is", is_flag=True, help="Choose by the tables that are there; add none.")
@conventions
@click.pass_obj
def thumbnails(
    invocation: Invocation,
    output: str,
    count: int | None,
    images: bool,
    sheet: str | None,
    limit: int,
    as_is: bool,
) -> int:
    """Pick the best stills of each file.

    They are sharp and well exposed, with no fades and no twins among them.
    Needs the operations media, frames and scenes, which are added where only others were extracted, and is
    better with quality, faces and others; writes the table thumbnails.

    \b
    framemill sql OUT "SELECT uri, pts_seconds FROM thumbnails
      JOIN sources USING (source_id) WHERE rank = 0"
    """
    from framemill.cluster.cli.results import print_records
    from framemill.cluster.editing.contact_sheet import check_sheet_path, write_sheet
    from framemill.cluster.editing.source_pictures import SourcePictures
    from framemill.cluster.editing.thumbnails import COUNT, find_thumbnails
    from framemill.cluster.results.corpus_tables import uris_by_source

    if sheet is not None:
        check_sheet_path(sheet)
    dataset = open_completed(invocation, output, () if as_is else ("media", "frames", "scenes"))
    with held(invocation, dataset) as (dataset, run_id):
        pictures = SourcePictures(dataset)
        found = find_thumbnails(
            dataset, run_id, COUNT if count is None else count, pictures.fetch if images else None
        )
        pages = [] if sheet is None else write_sheet(dataset, pictures, sheet)
    uris = uris_by_source(dataset)
    shown = found.rows if invocation.as_json else found.rows.slice(0, limit)
    records = [
        {"uri": uris.get(row["source_id"], [row["source_id"]])[0], **row}
        for row in shown.drop_columns(["image"]).to_pylist()
    ]
    if invocation.as_json:
        summary = dataclasses.asdict(dataclasses.replace(found, rows=None))
        print_json({**summary, "rows": records, "sheets": pages, "problems": pictures.problems})
    elif records:
        for record in records:
            del record["source_id"]
        print_records(records)
    if invocation.verbosity >= 0:
        more = f"; {limit} shown" if len(found.rows) > limit and not invocation.as_json else ""
        state = "" if found.changed else " (up to date)"
        report(f"{len(found.rows)} thumbnails of {found.num_files} files{state}{more}")
        report_shortfalls(found.shortfalls)
        if found.missing:
            wanted = "; ".join(f"{table} {why}" for table, why in found.missing.items())
            report(f"further tables would improve the choice: {wanted}")
        for page in pages:
            report(f"contact sheet: {page}")
    for uri, problem in pictures.problems.items():
        report(f"{uri}: {problem}")
    return MediaError.exit_code if pictures.problems else 0
