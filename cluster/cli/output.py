"""How commands speak: data on stdout as a table or as JSON, everything else on stderr.

Texts from media (file names, recognised text, container tags) are hostile: their control
characters never reach the terminal.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from framemill.cluster.results.dataset import Dataset

F = TypeVar("F", bound=Callable[..., Any])
_SETTING = re.compile(r"`([a-z_]+)(?:=([^`]+))?`")
# What other commands than `extract` call theirs.
_NO_SETTINGS = ("image", "in", "input_size", "max_loss", "name", "preview")


@dataclass(slots=True)
class Invocation:
    """What every command accepts: `--json`, and -1 (`-q`), 0, 1 (`-v`) or 2 (`-vv`)."""

    as_json: bool = False
    verbosity: int = 0


@contextmanager
def held(invocation: Invocation, output: str | Dataset) -> Iterator[tuple[Dataset, str]]:
    """The result folder `output`, held for writing, and the id of this run; says so where it has to wait."""
    from framemill.cluster.results.commits import new_run_id
    from framemill.cluster.results.dataset import Dataset

    dataset = Dataset.open(output, create=False) if isinstance(output, str) else output
    run_id = new_run_id()
    with dataset.hold(run_id, on_wait=report if invocation.verbosity >= 0 else None):
        yield dataset, run_id


def conventions(command: F) -> F:
    """Adds --json, -q and -v, which set the `Invocation` that `click.pass_obj` hands over."""

    def set_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.ensure_object(Invocation).as_json = value

    def set_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(Invocation).verbosity = -1

    def set_verbose(ctx: click.Context, param: click.Parameter, value: int) -> None:
        if value:
            ctx.ensure_object(Invocation).verbosity = min(value, 2)

    for option in (
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=set_verbose,
            help="Say more; -vv says everything.",
        ),
        click.option(
            "-q", "--quiet", is_flag=True, expose_value=False, callback=set_quiet, help="Only errors."
        ),
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            expose_value=False,
            callback=set_json,
            help="Print the data as JSON.",
        ),
    ):
        command = option(command)
    return command


def printable(value: object) -> str:
    """One line of text in which control and formatting characters are escaped."""
    text = "" if value is None else str(value)
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape").decode() for ch in text)


def as_flags(text: str) -> str:
    """A message with the settings in it as flags.

    Libraries write them as a Python call has them, in backticks: `ops=['a', 'b']` becomes --ops a,b.
    """
    return _SETTING.sub(_as_flag, text)


def _as_flag(match: re.Match[str]) -> str:
    from framemill.cluster.config import keywords

    name, text = match.groups()
    flags = {keyword: setting for setting, keyword in keywords().items()}
    if name not in {*flags, *keywords(), *_NO_SETTINGS}:
        return match[0]
    flag = f"--{flags.get(name, name).replace('_', '-')}"
    try:
        value = ast.literal_eval(text or "''")
    except (SyntaxError, ValueError):  # such as {'objects': ...}, where the text says what is wrong with it
        return match[0]
    if isinstance(value, dict):
        value = " ".join(f"{key}={'...' if item is ... else item}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return f"{flag} {value}".rstrip()


def report(text: str) -> None:
    """One message on stderr."""
    click.echo("\n".join(map(printable, as_flags(text).splitlines())), err=True)


# What a command has to show: as a table, or as JSON.
Record = Mapping[str, Any]


def print_json(value: Any) -> None:
    """`value` as JSON on stdout; ASCII alone, so that no locale and no terminal can spoil it."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Rows on stdout, fitted to the terminal; into a pipe every value is whole, on one line.

    Where every column is named "", the header is left out.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(
        title=title and printable(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        show_header=any(columns),
    )
    cells = [[_cell(value) for value in row] for row in rows]
    for number, column in enumerate(columns):
        values = [row[number] for row in cells]
        numeric = bool(values) and all(isinstance(row, _Number) or not row for row in values)
        table.add_column(
            Text(printable(column)),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=not terminal,
        )
    for row in cells:
        table.add_row(*(Text(str(value)) for value in row))
    # Rich fits a table into the width it is told; a pipe has none, so it gets one that nothing reaches.
    console = Console(file=sys.stdout, width=None if terminal else 1_000_000, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


class _Number(str):
    """A cell that was a number, to be aligned right."""


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _Number(value)
    if isinstance(value, float):
        return _Number(f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}")
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return printable(value)


def size(num_bytes: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def count_kinds(kinds: Mapping[str, int]) -> str:
    """How many sources are partial, and what they lack: 12 sources (7 cut short, 5 missing sound)."""
    total = sum(kinds.values())
    listed = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    why = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in listed)
    return f"{total} {'source' if total == 1 else 'sources'}" + (f" ({why})" if why else "")


def duration(seconds: float) -> str:
    """A length of time for people: 4.2 s, 3:07, 1:02:33."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _plain(value: Any) -> Any:
    """What the JSON encoder does not know by itself."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
