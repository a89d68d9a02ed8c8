"""`framemill models pull`: fetching models, and how that shows itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from framemill.cluster.choices import QUALITIES
from framemill.cluster.cli import completion
from framemill.cluster.cli.output import (
    Invocation,
    conventions,
    print_json,
    print_table,
    printable,
    report,
    size,
)
from framemill.cluster.cli.progress import is_live
from framemill.cluster.config import Settings, read_settings
from framemill.errors import ModelError, UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from framemill.models.download import OnProgress
    from framemill.models.entry import ModelEntry


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=completion.of(completion.models))
@click.option(
    "--for",
    "ops",
    metavar="A,B",
    shell_complete=completion.listed(lambda: [*completion.operations(), "search"]),
    help="Instead of names: all that `extract` needs for these operations; `search` for that command.",
)
@click.option(
    "--quality",
    metavar="|".join(QUALITIES),
    shell_complete=completion.of(lambda: QUALITIES),
    help="With --for: as for `extract` [default: balanced].",
)
@click.option(
    "--accept-licence",
    is_flag=True,
    default=None,
    help="Also fetch models that are not, or perhaps not, for commercial use.",
)
@conventions
@click.pass_obj
def pull(
    invocation: Invocation,
    names: tuple[str, ...],
    ops: str | None,
    quality: str | None,
    accept_licence: bool | None,
) -> None:
    """Fetch models from the mirror folder or their origin, checked.

    Several are fetched at a time, and what an interrupted command left is gone on with. With --for, models
    and options in framemill.toml and FRAMEMILL_<OPTION> count as they do for `extract`.
    """
    from framemill.models import pulling, registry

    if bool(names) == (ops is not None):
        raise UsageError("name the models to fetch, or operations with --for, such as --for objects,faces")
    if ops is None:
        if quality is not None:
            raise UsageError(f"--quality {quality} chooses models of operations: name those with --for")
        entries = list(registry.named_entries(names).values())
        registry.check_licences(entries, bool(accept_licence))
    else:
        entries = _models_for({"ops": ops, "quality": quality, "accept_licence": accept_licence})
    absent = pulling.absent(entries)
    if absent and invocation.verbosity >= 0:
        listed = ", ".join(f"{entry.name} ({_size(entry)})" for entry in absent)
        report(f"to fetch, {size(sum(entry.num_bytes for entry in absent))} in all: {listed}")
    with download_bar(pulling.name_of_all(absent or entries), invocation.verbosity) as on_progress:
        found = pulling.pull_models(entries, on_progress)
    if problems := [str(path) for path in found.values() if isinstance(path, ModelError)]:
        raise ModelError("\n".join(problems))
    if invocation.as_json:
        print_json([{"name": name, "path": str(path)} for name, path in found.items()])
    else:
        print_table(("model", "file"), [(name, str(path)) for name, path in found.items()])


def _size(entry: ModelEntry) -> str:
    return size(entry.num_bytes) if entry.num_bytes else "size not known"


def _models_for(flags: Settings) -> list[ModelEntry]:
    """The models that `extract` would need with the same flags."""
    from framemill.cluster.request import ExtractRequest
    from framemill.cluster.run.needed_models import models_of_run

    used = ("ops", "quality", "accept_licence", "models", "options")
    settings = {k: value for k, value in read_settings(flags, os.environ).items() if k in used}
    if not settings["ops"]:
        raise UsageError(f"--for {flags['ops']!r} names no operation: give some, such as objects,faces")
    # What is set for other operations may go unused.
    spare = (*settings.get("models", ()), *settings.get("options", ()))
    return models_of_run(ExtractRequest(sources=(), output="", spare=spare, **settings))


@contextmanager
def download_bar(what: str, verbosity: int) -> Iterator[OnProgress]:
    """A bar on stderr that appears with the first byte; lines where stderr is no terminal.

    Args:
        what: is fetched, such as "model yolox_nano".
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from framemill.models.pulling import in_lines

    if verbosity < 0 or not is_live():
        yield in_lines(what, report if verbosity >= 0 else lambda text: None)
        return
    console = Console(stderr=True)
    columns = (TextColumn(what, markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task: list[TaskID] = []

        def on_progress(done: int, total: int, retry: str) -> None:
            if retry:
                console.print(printable(f"{what}: {retry}"), markup=False)
            if not task:
                task.append(bar.add_task(what, total=total or None))
            bar.update(task[0], completed=done, total=total or None)

        yield on_progress
