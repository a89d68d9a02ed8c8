"""`framemill extract` and `framemill plan`: the main job, and what it would do."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from framemill.cluster.choices import ENGINES, PRECISIONS, PROVIDERS, QUALITIES, SANDBOXES, TOPOLOGIES
from framemill.cluster.cli import completion
from framemill.cluster.cli.output import Invocation, conventions, duration, print_json, report
from framemill.cluster.cli.progress import counting
from framemill.cluster.cli.run_summary import print_first_look, print_summary
from framemill.cluster.config import CLIPS, FILE_NAME, Settings, read_settings
from framemill.errors import UsageError

if TYPE_CHECKING:
    from framemill.cluster.clips.making import ClipsRequest
    from framemill.cluster.request import ExtractRequest, RunSummary

F = TypeVar("F", bound=Callable[..., Any])
_TOLERATE = "--tolerate-failures"

# Values are parsed by `framemill.cluster.config`, in one way for flags, variables and the file.
_SECTIONS = {
    "What is made": (
        click.option("-o", "--output", required=True, metavar="OUT", help="Result folder; made if missing."),
        click.option(
            "--ops",
            metavar="A,B",
            shell_complete=completion.listed(completion.operations),
            help="Operations, your own as package.module:Class [default: the cheap ones; see framemill ops].",
        ),
        click.option(
            "--preview",
            is_flag=True,
            default=None,
            help="A first look: media, some key frames, sound levels, small pictures; nothing else runs.",
        ),
        click.option(
            "--images/--no-images", default=None, help="Keep each sampled frame as a JPEG in `frames`."
        ),
        click.option("--language", metavar="CODE", help="Spoken, for `transcript` [default: detected]."),
        click.option(
            "--task",
            metavar="transcribe|translate",
            shell_complete=completion.of(lambda: ("transcribe", "translate")),
            help="What `transcript` writes [default: transcribe].",
        ),
        click.option(
            "--set",
            multiple=True,
            metavar="OP.OPTION=VALUE",
            help="An operation's option, such as frames.images=true.",
        ),
    ),
    "Clips of it": (
        click.option(
            "--clips",
            metavar="PLAN",
            help="Then cut clips, as framemill clips does: shots, stride:SECONDS, another table, or a query; "
            "its other options by --set, such as clips.max_seconds=10.",
        ),
        click.option(
            "--clips-to", metavar="DIR", help="Where they go; also s3://... [default: OUT-clips, beside OUT]."
        ),
    ),
    "Which frames are looked at": (
        click.option(
            "--sample",
            metavar="POLICY",
            shell_complete=completion.of(lambda: ("keyframes", "every:", "scenes", "adaptive", "all")),
            help="keyframes[:N], every:SECONDS, scenes, adaptive or all [default: keyframes].",
        ),
        click.option(
            "--video-track",
            metavar="N|LANGUAGE",
            help="Picture stream, by index or language [default: as players choose].",
        ),
        click.option(
            "--audio-track",
            metavar="N|LANGUAGE",
            help="Sound stream, by index or language [default: as players choose].",
        ),
        click.option("--budget", metavar="N", help="Adaptive: frames per file [default: 60]."),
        click.option(
            "--max-segments",
            metavar="N",
            help="Adaptive: stretches per file looked at closely [default: 8].",
        ),
        click.option(
            "--cascade",
            metavar="A,B",
            shell_complete=completion.listed(completion.operations),
            help="Of --ops, those that see the best sampled frames only.",
        ),
        click.option(
            "--recall-target",
            metavar="X",
            help="Cascade: share of the findings to keep, 0 to 1 [default: 0.95].",
        ),
    ),
    "Models": (
        click.option(
            "--model",
            multiple=True,
            metavar="ROLE=NAME|PATH",
            shell_complete=completion.of(completion.models_of_roles),
            help="Model for a role, such as objects=yolox_nano.",
        ),
        click.option(
            "--quality",
            metavar="|".join(QUALITIES),
            shell_complete=completion.of(lambda: QUALITIES),
            help="Models of the roles that --model does not name [default: balanced].",
        ),
        click.option(
            "--accept-licence",
            is_flag=True,
            default=None,
            help="Use models that are not, or perhaps not, for commercial use (see framemill models list).",
        ),
        click.option(
            "--require-provider",
            metavar="|".join(PROVIDERS),
            shell_complete=completion.of(lambda: PROVIDERS),
            help="Fail rather than run models on anything else.",
        ),
        click.option(
            "--precision",
            metavar="|".join(PRECISIONS),
            shell_complete=completion.of(lambda: PRECISIONS),
            help="Of models: halves on a GPU, eight bits, or what is faster here [default: fp32].",
        ),
    ),
    "What is there already": (
        click.option(
            "--replace",
            is_flag=True,
            default=None,
            help="Recompute tables made with other settings; rows go as their new ones come.",
        ),
        click.option(
            "--replace-all",
            is_flag=True,
            default=None,
            help="The same, and drop in the end what the tables hold of files that are not in SOURCES.",
        ),
        click.option("--retry-failed", is_flag=True, default=None, help="Try again what failed for good."),
        click.option(
            "--keep-bytes",
            metavar="SIZE",
            help="In the end, forget the sources least recently used until the tables fit, such as 10GB.",
        ),
    ),
    "Limits": (
        click.option("--threads", metavar="N", help="CPU threads in all [default: the cores it may use]."),
        click.option(
            "--memory",
            metavar="SIZE",
            help="Memory the worker may use, such as 4GB [default: a share of the machine's].",
        ),
        click.option(
            "--deadline-factor",
            metavar="X",
            help="Time limit of a piece: 120 s plus X times its length [default: 60].",
        ),
        click.option(
            "--sandbox",
            metavar="|".join(SANDBOXES),
            shell_complete=completion.of(lambda: SANDBOXES),
            help="Keep what opens media from all else: as far as it goes here, or fail [default: auto].",
        ),
        click.option(
            "--sandbox-allow",
            multiple=True,
            metavar="PATH",
            help="A file or folder that it may read and change, too.",
        ),
    ),
    "Where it runs": (
        click.option(
            "--engine",
            metavar="|".join(ENGINES),
            shell_complete=completion.of(lambda: ENGINES),
            help="Here or on Ray [default: auto].",
        ),
        click.option("--address", metavar="ADDRESS", help="Ray cluster [default: the job's, or one here]."),
        click.option(
            "--actors", metavar="N|MIN-MAX", help="On Ray: actors that work [default: all that fit]."
        ),
        click.option(
            "--actor-cpus",
            metavar="X",
            help="On Ray: CPUs of each [default: up to 4, beside a GPU 16].",
        ),
        click.option(
            "--actor-gpus",
            metavar="X",
            help="On Ray: GPUs of each, also a fraction [default: 1 for models, if any are there].",
        ),
        click.option(
            "--actors-per-gpu",
            metavar="N",
            help="On Ray: actors that share a GPU [default: 1].",
        ),
        click.option(
            "--topology",
            metavar="|".join(TOPOLOGIES),
            shell_complete=completion.of(lambda: TOPOLOGIES),
            help="On Ray: actors decode, or CPU actors do for them [default: fused].",
        ),
        click.option(
            "--decoders", metavar="N|MIN-MAX", help="Split: actors that decode [default: all that fit]."
        ),
        click.option("--decoder-cpus", metavar="X", help="Split: CPUs of each [default: 1]."),
        click.option(
            "--stall-after",
            metavar="SECONDS",
            help="On Ray: say so when nothing works for long [default: 120].",
        ),
        click.option(
            "--wait-for-room",
            metavar="SECONDS",
            help="On Ray: so long for nodes to come, or without any work [default: 600].",
        ),
    ),
    "Settings and messages": (
        click.option(
            _TOLERATE,
            metavar="[N|P%]",
            help="Exit with 0, not 3, while no more inputs failed or are partial; alone, however many.",
        ),
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help=f"Settings file [default: {FILE_NAME} in the current folder].",
        ),
        click.option("--profile", metavar="PATH", help="Write a trace that a browser's trace viewer opens."),
    ),
}


class _SectionedCommand(click.Command):
    """Its help lists the options under the titles of `_SECTIONS`; what all commands share comes last."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """An option's value that may be left out is no source that comes after it."""
        ours = args[: args.index("--")] if "--" in args else args
        for number, word in enumerate(ours):
            following = ours[number + 1] if number + 1 < len(ours) else ""
            if word == _TOLERATE and not re.fullmatch(r"all|[\d.]+%?", following):
                args = [*args[:number], f"{_TOLERATE}=all", *args[number + 1 :]]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        shown = iter([record for option in options if (record := option.get_help_record(ctx))])
        *sections, last = _SECTIONS
        for title in sections:
            with formatter.section(title):
                formatter.write_dl(list(islice(shown, len(_SECTIONS[title]))))
        with formatter.section(last):
            formatter.write_dl(list(shown))


def _request_options(command: F) -> F:
    for option in reversed([option for options in _SECTIONS.values() for option in options]):
        command = option(command)
    for old, name in (
        ("--mills", "--actors"),
        ("--mill-cpus", "--actor-cpus"),
        ("--mill-gpus", "--actor-gpus"),
    ):
        command = click.option(old, hidden=True, help=f"The former name of {name}.")(command)
    return click.argument("sources", nargs=-1, required=True)(command)


def _request(
    invocation: Invocation,
    sources: tuple[str, ...],
    output: str,
    config: Path | None,
    flags: Settings,
) -> tuple[ExtractRequest, ClipsRequest | None]:
    """The run, and the clips that are made of it; None where none are asked for."""
    from framemill.cluster.request import ExtractRequest

    flags = dict(flags)
    is_preview = flags.pop("preview", None)
    settings = read_settings(flags, os.environ, config)
    if is_preview:
        from framemill.cluster.preview import preview_settings

        settings = preview_settings(flags, settings)
    clips = settings.get("options", {}).pop(CLIPS, {})
    request = ExtractRequest(sources=sources, output=output, verbosity=invocation.verbosity, **settings)
    if "plan" not in clips:
        if clips and CLIPS not in request.spare:
            raise UsageError(f"options of clips ({', '.join(clips)}) need a plan: give `clips`, as shots")
        return request, None
    from framemill.cluster.clips.extracting import prepare

    return prepare(request, clips)


@click.command(cls=_SectionedCommand)
@_request_options
@conventions
@click.pass_obj
def extract(
    invocation: Invocation, /, sources: tuple[str, ...], output: str, config: Path | None, **flags: Any
) -> int:
    """Extract tables from SOURCES into OUT.

    SOURCES are files, folders (searched recursively), globs, and @list.txt with one source a line. The same
    command again computes only what is missing. Every option can also be set in framemill.toml, or as
    FRAMEMILL_<OPTION> in the environment.
    """
    request, clips = _request(invocation, sources, output, config, flags)
    if clips is not None:
        return _extract_and_cut(invocation, request, clips)
    summary = _run(invocation, request)
    if invocation.as_json:
        print_json(summary)
    elif invocation.verbosity >= 0:
        if flags["preview"] and summary.exit_code in (0, 3):
            print_first_look(summary.output, sources)
        print_summary(summary)
    return summary.exit_code


def _run(invocation: Invocation, request: ExtractRequest) -> RunSummary:
    from framemill.cluster.cli.progress import open_reporter
    from framemill.cluster.extraction import run_extract

    with open_reporter(invocation.verbosity) as reporter:
        return run_extract(request, reporter)


def _extract_and_cut(invocation: Invocation, request: ExtractRequest, clips: ClipsRequest) -> int:
    from framemill.cluster.cli.clips import show_clips
    from framemill.cluster.clips.extracting import can_be_cut, cut_extracted, reserve, with_clips

    reserve(request, clips)
    summary = _run(invocation, request)
    if invocation.verbosity >= 0 and not invocation.as_json:
        print_summary(summary)
    if can_be_cut(summary):
        waiting = report if invocation.verbosity >= 0 else None
        with counting("cutting", "clips", invocation.verbosity) as progress:
            made = cut_extracted(request.output, clips, progress, waiting, report)
        summary = with_clips(summary, made)
        show_clips(invocation, made)
    if invocation.as_json:
        print_json(summary)
    return summary.exit_code


@click.command(cls=_SectionedCommand)
@_request_options
@conventions
@click.pass_obj
def plan(
    invocation: Invocation, /, sources: tuple[str, ...], output: str, config: Path | None, **flags: Any
) -> None:
    """Show what `extract` would decode and run, without doing it.

    The arguments are those of `extract`.
    """
    request, _ = _request(invocation, sources, output, config, flags)
    from framemill.cluster.cli.results import print_mapping
    from framemill.cluster.inspection import plan_sources

    planned = plan_sources(request)
    if invocation.as_json:
        print_json(planned)
    else:
        time = f"about {duration(planned['seconds_expected'])}, by {planned['expected_from']}"
        left_out = ("seconds_expected", "expected_from")
        shown = {name: value for name, value in planned.items() if name not in left_out}
        print_mapping({"time": time, **shown})
