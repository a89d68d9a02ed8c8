"""What README.md and docs/ tell is what there is: tables, commands, variables, lines to type, links."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from docs import generate
from framemill.cluster.cli.main import COMMANDS, cli
from framemill.cluster.cli.output import Invocation
from framemill.cluster.config import keywords, read_settings, unknown_variables
from framemill.cluster.doctor import OTHER_VARIABLES
from framemill.cluster.results.queries import CORPUS_TABLES, corpus_schema
from framemill.cluster.results.shots import SHOTS_SCHEMA, VIEW
from framemill.cluster.results.tables import ERRORS_SCHEMA, RUNS_SCHEMA
from framemill.models.registry import KNOWN
from framemill.ops import OPS, load_op

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8")
    for path in [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted(generate.FOLDER.glob("*.md"))]
}
# What settings were called before, which the pages name as such.
FORMER = {"mills", "mill_cpus", "mill_gpus"}


def section(page: str, title: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$\n(.*)", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    assert found, (page, title)
    return re.split(rf"^#{{1,{len(found[1])}}} ", found[2], flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without headers."""
    lines = re.findall(r"^\|(.*)\|$", text, flags=re.MULTILINE)
    cells = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
    dividers = [n for n, row in enumerate(cells) if set("".join(row)) == {"-"}]
    return [row for n, row in enumerate(cells) if not {n, n + 1} & set(dividers)]


def typed_lines() -> Iterator[tuple[str, str]]:
    """Each line of a shell block that runs `framemill`, with its continuation lines, and its page."""
    for page, text in PAGES.items():
        blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            line = re.sub(r"^python -m framemill ", "framemill ", line.strip())
            if line.startswith("ray job submit"):
                line = line.partition("python -m ")[2]
            if line.startswith("framemill "):
                yield page, line


def test_each_table_is_described_once_with_all_its_columns() -> None:
    schemas = {name: load_op(name).schema for name in OPS} | {"errors": ERRORS_SCHEMA, "runs": RUNS_SCHEMA}
    schemas |= {name: corpus_schema(name) for name in CORPUS_TABLES} | {VIEW: SHOTS_SCHEMA}
    page = "docs/tables.md"
    listed = [re.findall(r"\w+", row[0])[0] for row in rows(section(page, "All tables"))]
    assert sorted(listed) == sorted(schemas)
    headings = re.findall(r"^### (\w+)$", section(page, "Columns"), flags=re.MULTILINE)
    assert sorted(headings) == sorted(schemas)
    for name, schema in schemas.items():
        described = {column.strip("`"): meaning for column, _, meaning in rows(section(page, name))}
        assert set(described) == set(schema.names) - {"source_id"}, name
        for column, meaning in described.items():
            text = (schema.field(column).metadata or {})[b"doc"].decode()
            assert meaning == " ".join(text.split()), (name, column)


def test_each_operation_is_described_once_with_its_options() -> None:
    page = "docs/operations.md"
    assert re.findall(r"^### (\w+)$", PAGES[page], flags=re.MULTILINE) == list(OPS)
    for name in OPS:
        described = [row[0].strip("`") for row in rows(section(page, name))]
        assert described == list(load_op(name).Options.__annotations__), name


def test_each_command_is_listed_once() -> None:
    page = "docs/commands.md"
    listed = [re.findall(r"`(\w+)", row[0])[0] for row in rows(PAGES[page]) if "](#" in row[0]]
    assert sorted(listed) == sorted(COMMANDS)
    models = cli.get_command(click.Context(cli), "models")
    assert isinstance(models, click.Group)
    about_models = re.findall(r"^#### models (\w+)$", PAGES[page], flags=re.MULTILINE)
    assert sorted(about_models) == sorted(models.commands)
    assert [row[2].strip("`") for row in rows(section(page, "Settings"))[: len(keywords())]] == list(
        keywords()
    )


def test_each_model_is_listed_once() -> None:
    listed = [row[1].strip("`") for row in rows(section("docs/models.md", "Known models"))]
    assert sorted(listed) == sorted(entry.name for entry in KNOWN)


def test_lists_that_come_from_the_code_are_fresh() -> None:
    stale = [path.name for path, text in generate.fresh_pages().items() if path.read_text("utf-8") != text]
    assert not stale, f"{', '.join(stale)} in docs/ tell what the code was: run `make docs`"


def test_a_changed_list_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in generate.FOLDER.glob("*.md"):
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    page = tmp_path / "models.md"
    page.write_text(page.read_text("utf-8").replace("| `yolox_nano` |", "| `yolox_mini` |"), "utf-8")
    assert [
        path.name for path, text in generate.fresh_pages().items() if path.read_text("utf-8") != text
    ] == ["models.md"]
    page.write_text("# Models\n", "utf-8")
    with pytest.raises(ValueError, match="no page holds families, models"):
        generate.fresh_pages()


def test_variables_are_those_that_are_read() -> None:
    told = {name for text in PAGES.values() for name in re.findall(r"FRAMEMILL_[A-Z_]*[A-Z]", text)}
    assert unknown_variables(dict.fromkeys(told, ""), OTHER_VARIABLES) == []
    assert set(OTHER_VARIABLES) - told == {"FRAMEMILL_REQUIRE_GPU"}, "the last is set by the Makefile"


@pytest.mark.parametrize(("page", "line"), list(typed_lines()))
def test_lines_can_be_typed_as_they_are_written(page: str, line: str) -> None:
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


def test_flags_in_prose_are_flags_of_a_command() -> None:
    known = {"--json", "--help", "--version"}
    commands = [cli.get_command(click.Context(cli), name) for name in COMMANDS]
    commands += [
        inner for group in commands if isinstance(group, click.Group) for inner in group.commands.values()
    ]
    known |= {opt for command in commands if command for param in command.params for opt in param.opts}
    known |= {
        opt for command in commands if command for param in command.params for opt in param.secondary_opts
    }
    for page, text in PAGES.items():
        prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
        told = {
            flag for code in re.findall(r"`(--[a-z][^`]*)`", prose) for flag in re.findall(r"--[a-z-]+", code)
        }
        assert told - known <= {"--working-dir", "--runtime-env-json", "--metrics-export-port"}, page


def test_links_lead_somewhere() -> None:
    anchors = {}
    for page, text in PAGES.items():
        headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
        anchors[page] = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for page, text in PAGES.items():
        for target in re.findall(r"\]\((.*?)\)", text):
            if "://" in target:
                continue
            file, _, anchor = target.partition("#")
            path = os.path.normpath(REPOSITORY / os.path.dirname(page) / file) if file else REPOSITORY / page
            assert os.path.exists(path), (page, target)
            if anchor:
                assert anchor in anchors[Path(path).relative_to(REPOSITORY).as_posix()], (page, target)


def test_every_page_is_reached_from_the_readme() -> None:
    for page in PAGES:
        assert page == "README.md" or f"]({page})" in PAGES["README.md"], page


def test_the_readme_is_short_and_its_paths_are_there() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 200
    told = 0
    for text in (PAGES["README.md"], PAGES["docs/architecture.md"]):
        for path in re.findall(
            r"`((?:actors|benchmarks|cluster|docs|framemill|models|ops|tests)/[^` ]*)`", text
        ):
            if "<" not in path:
                told += 1
                assert (REPOSITORY / path).exists(), path
    assert told > 40


def test_a_newcomer_finds_what_the_readme_points_to() -> None:
    places = dict(rows(section("README.md", "Where things live"))[-16:])
    for wanted, file, text in (
        ("the score threshold of a face", "ops/faces/faces.py", "score: float = 0.7"),
        ("the format of a commit", "cluster/results/commits.py", "class Commit"),
        ("the retry of what a killed actor was working on", "cluster/engines/ray/run.py", "quarantine"),
        ("the colour matrix of a frame", "actors/colour_matrices.py", "bt709"),
    ):
        assert f"`{file}`" in places[wanted]
        assert text in (REPOSITORY / file).read_text("utf-8")
