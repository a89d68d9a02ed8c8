"""Which shots a page asks for: facets, words, a file, and a condition in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from framemill.errors import UsageError

_LENGTHS = ((1, "< 1 s"), (2, "1-2 s"), (4, "2-4 s"), (8, "4-8 s"), (16, "8-16 s"), (32, "16-32 s"))
LENGTHS = (*(name for _, name in _LENGTHS), "> 32 s")
_LENGTH = "CASE " + " ".join(f"WHEN duration_seconds < {end} THEN '{name}'" for end, name in _LENGTHS)


def _some(column: str, nothing: str) -> str:
    return f"CASE WHEN {column} IS NOT NULL THEN if({column} <> {nothing}, 'with', 'without') END"


@dataclass(frozen=True, slots=True)
class Facet:
    """One way to part shots.

    Attributes:
        title: for a person. value: SQL of its one value over columns of `shots` and facts of the file, kept
            in the column `facet_NAME` of `held.shots`; "" where a shot has several.
        table: in `held`, of `number` and `value`, where a shot has several.
        order: of its values, where not the most frequent come first.
    """

    title: str
    value: str = ""
    table: str = ""
    order: tuple[str, ...] = ()


FACETS: Mapping[str, Facet] = {
    "label": Facet("Labels", table="labels"),
    "person": Facet("People", table="people"),
    "tag": Facet("Tags", table="tags"),
    "keyword": Facet("Keywords of captions", table="keywords"),
    "length": Facet("Length", f"{_LENGTH} ELSE '{LENGTHS[-1]}' END", order=LENGTHS),
    "transition": Facet("Begins with", "transition"),
    "camera": Facet("Camera", "camera"),
    "faces": Facet(
        "Faces at once",
        "CASE WHEN num_faces >= 3 THEN '3+' ELSE num_faces::VARCHAR END",
        order=("0", "1", "2", "3+"),
    ),
    "text": Facet("Text on screen", _some("text", "[]"), order=("with", "without")),
    "speech": Facet("Words", _some("words", "''"), order=("with", "without")),
    "speakers": Facet(
        "Speakers",
        "CASE WHEN len(speakers) >= 3 THEN '3+' ELSE len(speakers)::VARCHAR END",
        order=("0", "1", "2", "3+"),
    ),
    "codec": Facet("Codec", "codec"),
    "height": Facet("Height", "height::VARCHAR"),
    "status": Facet("File", "status"),
}


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page asks for; what is absent excludes nothing.

    Attributes:
        facets: name in `FACETS` -> values, of which a shot has to have one; all facets have to fit.
        where: a condition over the view `shots` in DuckDB's SQL.
        words: literal text, in any case, in what is said or shown, captions, labels and file names.
        file: content id.
    """

    facets: dict[str, list[str]] = {}
    where: str = ""
    words: str = ""
    file: str = ""

    def chosen(self) -> dict[str, list[str]]:
        """Facets of which a value is chosen."""
        return {name: values for name, values in self.facets.items() if values}

    def is_searching(self) -> bool:
        """Whether each shot has to be looked through."""
        return bool(self.where.strip() or self.words.strip())

    def is_empty(self) -> bool:
        """Whether it lets every shot through."""
        return not (self.chosen() or self.is_searching() or self.file)


def parse_filter(text: str) -> Filter:
    """Reads what a page sends.

    Raises:
        UsageError: it is no filter, or names a facet that there is not.
    """
    if not text:
        return Filter()
    try:
        found = msgspec.json.decode(text, type=Filter)
    except (msgspec.MsgspecError, UnicodeError) as exc:
        raise UsageError(
            f"the filter is not understood: {exc}; give JSON with facets, where, words or file"
        ) from exc
    for name in found.facets:
        if name not in FACETS:
            raise UsageError(f"there is no facet {name!r}; there are {', '.join(FACETS)}")
    return found


@dataclass(slots=True)
class Conditions:
    """SQL over `held.shots s` with its parameters.

    Attributes:
        always: what every shot has to fulfil. parameters: of it.
        facets: name -> condition of each chosen facet. facet_parameters: of all of them, in order.
    """

    always: list[str] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)
    facets: dict[str, str] = field(default_factory=dict)
    facet_parameters: list[Any] = field(default_factory=list)

    def whole(self) -> tuple[str, list[Any]]:
        """All of them in one, and its parameters."""
        both = [*self.always, *self.facets.values()]
        return " AND ".join(both) or "true", [*self.parameters, *self.facet_parameters]


def conditions(wanted: Filter) -> Conditions:
    """The conditions of a filter.

    Its words and its condition in SQL are looked through once: the shots that fulfil both have to be there as
    `fulfilling`, a table of numbers.
    """
    found = Conditions()
    if wanted.file:
        found.always.append("source_id = ?")
        found.parameters.append(wanted.file)
    if wanted.is_searching():
        found.always.append("number IN (SELECT number FROM fulfilling)")
    for name, values in wanted.chosen().items():
        facet = FACETS[name]
        marks = ", ".join("?" * len(values))
        if facet.table:
            condition = f"number IN (SELECT number FROM held.{facet.table} WHERE value IN ({marks}))"
        else:
            condition = f"coalesce(facet_{name} IN ({marks}), false)"
        found.facets[name] = condition
        found.facet_parameters += values
    return found
