"""What README.md tells is what there is: tables and columns, commands, variables, lines to type, links."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import click
import pytest

from framemill.cluster.cli.main import COMMANDS, cli
from framemill.cluster.cli.output import Invocation
from framemill.cluster.config import read_settings, unknown_variables
from framemill.cluster.doctor import OTHER_VARIABLES
from framemill.cluster.results.queries import CORPUS_TABLES, corpus_schema
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA
from framemill.ops import OPS, load_op

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
OPEN_ENDED = ("one column per measure", "and more")


def section(title: str) -> str:
    """The text below a heading of the second level, up to the next one."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, flags=re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The cells of all tables of a section, without headers."""
    lines = re.findall(r"^\|(.*)\|$", section(title), flags=re.MULTILINE)
    cells = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
    dividers = [number for number, row in enumerate(cells) if set("".join(row)) == {"-"}]
    return [row for number, row in enumerate(cells) if not {number, number + 1} & set(dividers)]


def typed_lines() -> list[str]:
    """Each line of a shell block that runs `framemill`, with its continuation lines."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", README, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("framemill ")]


def test_each_table_is_described_once_with_all_its_columns() -> None:
    schemas = {name: load_op(name).schema for name in OPS} | {"errors": ERRORS_SCHEMA, "runs": RUNS_SCHEMA}
    schemas |= {name: corpus_schema(name) for name in CORPUS_TABLES}
    told = []
    for names, _, columns in rows("Tables"):
        described = [name.strip() for name in names.split(",")]
        told += described
        if not any(words in columns for words in OPEN_ENDED):
            fields = {field for name in described for field in schemas[name].names} - {"source_id"}
            assert set(re.findall(r"[a-z0-9_]+", re.sub(r"\(.*?\)", "", columns))) == fields, names
    assert sorted(told) == sorted(schemas)


def test_each_command_is_listed_once() -> None:
    told = [re.findall(r"`(\w+)", row[0])[0] for row in rows("Commands")]
    assert sorted(set(told)) == sorted(COMMANDS)
    models = cli.get_command(click.Context(cli), "models")
    assert isinstance(models, click.Group)
    about_models = " ".join(row[0] for row in rows("Commands") if row[0].startswith("`models"))
    assert set(models.commands) <= set(re.findall(r"\w+", about_models))


def test_variables_are_those_that_are_read() -> None:
    told = set(re.findall(r"FRAMEMILL_[A-Z_]*[A-Z]", README))
    assert unknown_variables(dict.fromkeys(told, ""), OTHER_VARIABLES) == []
    assert set(OTHER_VARIABLES) - told == {"FRAMEMILL_REQUIRE_GPU"}, "the last is set by the Makefile"


@pytest.mark.parametrize("line", typed_lines())
def test_lines_can_be_typed_as_they_are_written(line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    context = command.make_context(name, arguments, obj=Invocation())
    if name == "extract":
        ours = {key: value for key, value in context.params.items() if key not in ("sources", "output")}
        ours.pop("preview")
        read_settings(ours, {}, ours.pop("config"))
    if isinstance(command, click.Group):
        inner = command.get_command(context, arguments[0])
        assert inner is not None
        inner.make_context(arguments[0], arguments[1:], obj=Invocation())


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", README, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\((.*?)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert os.path.exists(Path(__file__).resolve().parents[1] / target), target
