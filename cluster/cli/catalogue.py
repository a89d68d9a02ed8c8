"""`framemill ops`: which operations there are, and what each makes."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from cluster.cli.output import Invocation, conventions, print_json, print_table
from models.errors import UsageError


@click.command()
@click.argument("names", metavar="[OPERATION]...", nargs=-1)
@conventions
@click.pass_obj
def ops(invocation: Invocation, names: tuple[str, ...]) -> None:
    """List the operations, or describe some of them.

    With names: each OPERATION with its options and columns."""
    from ops import OPS

    for name in names:
        if name not in OPS:
            raise UsageError(f"unknown operation {name!r}; there are {', '.join(OPS)}")
    records = [_describe(name) for name in names or OPS]
    if invocation.as_json:
        print_json(records)
    elif names:
        for record in records:
            _print_one(record)
    else:
        print_table(
            ("operation", "by default", "reads", "after", "models", "makes"),
            [
                (
                    record["name"],
                    record["default"],
                    record["reads"],
                    ", ".join(record["after"]),
                    ", ".join(record["models"]),
                    record["doc"],
                )
                for record in records
            ],
        )


def _describe(name: str) -> dict[str, Any]:
    """All that is known of one operation, as plain values."""
    from ops import load_op

    op = load_op(name)
    return {
        "name": name,
        "version": op.version,
        "default": op.default,
        "reads": op.reads.value,
        "after": list(op.after),
        "models": list(op.models),
        "doc": (op.__doc__ or "").strip().split("\n")[0],
        "options": [
            {"name": field.name, "type": str(field.type), "default": _default(field)}
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


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None


def _print_one(record: dict[str, Any]) -> None:
    click.echo(f"{record['name']} (version {record['version']}): {record['doc']}")
    click.echo(f"reads {record['reads']}; {'runs by default' if record['default'] else 'runs when named'}")
    for title, keys in (("options", ("name", "type", "default")), ("columns", ("name", "type", "doc"))):
        if record[title]:
            click.echo()
            print_table(keys, [[entry[key] for key in keys] for entry in record[title]], title)
    click.echo()
