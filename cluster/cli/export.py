"""`framemill export`: transcripts and speakers as files for other programs."""

from __future__ import annotations

import click

from framemill.cluster.cli.output import Invocation, conventions, print_json, print_table, report


@click.command()
@click.argument("output", metavar="OUT")
@click.option(
    "--format",
    "form",
    type=click.Choice(("srt", "vtt", "txt", "json", "rttm")),
    required=True,
    help="srt, vtt and txt write the transcript, rttm the speakers, json both.",
)
@click.option("-o", "--output", "folder", metavar="DIR", required=True, help="Where the files go.")
@conventions
@click.pass_obj
def export(invocation: Invocation, output: str, form: str, folder: str) -> None:
    """Write subtitles or speakers, one file per source.

    Names begin with the readable part of the file's own name and end with the source's id. Subtitles that a
    file already held go into files of their own, which end with the stream's number and language.

    \b
    framemill export OUT --format srt -o SUBS
    """
    from framemill.cluster.corpus import exports

    written = exports.export(output, form, folder)
    if invocation.as_json:
        print_json(written)
    elif written:
        print_table(("file", "source"), [(file.path, file.uri) for file in written])
    elif invocation.verbosity >= 0:
        report("nothing to export: no source has a row")
