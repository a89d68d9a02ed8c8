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
@click.option("--beside", is_flag=True, help="Write next to each source instead; not of data sets.")
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
    help="Only rows for which this is true: of the view shots, or sampled frames in such shots, as in "
    "'num_faces = 1'; of speech segments, of the view spoken where there are speakers and else of transcript "
    "(start_seconds, end_seconds, text, language, origin, speaker, uri), as in \"speaker = 'speaker_0'\"; of "
    "rttm turns, of speakers.",
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
    help="What names of files begin with: {stem} is the source's own name, {id} 8 digits of its content's "
    "id, which is added where names clash [default: {stem}].",
)
@click.option(
    "--line-width",
    type=int,
    metavar="N",
    help="Characters in a line of srt, vtt and ass, of which a cue has two at most; a full-width character "
    "takes as much as 2.6. 0 leaves segments as they are [default: 42].",
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
    line_width: int | None,
) -> int:
    """Write shots, subtitles, speakers or data sets for other tools.

    Files are named as their sources are. What a format cannot say is left out and named, and the exit code
    is 3. Next to sources no file of subtitles, speakers or words is replaced.

    Subtitles are cut into cues of at most two lines and 7 seconds. Those that a file already held keep their
    lines and times, and go into files of their own, such as talk.en.forced.srt.

    A data set holds the sampled frames of all sources and goes into a new folder. Pictures that the results
    lack are decoded from the sources.

    \b
    framemill export OUT --format edl --where "num_faces > 0" -o LISTS
    framemill export OUT --format srt --beside
    framemill export OUT --format coco -o COCO
    """
    if beside == (folder is not None):
        raise click.UsageError("say where the files go: either -o DIR or --beside")
    if of != "shots" and FORMATS[form].of != "shots":
        raise click.UsageError(f"--of is for {', '.join(names_of('shots'))}, and {form} is none of them")
    if every is not None and FORMATS[form].of != "frames":
        raise click.UsageError(f"--every is for {', '.join(names_of('frames'))}, and {form} is none of them")
    if line_width is not None and FORMATS[form].of != "speech":
        raise click.UsageError(f"--line-width is for subtitles, and {form} is none")
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
        from framemill.cluster.exports.speech import export_speech

        written, refused = export_speech(output, form, folder, where, name or "{stem}", line_width)
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
