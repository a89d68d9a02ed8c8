"""`framemill thumbnails`: the best stills of each file of a result folder."""

from __future__ import annotations

import dataclasses

import click

from cluster.cli.output import Invocation, conventions, print_json, say
from models.errors import MediaError


@click.command()
@click.argument("output", metavar="OUT")
@click.option("--count", type=int, help="Most pictures of a file; 12 if not given.")
@click.option("--images", is_flag=True, help="Store the pictures too, decoded from the files.")
@click.option("--sheet", metavar="FILE", help="Draw the pictures into a contact sheet, .jpg or .png.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Rows to show.")
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
    framemill sql OUT "SELECT uri, pts_seconds FROM thumbnails JOIN sources USING (source_id) WHERE rank = 0"
    """
    from cluster.cli.progress import open_reporter
    from cluster.cli.results import print_records
    from cluster.commits import new_run_id
    from cluster.completing import complete_tables
    from cluster.corpus_tables import uris_by_source
    from cluster.dataset import Dataset
    from cluster.source_pictures import SourcePictures, write_sheet
    from cluster.thumbnails import COUNT, find_thumbnails

    dataset = Dataset.open(output, create=False)
    if not as_is:
        with open_reporter(invocation.verbosity) as reporter:
            complete_tables(dataset, ("media", "frames", "scenes"), reporter)
    pictures = SourcePictures(dataset)
    run_id = new_run_id()
    with dataset.hold(run_id, on_wait=say if invocation.verbosity >= 0 else None):
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
        print_json(
            {
                "thumbnails": records,
                "num_files": found.num_files,
                "shortfalls": [dataclasses.asdict(shortfall) for shortfall in found.shortfalls],
                "missing": found.missing,
                "changed": found.changed,
                "sheets": pages,
                "problems": pictures.problems,
            }
        )
    elif records:
        for record in records:
            del record["source_id"]
        print_records(records)
    if invocation.verbosity >= 0:
        more = f"; {limit} shown" if len(found.rows) > limit and not invocation.as_json else ""
        state = "" if found.changed else " (up to date)"
        say(f"{len(found.rows)} thumbnails of {found.num_files} files{state}{more}")
        for shortfall in found.shortfalls:
            others = f" and {shortfall.num_files - 1} others" if shortfall.num_files > 1 else ""
            say(f"fewer for {shortfall.uri}{others}: {shortfall.reason}")
        if found.missing:
            wanted = "; ".join(f"{table} {why}" for table, why in found.missing.items())
            say(f"further tables would improve the choice: {wanted}")
        for page in pages:
            say(f"contact sheet: {page}")
    for uri, problem in pictures.problems.items():
        say(f"{uri}: {problem}")
    return MediaError.exit_code if pictures.problems else 0
