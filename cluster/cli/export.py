"""`framemill export`: shots, speech and sampled frames as files for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from framemill.cluster.cli.output import Invocation, conventions, print_json, print_table, report
from framemill.cluster.exports.catalogue import FORMATS, names_of

if TYPE_CHECKING:
    from framemill.cluster.exports.datasets import ExportedDataset
    from framemill.cluster.exports.naming import Exported


@click.command()
@click.argument("output", metavar="OUT")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    required=True,
    help=f"Of shots: {', '.join(names_of('shots'))}. Of speech: {', '.join(names_of('speech'))}. Sampled "
    f"frames as a data set: {', '.join(names_of('frames'))}.",
)
@click.option("-o", "--output", "folder", metavar="DIR", help="Where the files go.")
@click.option("--beside", is_flag=True, help="Write next to each source instead; of shots.")
@click.option(
    "--of",
    default="shots",
    show_default=True,
    metavar="SOURCE",
    help="What formats of shots write: shots, highlights, another table of stretches, or a query that gives "
    "source_id or uri, start_seconds and end_seconds; start_frame and end_frame make it exact, and name, "
    "label or text become markers.",
)
@click.option(
    "--where",
    metavar="SQL",
    help="Only shots, or sampled frames in shots, for which this is true, such as 'num_faces = 1'.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="SECONDS",
    help="Of sampled frames take the first in so many seconds [default: all].",
)
@click.option(
    "--name",
    metavar="TEXT",
    help="What names of files of shots and frames begin with: {stem} is the source's own name, {id} 8 digits "
    "of its content's id, which is added where names clash [default: {stem}].",
)
@conventions
@click.pass_obj
def export(
    invocation: Invocation,
    output: str,
    form: str,
    folder: str | None,
    beside: bool,
    of: str,
    where: str | None,
    every: float | None,
    name: str | None,
) -> int:
    """Write shots, subtitles, speakers or data sets for other tools.

    Names of subtitles and speakers begin with the readable part of the file's own name and end with the
    source's id. Files whose shots a format cannot say are left out and named, and the exit code is 3.

    A data set holds the sampled frames of all sources and goes into a new folder. Pictures that the results
    lack are decoded from the sources.

    Subtitles that a file already held go into files of their own, which end with the stream's
    number and language.

    \b
    framemill export OUT --format edl --where "num_faces > 0" -o LISTS
    framemill export OUT --format srt -o SUBS
    framemill export OUT --format coco -o COCO
    """
    if beside == (folder is not None):
        raise click.UsageError("say where the files go: either -o DIR or --beside")
    if of != "shots" and FORMATS[form].of != "shots":
        raise click.UsageError(f"--of is for {', '.join(names_of('shots'))}, and {form} is none of them")
    if every is not None and FORMATS[form].of != "frames":
        raise click.UsageError(f"--every is for {', '.join(names_of('frames'))}, and {form} is none of them")
    refused: dict[str, str] = {}
    written: Sequence[Exported]
    if FORMATS[form].of == "frames":
        if folder is None:
            raise click.UsageError(f"{form} is one data set of all sources: name its folder with -o DIR")
        return _export_dataset(invocation, output, form, folder, where, name or "{stem}", every or 0.0)
    if FORMATS[form].of == "shots":
        from framemill.cluster.exports.formats import export_shots

        written, refused = export_shots(output, form, folder, where, name or "{stem}", of)
    else:
        if beside or where or name:
            raise click.UsageError(
                f"--beside, --where and --name are for shots and data sets, and {form} writes speech"
            )
        from framemill.cluster.exports.speech import export_speech

        written = export_speech(output, form, folder or "")
    if invocation.as_json:
        print_json(written)
    elif written:
        print_table(("file", "source"), [(file.path, file.uri) for file in written])
    elif invocation.verbosity >= 0:
        report("nothing to export: no source has a row")
    if invocation.verbosity >= 0:
        for uri, note in dict.fromkeys((file.uri, note) for file in written for note in file.notes):
            report(f"{uri}: {note}")
    for reason in refused.values():
        report(f"left out: {reason}")
    return 3 if refused else 0


def _export_dataset(
    invocation: Invocation, output: str, form: str, folder: str, where: str | None, name: str, every: float
) -> int:
    from framemill.cluster.exports.datasets import export_dataset

    def say(text: str) -> None:
        if invocation.verbosity >= 0:
            report(text)

    written: Sequence[ExportedDataset]
    written, refused = export_dataset(output, form, folder, where, name, say, every)
    if invocation.as_json:
        print_json(written)
    elif written:
        print_table(("folder", "frames"), [(made.path, made.num_frames) for made in written])
    else:
        say("nothing to export: no sampled frame is left")
    for reason in refused.values():
        report(f"left out: {reason}")
    return 3 if refused else 0
