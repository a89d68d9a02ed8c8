"""`framemill montage`: one film out of the best moments of many files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from framemill.cluster.cli.choosing import open_completed
from framemill.cluster.cli.output import Invocation, conventions, duration, print_json, report
from framemill.cluster.cli.progress import counting
from framemill.cluster.config import parse_picture_size
from framemill.errors import MediaError

if TYPE_CHECKING:
    from framemill.actors.stream_choice import Tracks
    from framemill.cluster.editing.montage import Montage


@click.command()
@click.argument("output", metavar="OUT")
@click.option("--seconds", type=float, metavar="X", required=True, help="Length of the montage.")
@click.option("--music", metavar="FILE", help="Music under it; cuts fall on its beats.")
@click.option("-o", "--timeline", "path", metavar="FILE", help="The timeline: .otio, .edl or .fcpxml.")
@click.option("--render", "film", metavar="FILE", help="Render it to an .mp4; its sound is the music alone.")
@click.option("--clip-seconds", type=float, metavar="X", help="Usual length of a clip [default: 2].")
@click.option("--per-file", type=click.IntRange(min=1), metavar="N", help="Most clips out of one file.")
@click.option("--fps", type=int, metavar="N", help="Frames a second: 24, 25, 30, 50 or 60 [default: 30].")
@click.option("--size", metavar="WxH", help="Size of the picture [default: 1280x720].")
@click.option("--as-is", is_flag=True, help="Choose by the tables that are there; add none.")
@conventions
@click.pass_obj
def montage(
    invocation: Invocation,
    output: str,
    seconds: float,
    music: str | None,
    path: str | None,
    film: str | None,
    clip_seconds: float | None,
    per_file: int | None,
    fps: int | None,
    size: str | None,
    as_is: bool,
) -> int:
    """Make a film out of the best moments.

    It is cut on the beats of the music, files take turns, and the same input gives the same timeline. Needs
    the operations media, frames and scenes, which are added where only others were extracted, and is better
    with whatever tells what happens.

    \b
    framemill montage OUT --seconds 30 --music song.ogg \\
      -o cut.otio --render cut.mp4
    """
    from framemill.cluster.editing.montage import CLIP_SECONDS, FPS, SIZE, MontageRequest, make_montage
    from framemill.cluster.editing.timeline_files import check_timeline_path, write_timeline
    from framemill.cluster.results.single_files import check_path

    if path is None and film is None:
        raise click.UsageError("say where the result goes: -o TIMELINE, --render FILM, or both")
    if film is not None:
        check_path(film, (".mp4",), "the film")
    if path is not None:
        check_timeline_path(path)
    width, height = SIZE if size is None else parse_picture_size(size)
    request = MontageRequest(
        seconds=seconds,
        music=music or "",
        name=os.path.splitext(os.path.basename(path or film or ""))[0],
        clip_seconds=CLIP_SECONDS if clip_seconds is None else clip_seconds,
        per_file=per_file or 0,
        fps=FPS if fps is None else fps,
        width=width,
        height=height,
    )
    dataset = open_completed(invocation, output, () if as_is else ("media", "frames", "scenes"))
    made = make_montage(dataset, request)
    if made.timeline.clips and path is not None:
        write_timeline(made.timeline, path)
    if made.timeline.clips and film is not None:
        from framemill.cluster.editing.source_pictures import tracks_of

        _render(made, film, tracks_of(dataset), invocation.verbosity)
    _show(invocation, made, path if made.timeline.clips else None, film if made.timeline.clips else None)
    return MediaError.exit_code if made.problems else 0


def _render(made: Montage, film: str, tracks: Tracks, verbosity: int) -> None:
    from framemill.actors.rendering import RenderClip, render

    timeline = made.timeline
    clips = [
        RenderClip(clip.uri, clip.start_frame / timeline.fps, clip.num_frames, tracks)
        for clip in timeline.clips
    ]
    with counting("rendering", "frames", verbosity) as progress:
        render(
            clips,
            film,
            fps=timeline.fps,
            width=timeline.width,
            height=timeline.height,
            music=timeline.music,
            progress=progress,
        )


def _show(invocation: Invocation, made: Montage, path: str | None, film: str | None) -> None:
    from framemill.cluster.cli.results import print_records

    timeline = made.timeline
    records, at = [], 0
    for clip in timeline.clips:
        records.append(
            {
                "at_seconds": at / timeline.fps,
                "uri": clip.uri,
                "start_seconds": clip.start_frame / timeline.fps,
                "seconds": clip.num_frames / timeline.fps,
            }
        )
        at += clip.num_frames
    if invocation.as_json:
        print_json(
            {
                "seconds": timeline.seconds,
                "clips": records,
                "cuts_seconds": made.cuts_seconds,
                "beats_seconds": made.beats_seconds,
                "timeline": path,
                "film": film,
                "notes": made.notes,
                "problems": made.problems,
            }
        )
    elif records:
        print_records(records)
    if invocation.verbosity >= 0:
        for note in made.notes:
            report(note)
        files = len({clip.uri for clip in timeline.clips})
        report(f"{len(timeline.clips)} clips of {files} files, {duration(timeline.seconds)}")
        for name in (path, film):
            if name is not None:
                report(f"written: {name}")
        if not timeline.clips:
            report("nothing was written")
    for uri, problem in made.problems.items():
        report(f"{uri}: {problem}")
