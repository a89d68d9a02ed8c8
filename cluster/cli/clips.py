"""`framemill clips`: cuts videos into clips, drops what is bad or there twice, and writes a training set."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from framemill.cluster.choices import ENGINES, Engine, Sandbox
from framemill.cluster.cli.output import (
    Invocation,
    conventions,
    duration,
    print_json,
    print_table,
    report,
    sandbox_option,
    size,
)
from framemill.cluster.cli.progress import counting
from framemill.cluster.clips.choices import FORMATS, METHODS, PROFILES

if TYPE_CHECKING:
    from framemill.cluster.clips.making import ClipsReport

_SHOWN = 20


@click.command()
@click.argument("output", metavar="OUT")
@click.option("-o", "--output", "to", metavar="DIR", required=True, help="Where clips go; also s3://...")
@click.option(
    "--plan",
    default="shots",
    show_default=True,
    metavar="PLAN",
    help="What becomes clips: shots, stride:SECONDS, highlights, another table of stretches, or a query that "
    "gives source_id or uri, start_seconds and end_seconds.",
)
@click.option(
    "--min-seconds", type=float, metavar="X", help="Least length; what is shorter is dropped [default: 1]."
)
@click.option(
    "--max-seconds",
    type=float,
    metavar="X",
    help="Most length; what is longer is split evenly [default: 60].",
)
@click.option(
    "--trim",
    type=float,
    metavar="SECONDS",
    help="Taken off on both sides of fades and dissolves [default: 0.5].",
)
@click.option("--across-cuts", is_flag=True, help="Let a clip show several shots.")
@click.option("--where", metavar="SQL", help="Only shots for which this is true, as in framemill shots.")
@click.option(
    "--profile",
    "profile",
    multiple=True,
    type=click.Choice(list(PROFILES)),
    help="A ready condition on shots; several may be given.",
)
@click.option(
    "--max-per-source",
    type=int,
    metavar="N",
    help="Most clips of one file: the best highlights, else spread evenly.",
)
@click.option(
    "--dedupe",
    type=click.Choice(list(METHODS)),
    help="Of clips that look alike keep the best: by the hashes of frames, or by image_embeddings.",
)
@click.option(
    "--format",
    "format",
    type=click.Choice(list(FORMATS)),
    default="folder",
    show_default=True,
    help="Files in a folder, WebDataset shards, or a data set of Hugging Face.",
)
@click.option(
    "--encoder",
    metavar="NAME",
    help="libx264, libopenh264 or h264_nvenc [default: the first of these two that is there].",
)
@click.option("--reencode", is_flag=True, help="Encode every clip, also where copying would be exact.")
@click.option("--size", metavar="WxH", help="Make pictures fit into this; they never grow.")
@click.option("--fps", type=int, metavar="N", help="Frames a second [default: as they are].")
@click.option(
    "--engine", type=click.Choice(ENGINES), default="auto", show_default=True, help="Here or on Ray."
)
@click.option(
    "--address", default="", metavar="ADDRESS", help="Ray cluster [default: the job's, or one here]."
)
@sandbox_option
@conventions
@click.pass_obj
def clips(
    invocation: Invocation,
    /,
    output: str,
    engine: Engine,
    address: str,
    sandbox: Sandbox,
    **flags: Any,
) -> int:
    """Cut videos into clips for training.

    Clips are MP4 files with picture and sound, from the planned frame to the planned frame: copied where a
    clip begins at a key frame and leans on nothing outside, else encoded as H.264. The same command goes on
    where one was ended. Writes the table clips, which tells of each clip why it was kept or dropped.

    \b
    framemill clips OUT -o CLIPS --max-seconds 10 --format webdataset \\
      --where "num_faces > 0 AND len(text) = 0"
    """
    from framemill.cluster.clips.extracting import cut_extracted
    from framemill.cluster.clips.options import clip_options, clips_request

    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    request = clips_request(clip_options(given), engine, address, sandbox)
    waiting = report if invocation.verbosity >= 0 else None
    with counting("cutting", "clips", invocation.verbosity) as progress:
        made = cut_extracted(output, request, progress, waiting, report)
    if invocation.as_json:
        figures = dataclasses.asdict(dataclasses.replace(made, rows=None))
        del figures["rows"]
        kept = made.rows.filter(made.rows["kept"])
        print_json({**figures, "clips": kept.to_pylist()})
    show_clips(invocation, made)
    return 3 if made.problems else 0


def show_clips(invocation: Invocation, made: ClipsReport) -> None:
    """The clips as a table, and on stderr what was made, dropped and cannot be cut."""
    kept = made.rows.filter(made.rows["kept"])
    if made.num_clips and not invocation.as_json:
        columns = ("path", "member", "start_seconds", "end_seconds")
        shown = columns if kept["member"].null_count < kept.num_rows else (columns[0], *columns[2:])
        print_table(shown, zip(*(kept[name].to_pylist() for name in shown), strict=True), most=_SHOWN)
    if invocation.verbosity >= 0:
        _tell(made)
    for uri, problem in made.problems.items():
        report(f"{uri}: {problem}")


def _tell(made: ClipsReport) -> None:
    if made.num_clips:
        report(
            f"{made.num_clips} clips of {made.num_sources} files, {duration(made.seconds)}, "
            f"{size(made.num_bytes)}: {made.num_copied} copied, {made.num_clips - made.num_copied} encoded "
            f"({made.encoder})"
            + (f"; {made.num_reused} of them were there before" if made.num_reused else "")
        )
    if made.dropped:
        reasons = ", ".join(f"{count} by {_rule(reason)}" for reason, count in made.dropped.items())
        report(f"{sum(made.dropped.values())} dropped: {reasons}")
    if not made.num_clips:
        most = next(iter(made.dropped), "")
        report(f"0 clips: {_rule(most)} dropped the most" if most else "0 clips: there is nothing to cut")


def _rule(reason: str) -> str:
    return f'"{reason}"'
