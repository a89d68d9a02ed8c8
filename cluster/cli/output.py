"""How commands speak: data on stdout as a table or as JSON, everything else on stderr.

Texts from media (file names, recognised text, container tags) are hostile: their control
characters never reach the terminal.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from framemill.cluster.choices import SANDBOXES

if TYPE_CHECKING:
    from framemill.cluster.results.dataset import Dataset

# Shells ask through it what completes; see `framemill.cluster.cli.completion`.
COMPLETION_VARIABLE = "_FRAMEMILL_COMPLETE"
F = TypeVar("F", bound=Callable[..., Any])
# Content ids and the digests of operation keys.
_ID = re.compile(r"[0-9a-f]{32,64}")
_SETTING = re.compile(r"`([a-z_]+)(?:=([^`]+))?`")
# What other commands than `extract` call theirs.
_NO_SETTINGS = (
    "image", "in", "input_size", "line_width", "max_loss", "max_seconds", "min_seconds", "name", "of",
    "preview", "timeout", "where",
)  # fmt: skip
# Rows that are laid out together, and the most that are counted where they are not shown.
_LOT, _MOST_COUNTED = 10_000, 1_000_000


@dataclass(slots=True)
class Invocation:
    """What every command accepts.

    Attributes:
        as_json: `--json`. verbosity: -1 (`-q`), 0, 1 (`-v`) or 2 (`-vv`).
        layout: of tables: wide, line, or empty for what suits where stdout goes.
    """

    as_json: bool = False
    verbosity: int = 0
    layout: str = ""


def sandbox_option(command: F) -> F:
    """Adds --sandbox, as `extract` has it, to a command that opens media in processes of its own."""
    return click.option(
        "--sandbox",
        type=click.Choice(SANDBOXES),
        default="auto",
        show_default=True,
        help="Keep what opens media from all else: as far as it goes here, or fail.",
    )(command)


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
    """Adds --json, --wide, --line, -q and -v, which set the `Invocation` that `click.pass_obj` hands over."""

    def set_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.ensure_object(Invocation).as_json = value

    def set_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(Invocation).verbosity = -1

    def set_verbose(ctx: click.Context, param: click.Parameter, value: int) -> None:
        if value:
            ctx.ensure_object(Invocation).verbosity = min(value, 2)

    def set_layout(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(Invocation).layout = str(param.name)

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
            "--line",
            is_flag=True,
            expose_value=False,
            callback=set_layout,
            help="Show tables whole, a value a line.",
        ),
        click.option(
            "--wide",
            is_flag=True,
            expose_value=False,
            callback=set_layout,
            help="Show tables whole, a row a line, however wide.",
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
    if text.isprintable():
        return text
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
    """One message on stderr, with paths from the current folder on."""
    click.echo("\n".join(map(printable, _from_here_in(as_flags(text)).splitlines())), err=True)


def _here() -> str:
    """The current folder with a separator behind it; empty where it was removed."""
    try:
        return os.path.join(os.getcwd(), "")
    except FileNotFoundError:
        return ""


def _from_here_in(text: str) -> str:
    here = _here()
    return (
        text if here in ("", os.sep) else re.sub(rf"(?<![^\s'\"`(=,]){re.escape(here)}(?=[^\s/])", "", text)
    )


# What a command has to show: as a table, or as JSON.
Record = Mapping[str, Any]


def print_json(value: Any) -> None:
    """`value` as JSON on stdout; ASCII alone, so that no locale and no terminal can spoil it."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def print_json_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows as a JSON list of objects, each as it comes; NaN and infinity, unknown to JSON, are null."""
    names = list(map(json.dumps, dict.fromkeys(columns)))
    encode = json.JSONEncoder(default=_plain).encode
    mark = "["
    for row in rows:
        values = map(_json_value, dict(zip(columns, row, strict=True)).values())
        texts = [
            json.dumps(value, indent=2, default=_plain).replace("\n", "\n    ")
            if isinstance(value, dict | list)
            else encode(value)
            for value in values
        ]
        lines = ",\n".join(f"    {name}: {text}" for name, text in zip(names, texts, strict=True))
        sys.stdout.write(f"{mark}\n  {{\n{lines}\n  }}")
        mark = ","
    sys.stdout.write("\n]\n" if mark == "," else "[]\n")


def _json_value(value: object) -> object:
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    return list(map(_json_value, value)) if isinstance(value, list | tuple) else value


def _invocation() -> Invocation:
    context = click.get_current_context(silent=True)
    return (context and context.find_object(Invocation)) or Invocation()


def is_fitted_to_terminal() -> bool:
    """Whether tables go to a terminal and are cut to its width, so that less may be shown than there is."""
    return _is_terminal() and not _invocation().layout


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def from_here(path: str) -> str:
    """A path as seen from the current folder, where it lies in it."""
    here = _here()
    return path[len(here) :] if path.startswith(here) and len(path) > len(here) else path


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    most: int | None = None,
) -> None:
    """Rows on stdout, a line each: fitted to the terminal, or whole, with tabs between values, into a pipe.

    On a terminal texts are cut, columns in the middle are left out where they do not fit, ids are shown by
    their first 8 digits and paths from the current folder on; `--wide` and `--line` show all.
    Where every column is named "", the header is left out. No more than some thousand rows are held.

    Args:
        most: rows to show on a terminal, where the others are counted; None for all.
    """
    invocation = _invocation()
    if title:
        click.secho(printable(title), bold=is_fitted_to_terminal())
    names = [printable(column) for column in columns]
    source = iter(rows)
    shown = islice(source, most) if most is not None and _is_terminal() else source
    is_first, hidden = True, 0
    while (lot := list(islice(shown, _LOT))) or is_first:
        lines, hidden = _table_lines(names, lot, invocation.layout, is_first=is_first)
        if lines:
            click.echo("\n".join(lines))
        is_first = False
    if invocation.verbosity < 0:
        return
    if hidden:
        click.secho(f"{hidden} of {len(names)} columns left out; --wide or --line shows all", dim=True)
    if more := sum(1 for _ in islice(source, _MOST_COUNTED + 1)):
        count = f"{more}" if more <= _MOST_COUNTED else f"more than {_MOST_COUNTED}"
        rest = "row" if more == 1 else "rows"
        click.secho(f"... {count} more {rest}; --limit N shows N, --csv all", dim=True)


def _table_lines(
    names: Sequence[str], rows: Sequence[Sequence[object]], layout: str, *, is_first: bool
) -> tuple[list[str], int]:
    """The lines of some rows, the first ones below the names of columns, and how many columns are hidden."""
    from framemill.cluster.cli import table_layout

    is_fitted = is_fitted_to_terminal()
    is_text = is_fitted or bool(layout)
    cells = [[_cell(value, for_people=is_text) for value in row] for row in rows]
    if layout == "line":
        lines = table_layout.listed(names, cells)
        return (lines if is_first or not lines else ["", *lines]), 0
    header = names if is_first else [""] * len(names)
    if not is_text:
        return table_layout.tabbed(header, cells), 0
    if is_fitted:
        cells = [[_for_terminal(cell) for cell in row] for row in cells]
    return table_layout.aligned(header, cells, shutil.get_terminal_size().columns if is_fitted else None)


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows on stdout as CSV with a header; structs and lists as JSON, numbers as short as they are exact."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_as_data(value) for value in row])


def _cell(value: object, for_people: bool) -> str:
    """A value on one line."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if not for_people:
        return printable(_as_data(value))
    from framemill.cluster.cli.table_layout import Number

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | Decimal):
        return Number(value)
    if isinstance(value, float):
        return Number(f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}")
    return printable(_as_data(value))


def _for_terminal(cell: str) -> str:
    """A cell as people want it: ids by 8 digits, paths from the current folder on."""
    return cell[:8] if _ID.fullmatch(cell) else from_here(cell)


def _as_data(value: object) -> str:
    """A value for other programs, whole."""
    if value is None:
        return ""
    if type(value) in (str, int):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    from framemill.cluster.cli.table_layout import as_json, short

    if isinstance(value, float):
        return str(short(value))
    if isinstance(value, Mapping | list | tuple):
        return as_json(value, _plain)
    return str(_plain(value) if isinstance(value, bytes) else value)


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
