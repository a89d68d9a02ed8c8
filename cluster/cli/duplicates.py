"""`framemill duplicates`: near-identical frames and videos of a result folder."""

from __future__ import annotations

import dataclasses

import click

from framemill.cluster.cli.output import Invocation, conventions, held, print_json, report


@click.command()
@click.argument("output", metavar="OUT")
@click.option(
    "--distance",
    type=int,
    metavar="N",
    help="Bits, 0 to 12, in which the hashes of near-identical frames may differ [default: 10].",
)
@click.option(
    "--share",
    type=float,
    metavar="X",
    help="Part of the frames, up to 1, that two videos must have in common [default: 0.8].",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="Groups to show."
)
@conventions
@click.pass_obj
def duplicates(
    invocation: Invocation, output: str, distance: int | None, share: float | None, limit: int
) -> None:
    """Find frames and videos that are there twice, across all files.

    Needs the operation frames; writes the table duplicates. Copies that were encoded anew have other key
    frames: sample them with --sample every:1 instead.

    \b
    framemill sql OUT "SELECT * FROM duplicates
      JOIN sources USING (source_id) WHERE kind = 'frame'"
    """
    from framemill.cluster.cli.results import print_records
    from framemill.cluster.corpus.duplicates import MAX_DISTANCE, MIN_SHARE, SOURCE_TABLE, find_duplicates
    from framemill.cluster.results.corpus_tables import outdated_note
    from framemill.cluster.run.presence import look_for_sources

    with held(invocation, output) as (dataset, run_id):
        found = find_duplicates(
            dataset,
            run_id,
            MAX_DISTANCE if distance is None else distance,
            MIN_SHARE if share is None else share,
            look_for_sources(dataset.state).gone_uris,
        )
    if invocation.as_json:
        print_json(dataclasses.asdict(found))
        return
    if found.videos:
        print_records([dataclasses.asdict(group) for group in found.videos[:limit]])
    if invocation.verbosity >= 0 and (note := outdated_note(dataset.state, SOURCE_TABLE)):
        report(note)
    if invocation.verbosity >= 0:
        state = "" if found.changed else " (up to date)"
        more = f"; {limit} shown" if len(found.videos) > limit else ""
        report(
            f"{len(found.videos)} groups of videos{more}; {found.num_frames} frames in {found.num_groups} "
            f"groups, {found.num_groups_across} of them across videos{state}; "
            f"{found.num_left_out} frames without contrast left out"
        )
