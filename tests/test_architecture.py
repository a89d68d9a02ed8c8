"""What holds the house together: no import circles, no long files, no names that say nothing."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import grimp
import pytest

from tests.test_namespace import FOLDERS
from tests.test_packaging import REPOSITORY

SOURCES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))
SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}


def circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """Modules that reach each other by imports, wherever in a file these stand (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        path.append(module)
        for other in sorted(graph.find_modules_directly_imported_by(module)):
            if other not in number:
                visit(other)
            if other in path:
                low[module] = min(low[module], low[other])
        if low[module] == number[module]:
            ring = set(path[path.index(module) :])
            del path[path.index(module) :]
            if len(ring) > 1:
                found.append(ring)

    for module in sorted(graph.modules):
        if module not in number:
            visit(module)
    return found


@pytest.mark.parametrize("package", ["framemill", "benchmarks"])
def test_nobody_imports_in_circles(package: str) -> None:
    assert circles(grimp.build_graph(package)) == []


def test_a_circle_is_found() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")):
        graph.add_module(importer)
        graph.add_module(imported)
        graph.add_import(importer=importer, imported=imported)
    assert circles(graph) == [{"b", "c"}]


def test_files_are_short_and_their_names_say_something() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert len(lengths) > 200
    assert {path: length for path, length in lengths.items() if length > 400} == {}
    assert statistics.median(lengths.values()) < 140
    assert not {part for path in SOURCES for part in Path(path).with_suffix("").parts} & SAY_NOTHING


def test_what_is_private_in_ray_is_used_in_one_place() -> None:
    """Attributes with an underscore are the linter's affair (SLF001); this finds imports and texts."""
    private = re.compile(r"ray\.[\w.]*\b_[a-z]\w*|_raylet\b|PlainRayHandler")
    place = REPOSITORY / "cluster" / "engines" / "ray" / "private.py"
    sources = [*SOURCES, *(REPOSITORY / "framemill").rglob("*.py")]
    found = {path for path in sources if private.search(path.read_text())}
    assert found == {place}
