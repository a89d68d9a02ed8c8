"""What to say where DuckDB refuses a statement: what is wrong and what to do, on one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from framemill.errors import did_you_mean
from framemill.ops import OPS, PLUGINS

_NO_TABLE = re.compile(r"Table with name (\S+) does not exist")
_NO_FILE = re.compile(r'Cannot access file ("[^"]*")')
# What DuckDB says of names and of grammar begins so; of values otherwise.
_OF_TABLES = ("Binder", "Catalog", "Parser")
_LINE = re.compile(r"^LINE \d+: (.*)$", re.MULTILINE)
_NO_COLUMN = re.compile(r'Referenced column "([^"]+)" |does not have a column named "([^"]+)"')
# Tables that other commands make -> what makes them.
_COMMANDS = {
    "people": "`framemill people {root}`",
    "duplicates": "`framemill duplicates {root}`",
    "thumbnails": "`framemill thumbnails {root}`",
    "highlights": "`framemill highlights {root}`",
    "clips": "`framemill clips {root} -o DIR`",
    "captions": "`framemill captions {root} --address ADDRESS --model NAME`",
    "summaries": "`framemill captions {root} --address ADDRESS --model NAME`",
    "shots": "`framemill extract SOURCES -o {root} --ops scenes`",
    "spoken": "`framemill extract SOURCES -o {root} --ops transcript,speakers`",
    "recall": "`framemill extract SOURCES -o {root} --ops objects --cascade objects`",
}


def explain(text: str, sql: str, tables: Mapping[str, Sequence[str]], root: str) -> str:
    """The message for a person.

    Args:
        text: what DuckDB says. sql: the statement.
        tables: table -> its columns, of all there are. root: the result folder, as commands take it.
    """
    if found := _NO_TABLE.search(text):
        return f"{_no_table(found[1].lower(), tables, root)}; tables here: {', '.join(sorted(tables))}"
    if found := _NO_FILE.search(text):
        return (
            f"{found[1]} is a file, and sql reads the tables of the folder alone: {', '.join(sorted(tables))}"
        )
    first = text.partition("\n")[0].rstrip("!")
    if found := _LINE.search(text):
        first += f" in: {found[1].strip()}"
    if found := _NO_COLUMN.search(text):
        name = found[1] or found[2]
        words = set(re.findall(r"\w+", sql.lower()))
        named = {table: columns for table, columns in tables.items() if table in words}
        columns = dict.fromkeys(column for of in named.values() for column in of)
        return f"{first}{did_you_mean(name, columns)}; columns of {_listed(named)}"
    if not first.startswith(_OF_TABLES):
        return first
    return f"{first}; tables here: {', '.join(sorted(tables))}"


def _no_table(name: str, tables: Mapping[str, Sequence[str]], root: str) -> str:
    begin = f"table {name} does not exist"
    if name in OPS or name in PLUGINS:
        return (
            f"{begin}, as it was not extracted: `framemill extract SOURCES -o {root} --ops {name}` makes it"
        )
    if name in _COMMANDS:
        return f"{begin} yet: {_COMMANDS[name].format(root=root)} makes it"
    return begin + did_you_mean(name, [*tables, *_COMMANDS, *OPS])


def _listed(tables: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}: {', '.join(columns)}" for name, columns in tables.items()) or "no table named"
