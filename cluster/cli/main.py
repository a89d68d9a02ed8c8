"""The `framemill` command: finds the subcommand, and turns every way to end into an exit code."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from framemill.cluster.cli.output import COMPLETION_VARIABLE, Invocation, report
from framemill.cluster.engines.interrupts import Ended, exit_code_of, noticing_interrupts
from framemill.errors import FramemillError, SetupError, did_you_mean

OBJECTS_BETWEEN_SEARCHES = 100_000  # of the garbage collector

# In the order of use. Modules are imported when asked for and import nothing heavy at their top.
SECTIONS = {
    "Videos into tables": {
        "extract": "framemill.cluster.cli.extract",
        "plan": "framemill.cluster.cli.extract",
        "probe": "framemill.cluster.cli.probe",
    },
    "Out of the tables": {
        "status": "framemill.cluster.cli.results",
        "check": "framemill.cluster.cli.check",
        "sql": "framemill.cluster.cli.results",
        "report": "framemill.cluster.cli.report",
        "view": "framemill.cluster.cli.view",
        "shots": "framemill.cluster.cli.shots",
        "tag": "framemill.cluster.cli.tag",
        "search": "framemill.cluster.cli.search",
        "captions": "framemill.cluster.cli.captions",
        "people": "framemill.cluster.cli.people",
        "duplicates": "framemill.cluster.cli.duplicates",
        "thumbnails": "framemill.cluster.cli.thumbnails",
        "highlights": "framemill.cluster.cli.highlights",
        "montage": "framemill.cluster.cli.montage",
        "clips": "framemill.cluster.cli.clips",
        "export": "framemill.cluster.cli.export",
        "compact": "framemill.cluster.cli.results",
        "forget": "framemill.cluster.cli.forget",
    },
    "What there is": {
        "ops": "framemill.cluster.cli.catalogue",
        "models": "framemill.cluster.cli.models",
        "doctor": "framemill.cluster.cli.doctor",
        "completion": "framemill.cluster.cli.completion",
    },
}
COMMANDS = {name: module for commands in SECTIONS.values() for name, module in commands.items()}

EPILOG = """\b
Exit codes: 0 ok; 1 a bug or a full disk; 2 the command is wrong;
3 some inputs failed, the rest is valid; 4 no usable input;
5 the machine or a model lacks something; interrupted, resumable: 130 by
Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""


class _LazyGroup(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f"no such command {name!r}{did_you_mean(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, names in SECTIONS.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                        for name, command in commands.items()
                        if command
                    ]
                )


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from framemill import __version__

        click.echo(f"framemill {__version__}")
        ctx.exit()


@click.group(cls=_LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
def cli() -> None:
    """Turns video corpora into tables: each file decoded once, every operation run on what was decoded."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    Args:
        arguments: without the program's name; None means those of this process.
    """
    if arguments is None:
        # What a command imports makes hundreds of thousands of objects and hardly any garbage: it need not be
        # searched each time that 700 more are there.
        gc.set_threshold(OBJECTS_BETWEEN_SEARCHES)
        # Nor once more when the process ends, with all memory.
        atexit.register(gc.freeze)
    # A file name that is no valid UTF-8 must not end the run when it is shown.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    invocation = Invocation()
    try:
        with noticing_interrupts(_end):
            code = _dispatch(arguments, invocation)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted. Python flushes once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # what a shell reports for a program that SIGPIPE ended


def _end(number: int) -> NoReturn:
    raise Ended(number)


def _dispatch(arguments: Sequence[str] | None, invocation: Invocation) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        from framemill.cluster.cli.completion import answer_shell

        return answer_shell(cli, instruction)
    try:
        # Not `cli.main`, which would end the process by itself when a pipe breaks.
        with cli.make_context("framemill", given, obj=invocation) as context:
            code = cli.invoke(context)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        _show_usage(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        # Others begin anew, or, as the viewer, are meant to be ended so.
        goes_on = given[:1] in (["extract"], ["clips"], ["captions"])
        report("interrupted" + ("; the same command goes on from here" if goes_on else ""))
        return exit_code_of(error.number if isinstance(error, Ended) else signal.SIGINT)
    except BrokenPipeError:
        raise
    except FramemillError as error:
        _show(error, invocation, f"error: {error}")
        return error.exit_code
    except Exception as error:
        if text := _lacking(error):
            _show(error, invocation, f"error: {text}")
            return SetupError.exit_code
        hint = "" if invocation.verbosity >= 2 else "; -vv shows where"
        _show(error, invocation, f"error: {type(error).__name__}: {error} (not foreseen{hint})")
        return 1


def _lacking(error: Exception) -> str:
    """What the machine lacks that every part needs and none asks for in particular; empty for all else."""
    if not isinstance(error, FileNotFoundError):
        return ""
    if "usable temporary directory" in str(error):
        return f"there is no place for temporary files ({error.strerror}): name a folder by TMPDIR"
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the current folder is not there any more: change to another, then do the same again"
    return ""


def _show_usage(error: click.ClickException) -> None:
    """What is wrong with the command, on one line, and where to read on."""
    text = error.format_message().removesuffix(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" ({context.command_path} --help tells more)" if context else ""
    report(f"error: {text[:1].lower()}{text[1:]}{hint}")


def _show(error: Exception, invocation: Invocation, text: str) -> None:
    if invocation.verbosity >= 2:
        report("".join(traceback.format_exception(error)))
    report(text)
