"""`framemill models`: the weights that operations use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
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
    printable,
    report,
    size,
)
from framemill.cluster.cli.pulling import download_bar, pull
from framemill.errors import ModelError, UsageError

_NAMES = completion.of(completion.models)
_LIMITS = {"yes": "", "no": "not commercial: ", "unclear": "unclear: "}
_STATES = {"ok": "here", "absent": "", "wrong": "wrong"}


@click.group()
def models() -> None:
    """List, fetch, check and add models."""


models.add_command(pull)


@models.command("list")
@conventions
@click.pass_obj
def list_(invocation: Invocation) -> None:
    """List the known models and where their files are."""
    from framemill.models import store

    records = store.list_models()
    if invocation.as_json:
        print_json(records)
        return
    if is_fitted_to_terminal():
        _print_by_role(records)
        return
    print_table(
        (
            "model",
            "role",
            "size",
            "licence",
            "commercial",
            "origin",
            "state",
            "default",
            "unconfirmed",
            "trained on",
            "research only",
            "file",
        ),
        [
            (
                record["name"],
                record["role"],
                size(record["num_bytes"]) if record["num_bytes"] else "",
                record["licence"],
                record["commercial"],
                record["origin"],
                record["state"],
                record["is_default"],
                ", ".join(record["unconfirmed"]),
                record["trained_on"],
                ", ".join(record["research_only"]),
                record["path"] or record["problem"],
            )
            for record in records
        ],
    )


def _print_by_role(records: Sequence[Record]) -> None:
    roles: dict[str, list[Record]] = {}
    for record in records:
        roles.setdefault(record["role"], []).append(record)
    rows: list[tuple[str, ...]] = []
    for role, members in roles.items():
        rows.append((role, "", "", "", ""))
        rows += [
            (
                f"  {record['name']}",
                size(record["num_bytes"]) if record["num_bytes"] else "",
                _LIMITS[record["commercial"]] + record["licence"],
                record["origin"],
                _STATES[record["state"]],
            )
            for record in sorted(members, key=lambda member: not member["is_default"])
        ]
    print_table(("model", "size", "licence", "origin", "state"), rows)
    num_here = sum(bool(record["path"]) for record in records)
    click.echo(f"{num_here} of {len(records)} are here; the first of a role is its default")
    click.echo("framemill models pull NAME fetches one, with --for A,B all of some operations")
    limited: dict[str, dict[str, None]] = {}  # names once, though a model may serve two roles
    for record in records:
        for data in record["research_only"] if record["commercial"] == "yes" else ():
            limited.setdefault(data, {})[record["name"]] = None
    if limited:
        click.echo("licensed as told, but trained on data that are for research only:")
    for data, names in limited.items():
        listed = f"{data}: {', '.join(names)}"
        click.echo(click.wrap_text(listed, 80, initial_indent="  ", subsequent_indent="    "))
    doubts = {record["name"]: record["unconfirmed"] for record in records if record["unconfirmed"]}
    if doubts:
        click.echo("confirmed by no publisher's page or file:")
    for name, fields in doubts.items():
        click.echo(f"  {name}: {', '.join(fields)}")


@models.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=_NAMES)
@conventions
@click.pass_obj
def verify(invocation: Invocation, names: tuple[str, ...]) -> int:
    """Check the files of models by their digests.

    Those of the named models, or all that are on this machine; exit 5 if one is wrong.
    """
    from framemill.models import store

    records = store.verify(names)
    if invocation.as_json:
        print_json(records)
    else:
        print_table(
            ("model", "status", "file", "message"),
            [[record[key] for key in ("name", "status", "path", "message")] for record in records],
        )
    # A model that was asked for by name must be there; of the others only wrong files count.
    bad = ("wrong", "absent") if names else ("wrong",)
    return ModelError.exit_code if any(record["status"] in bad for record in records) else 0


@models.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=_NAMES)
@conventions
@click.pass_obj
def check(invocation: Invocation, names: tuple[str, ...]) -> int:
    """Ask the addresses of models whether the files are still there.

    Those of the named models, or of all; sizes and digests are compared, nothing is downloaded. Exit 5 if a
    default, or a named one, is at none of its addresses as it should be.
    """
    from framemill.models import addresses

    rows = addresses.check_models(names)
    if invocation.as_json:
        print_json(rows)
    else:
        print_table(
            ("model", "state", "size", "sha256", "address", "message"),
            [
                (
                    row["name"] + (" (default)" if row["is_default"] else ""),
                    row["state"],
                    "" if row["num_bytes"] is None else size(row["num_bytes"]),
                    (row["sha256"] or "")[:12],
                    row["url"] or "",
                    row["message"],
                )
                for row in rows
            ],
        )
    lost = addresses.lost(rows, names)
    if lost:
        report(f"not to be had as they should be: {', '.join(lost)}")
    return ModelError.exit_code if lost else 0


@models.command()
@click.argument("source", metavar="PATH|URL")
@click.option(
    "--role",
    metavar="ROLE",
    required=True,
    shell_complete=completion.of(completion.roles),
    help="What it is used for, such as objects.",
)
@click.option(
    "--name", metavar="NAME", default="", help="Its name in the registry [default: the file's name]."
)
@click.option(
    "--family", default="", help="Layout of inputs and outputs [default: the first of the role's that fits]."
)
@click.option("--input-size", metavar="WxH", help="Picture size in pixels [default: as the file says].")
@click.option("--colour", type=click.Choice(["rgb", "bgr", "gray"]), help="Order of the channels.")
@click.option(
    "--mean", metavar="A,B,C", help="Subtracted from values in 0..255, one number or one a channel."
)
@click.option("--scale", metavar="A,B,C", help="Multiplied after that, one number or one a channel.")
@click.option(
    "--labels", metavar="A,B|SET|@FILE", help="Class names: a list, a known set, or a file of lines."
)
@click.option("--licence", metavar="TEXT", default="unknown", help="SPDX identifier, or words.")
@click.option("--commercial", is_flag=True, help="The licence allows commercial use.")
@conventions
@click.pass_obj
def add(invocation: Invocation, /, source: str, **given: Any) -> None:
    """Register an ONNX file of your own for a role.

    A file stays where it is; an https URL is fetched into the cache. A model with its batch fixed at 1
    is made dynamic where a trial proves that its results stay the same.
    """
    from framemill.models import adding

    given["input_size"] = _numbers(given["input_size"], "--input-size", int, "x")
    for name in ("mean", "scale"):
        given[name] = _numbers(given[name], f"--{name}", float, ",")
    if given["labels"] is not None:
        given["labels"] = _labels(given["labels"])
    with download_bar(f"model {source}", invocation.verbosity) as on_progress:
        entry = adding.add(source, **given, on_progress=on_progress)
    if invocation.as_json:
        print_json(entry)
    else:
        print_table(("", ""), [(name, entry[name]) for name in ("name", "role", "family", "sha256", "block")])
        click.echo(f"batching: {entry['batching']} ({printable(entry['reason'])})")


@models.command()
@click.argument("name", shell_complete=_NAMES)
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--max-loss",
    type=click.FloatRange(0, 1),
    metavar="X",
    default=0.1,
    show_default=True,
    help="Largest share of rows that may change; beyond it nothing is registered.",
)
@conventions
@click.pass_obj
def quantize(invocation: Invocation, /, name: str, sources: tuple[str, ...], max_loss: float) -> None:
    """Make and judge NAME-int8, an eight-bit variant of a model.

    It is calibrated and judged on frames of the videos SOURCES. Two files are made, one for processors and
    one for TensorRT. Rows of the variant are kept apart: choose it with --model ROLE=NAME-int8.
    """
    from framemill.cluster.quantizing import quantize_model

    def say(text: str) -> None:
        if invocation.verbosity >= 0:
            click.echo(text, err=True)

    made = quantize_model(name, sources, max_loss, say)
    if invocation.as_json:
        print_json(made)
        return
    shown = ("name", "path", "recipe", "num_frames", "num_rows", "block")
    print_table(("", ""), [(key, made[key]) for key in shown])
    click.echo(f"rows that change: {made['loss']:.1%} on processors, {made['signed_loss']:.1%} on TensorRT")
    speed = made["rows_per_second"]
    click.echo(f"rows a second on one core here: {speed['fp32']} before, {speed['int8']} now")


@models.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=_NAMES)
@conventions
@click.pass_obj
def probe(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Measure how models run fastest on this CPU, and whether a GPU may take 16-bit floats; remember it."""
    from framemill.cluster.machine import usable_cores
    from framemill.models import probing, registry, store
    from framemill.models.halves_probe import probe_halves

    cores = usable_cores()
    entries = registry.named_entries(names)
    found = {name: probing.probe(entry, store.find(entry), cores) for name, entry in entries.items()}
    halves = {name: probe_halves(entry, store.find(entry), cores) for name, entry in entries.items()}
    if invocation.as_json:
        print_json({name: {**asdict(it), "fp16": halves[name]} for name, it in found.items()})
        return
    print_table(
        ("model", "threads a row", "rows a second by threads a row"),
        [
            (name, it.threads, ", ".join(f"{n}: {speed:.1f}" for n, speed in it.rows_per_second.items()))
            for name, it in found.items()
        ],
    )
    for name, said in halves.items():
        if said:
            click.echo(f"{name} on {said}")


def _numbers(text: str | None, option: str, kind: type, separator: str) -> tuple[Any, ...] | None:
    try:
        return None if text is None else tuple(kind(part) for part in text.split(separator))
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} is no list of numbers separated by {separator!r}") from error


def _labels(text: str) -> str | list[str]:
    from framemill.models.registry import LABEL_SETS

    if text in LABEL_SETS:
        return text
    if not text.startswith("@"):
        return [label.strip() for label in text.split(",")]
    try:
        return [
            line.strip() for line in Path(text[1:]).read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels: {text[1:]} cannot be read: {error}") from error
