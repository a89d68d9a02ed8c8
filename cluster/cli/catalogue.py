"""`framemill ops`: which operations there are, and what each makes."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from framemill.cluster.cli import completion
from framemill.cluster.cli.output import (
    Invocation,
    Record,
    conventions,
    is_fitted_to_terminal,
    print_json,
    print_table,
)
from framemill.errors import UsageError


@click.command()
@click.argument(
    "names", metavar="[OPERATION]...", nargs=-1, shell_complete=completion.of(completion.operations)
)
@conventions
@click.pass_obj
def ops(invocation: Invocation, names: tuple[str, ...]) -> None:
    """List the operations, or describe some of them.

    With names: each OPERATION with its options and columns; one of your own as package.module:Class."""
    from framemill.ops import OPS
    from framemill.plugins import find_plugin, name_of, offered

    records = [_describe(name_of(name, {})) for name in names or OPS]
    for name in () if names else offered():
        try:
            records.append(_describe(find_plugin(name).name))
        except UsageError as error:  # the others are there all the same
            click.echo(f"left out: {error}", err=True)
    if invocation.as_json:
        print_json(records)
    elif names:
        for record in records:
            _print_one(record)
    elif is_fitted_to_terminal():
        _print_by_theme(records)
    else:
        print_table(
            ("operation", "by default", "reads", "after", "models", "what"),
            [
                (
                    record["name"],
                    record["default"],
                    record["reads"],
                    ", ".join(record["after"]),
                    ", ".join(record["models"]),
                    record["what"],
                )
                for record in records
            ],
        )


def _print_by_theme(records: Sequence[Record]) -> None:
    themes: dict[str, list[Record]] = {}
    for record in records:
        themes.setdefault(record["theme"], []).append(record)
    rows = [
        (theme if record is members[0] else "", record["name"], record["default"] and "yes", record["what"])
        for theme, members in themes.items()
        for record in members
    ]
    print_table(("theme", "operation", "default", "what"), [[cell or "" for cell in row] for row in rows])


def _describe(name: str) -> Record:
    """All that is known of one operation, as plain values."""
    from framemill.ops import DEFAULT_OPS, load_op

    op = load_op(name)
    meanings = _attributes(op.Options)
    return {
        "name": name,
        "version": op.version,
        "theme": _theme(op.__module__),
        "default": name in DEFAULT_OPS,
        "reads": op.reads.value,
        "after": list(op.after),
        "models": list(op.models),
        "what": _first_line(sys.modules[op.__module__].__doc__),
        "doc": _first_line(op.__doc__),
        "options": [
            {
                "name": field.name,
                "type": field.type if isinstance(field.type, str) else field.type.__name__,
                "default": _default(field),
                "doc": meanings.get(field.name, ""),
            }
            for field in dataclasses.fields(op.Options)
        ],
        "columns": [
            {
                "name": field.name,
                "type": str(field.type),
                "doc": (field.metadata or {}).get(b"doc", b"").decode(),
            }
            for field in op.schema
        ],
    }


def _theme(module: str) -> str:
    """The folder of `ops/` that an operation lies in; "own" for one that is not ours."""
    package, _, inner = module.partition("framemill.ops.")
    if package or not inner:
        return "own"
    return inner.rpartition(".")[0] or "files"


def _attributes(kind: type[Any]) -> dict[str, str]:
    """Attribute -> what the class's docstring says of it, on one line."""
    text = inspect.getdoc(kind) or ""
    entries = re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n        .*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None


def _print_one(record: Record) -> None:
    click.echo(f"{record['name']} (version {record['version']}): {record['what']}")
    click.echo(record["doc"])
    click.echo(f"reads {record['reads']}; {'runs by default' if record['default'] else 'runs when named'}")
    for title, keys in (("options", ("name", "type", "default")), ("columns", ("name", "type"))):
        if record[title]:
            click.echo()
            rows = [[*(entry[key] for key in keys), entry["doc"]] for entry in record[title]]
            print_table((*keys, "meaning"), rows, title)
    click.echo()
