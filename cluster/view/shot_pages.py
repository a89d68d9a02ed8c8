"""Pages of shots and files, and counts of facets, out of the viewer's own table."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from framemill.cluster.results.shots import VIEW
from framemill.cluster.results.sql_hints import explain
from framemill.cluster.view.index_files import is_damage
from framemill.cluster.view.index_tables import OWN_NUMBER
from framemill.cluster.view.shot_filters import FACETS, Filter, conditions
from framemill.cluster.view.shot_index import ShotIndex
from framemill.cluster.view.shot_table import COLUMNS
from framemill.errors import UsageError

MAX_VALUES = 30  # of a facet
WHERE_SECONDS = 10.0
_REMEMBERED = 32  # searches, of up to 4 bytes a shot; and as many counts
_IN_FILES = "place, scene_index"
SORTS: Mapping[str, str] = {
    "file": _IN_FILES,
    **{f"-{name}": f"{name} DESC NULLS LAST, {_IN_FILES}" for name in ("sharpness", "motion", "loudness")},
    "-num_faces": f"num_faces DESC NULLS LAST, {_IN_FILES}",
    "-duration": f"duration_seconds DESC, {_IN_FILES}",
    "duration": f"duration_seconds, {_IN_FILES}",
}
_SORTED_BY = "scene_index, sharpness, motion, loudness, num_faces, duration_seconds"
# Numbers of files are in the order of their coming: places are in that of their paths.
_PLACES = "SELECT file, row_number() OVER (ORDER BY uri, source_id) AS place FROM held.files"

Row = dict[str, Any]


class ShotPages:
    """Answers questions of filters; any thread may ask.

    Args:
        index: whose rows are asked.
        root: the result folder, as commands take it.
    """

    def __init__(self, index: ShotIndex, root: str) -> None:
        self._index, self._root = index, root
        self._lock = threading.Lock()
        self._searched: OrderedDict[tuple[int, str, str], pa.Table] = OrderedDict()
        self._counted: OrderedDict[tuple[int, bytes], list[Row]] = OrderedDict()

    def shots(self, wanted: Filter, sort: str, offset: int, limit: int) -> tuple[int, list[Row]]:
        """How many shots fit, and some of them, as columns of `shots` with boxes and facts of their files.

        Raises:
            UsageError: the order is not known, or DuckDB refuses the condition.
        """
        if sort not in SORTS:
            raise UsageError(f"shots cannot be sorted by {sort!r}; choose one of {', '.join(SORTS)}")
        with self._reading(wanted) as cursor:
            condition, parameters = conditions(wanted).whole()
            total = _rows(cursor, f"SELECT count(*) AS n FROM held.shots WHERE {condition}", parameters)
            found = _rows(
                cursor,
                f"""SELECT number FROM (SELECT number, file, {_SORTED_BY} FROM held.shots WHERE {condition})
                JOIN ({_PLACES}) USING (file) ORDER BY {SORTS[sort]} LIMIT {limit:d} OFFSET {offset:d}""",
                parameters,
            )
            return total[0]["n"], self._cards(cursor, [row["number"] for row in found])

    def shots_by_place(self, places: Sequence[tuple[str, int]]) -> list[Row]:
        """Rows of shots by content id and position; those that are not there are left out."""
        with self._index.reading() as cursor:
            cursor.register(
                "places",
                pa.table(
                    {
                        "source_id": pa.array([source for source, _ in places], pa.string()),
                        "scene_index": pa.array([index for _, index in places], pa.int32()),
                        "place": pa.array(range(len(places)), pa.int32()),
                    }
                ),
            )
            found = _rows(
                cursor,
                "SELECT number FROM held.shots JOIN places USING (source_id, scene_index) ORDER BY place",
            )
            return self._cards(cursor, [row["number"] for row in found])

    def shots_of_frames(self, frames: Sequence[tuple[str, int]]) -> list[tuple[str, int] | None]:
        """Content id and position of the shot that each frame is in; None where there is none."""
        with self._index.reading() as cursor:
            cursor.register(
                "frames",
                pa.table(
                    {
                        "source_id": pa.array([source for source, _ in frames], pa.string()),
                        "frame_index": pa.array([frame for _, frame in frames], pa.int64()),
                        "place": pa.array(range(len(frames)), pa.int32()),
                    }
                ),
            )
            found = _rows(
                cursor,
                """SELECT place, source_id, scene_index FROM frames JOIN held.shots USING (source_id)
                WHERE frame_index >= start_frame AND frame_index < end_frame""",
            )
        places = {row["place"]: (row["source_id"], row["scene_index"]) for row in found}
        return [places.get(place) for place in range(len(frames))]

    def stills_of(self, source_id: str) -> list[int]:
        """Indices of the frames that stand for the shots of a file, in order."""
        with self._index.reading() as cursor:
            found = _rows(
                cursor,
                "SELECT best_frame, start_frame, end_frame FROM held.shots WHERE source_id = ?",
                [source_id],
            )
        return sorted({still_frame(row) for row in found})

    def _cards(self, cursor: duckdb.DuckDBPyConnection, numbers: Sequence[int]) -> list[Row]:
        cursor.register("page", pa.table({"number": pa.array(numbers, pa.int32())}))
        found = _rows(cursor, "SELECT number, card FROM held.cards WHERE number IN (SELECT number FROM page)")
        cards = {row["number"]: json.loads(row["card"]) | {"tags": []} for row in found}
        tagged = (
            "SELECT number, value FROM held.tags WHERE number IN (SELECT number FROM page) ORDER BY value"
        )
        for row in _rows(cursor, tagged):
            cards[row["number"]]["tags"].append(row["value"])
        names = _names(cursor)
        for card in cards.values():
            for box in card["boxes"]:
                if box["kind"] == "face":
                    box["name"] = names.get(box["name"].removeprefix("person ")) or box["name"]
            card["people"] = [[person, names.get(person, "")] for person in card["people"] or ()]
        return [cards[number] for number in numbers]

    def names(self) -> dict[str, str]:
        """What people call persons, by id."""
        with self._index.reading() as cursor:
            return _names(cursor)

    def tags(self) -> list[list[Any]]:
        """Every tag and how many shots have it, the most frequent first."""
        with self._index.reading() as cursor:
            found = _rows(
                cursor, "SELECT value, count(*) AS count FROM held.tags GROUP BY 1 ORDER BY 2 DESC, 1"
            )
        return [[row["value"], row["count"]] for row in found]

    def tags_of(self, source_id: str) -> dict[int, list[str]]:
        """The tags of each shot of a file that has some, by its position."""
        with self._index.reading() as cursor:
            rows = _rows(
                cursor,
                """SELECT scene_index, value FROM held.tags JOIN held.shots USING (number)
                WHERE source_id = ? ORDER BY ALL""",
                [source_id],
            )
        found: dict[int, list[str]] = {}
        for row in rows:
            found.setdefault(row["scene_index"], []).append(row["value"])
        return found

    def facets(self, wanted: Filter) -> list[Row]:
        """Counts of the most frequent values of each facet, under all filters but its own.

        Returns:
            Per facet that has values: name, title, values (value, count, shown).

        Raises:
            UsageError: DuckDB refuses the condition.
        """
        asked = (self._index.generation, msgspec.json.encode(wanted))
        with self._lock:
            if asked in self._counted:
                self._counted.move_to_end(asked)
                return self._counted[asked]
        answer = self._count(wanted)
        with self._lock:
            self._counted[asked] = answer
            if len(self._counted) > _REMEMBERED:
                self._counted.popitem(last=False)
        return answer

    def _count(self, wanted: Filter) -> list[Row]:
        with self._reading(wanted) as cursor:
            found = conditions(wanted)
            bits = {name: 1 << place for place, name in enumerate(found.facets)}
            missed = " + ".join(f"if({found.facets[name]}, 0, {bit})" for name, bit in bits.items()) or "0"
            values = ", ".join(f"facet_{name}" for name, facet in FACETS.items() if facet.value)
            # Where nothing but its own values is chosen, all shots count for a facet.
            whole = {name for name in FACETS if not (bits.keys() - {name} or found.always)}
            counts = [_counted(name, ~bits.get(name, 0), name in whole) for name in FACETS]
            # What misses two facets counts for none.
            rows = _rows(
                cursor,
                f"""WITH hits AS MATERIALIZED (
                    FROM (SELECT number, {missed} AS missed, {values} FROM held.shots
                        WHERE {" AND ".join(found.always) or "true"}) WHERE missed & (missed - 1) = 0)
                {" UNION ALL ".join(counts)}""",
                [*found.facet_parameters, *found.parameters],
            )
            names = _names(cursor)
        by_name: dict[str, list[list[Any]]] = {}
        for row in rows:
            name, value = row["facet"], row["value"]
            shown = names.get(value, value) if name == "person" else value
            by_name.setdefault(name, []).append([value, row["count"], shown])
        answer = []
        for name, facet in FACETS.items():
            own = by_name.get(name, [])
            order = {value: place for place, value in enumerate(facet.order)}
            own.sort(key=lambda value: (order.get(value[0], 0), -value[1], value[0]))
            if own:
                answer.append({"name": name, "title": facet.title, "values": own})
        return answer

    def files(self, wanted: Filter, offset: int, limit: int) -> tuple[int, list[Row]]:
        """How many files fit, and some of them by path, each with its best-known shot.

        A file fits that has a shot which fits; without a filter, or where it speaks of files alone, also one
        without shots.

        Raises:
            UsageError: DuckDB refuses the condition.
        """
        with self._reading(wanted) as cursor:
            condition, parameters = "true", list[Any]()
            if not wanted.is_empty():
                inside, parameters = conditions(wanted).whole()
                condition = f"file IN (SELECT file FROM held.shots WHERE {inside})"
                if wanted.words.strip() and not (wanted.chosen() or wanted.where.strip() or wanted.file):
                    condition += " OR contains(lower(name), lower(?))"
                    parameters.append(wanted.words.strip())
            total = _rows(cursor, f"SELECT count(*) AS n FROM held.files WHERE {condition}", parameters)
            rows = _rows(
                cursor,
                f"""SELECT * FROM held.files WHERE {condition} ORDER BY uri, source_id
                LIMIT {limit:d} OFFSET {offset:d}""",
                parameters,
            )
            return total[0]["n"], rows

    @contextmanager
    def _reading(self, wanted: Filter) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor that has the table `fulfilling`, where the filter needs it."""
        with self._index.reading() as cursor:
            if wanted.is_searching():
                cursor.register("fulfilling", self._fulfilling(cursor, wanted.where, wanted.words.strip()))
            yield cursor

    def _fulfilling(self, cursor: duckdb.DuckDBPyConnection, where: str, words: str) -> pa.Table:
        """Numbers of the shots that fulfil a condition that somebody wrote and hold some words.

        Raises:
            UsageError: DuckDB refuses the condition, or it takes longer than `WHERE_SECONDS`.
        """
        asked = (self._index.generation, where, words)
        with self._lock:
            if asked in self._searched:
                self._searched.move_to_end(asked)
                return self._searched[asked]
        numbers = None
        if where.strip():
            # On lines of its own, a condition that ends in a comment leaves the rest of the statement alone.
            sql = f"SELECT {OWN_NUMBER} AS number FROM {VIEW} WHERE (\n{where}\n)"
            numbers = _bounded(cursor, sql, self._root)
        if words:
            # Not LIKE, for which some characters stand for others.
            sql = "SELECT number FROM held.shots WHERE contains(searched, lower(?))"
            if numbers is not None:
                cursor.register("condition", numbers)
                sql += " AND number IN (SELECT number FROM condition)"
            numbers = _numbers(cursor.execute(sql, [words]))
        assert numbers is not None, "there is something to be fulfilled"
        with self._lock:
            self._searched[asked] = numbers
            if len(self._searched) > _REMEMBERED:
                self._searched.popitem(last=False)
        return numbers


def still_frame(shot: Mapping[str, Any]) -> int:
    """The frame that stands for a shot: its best, else the middle one."""
    if shot["best_frame"] is not None:
        return int(shot["best_frame"])
    return int((shot["start_frame"] + max(shot["start_frame"], shot["end_frame"] - 1)) // 2)


def _bounded(cursor: duckdb.DuckDBPyConnection, sql: str, root: str) -> pa.Table:
    timer = threading.Timer(WHERE_SECONDS, cursor.interrupt)
    try:
        if len(cursor.extract_statements(sql)) != 1:
            raise UsageError("the condition holds a semicolon: give one condition, as after WHERE")
        timer.start()
        return _numbers(cursor.execute(sql))
    except duckdb.InterruptException as exc:
        raise UsageError(
            f"the condition took longer than {WHERE_SECONDS:g} s: ask for less, "
            "or use `framemill shots --where`"
        ) from exc
    except duckdb.Error as exc:
        if is_damage(exc):
            raise
        raise UsageError(explain(str(exc).strip(), sql, {VIEW: COLUMNS}, root)) from exc
    finally:
        timer.cancel()


def _numbers(cursor: duckdb.DuckDBPyConnection) -> pa.Table:
    return pa.table({"number": pa.array(cursor.fetchnumpy()["number"], pa.int32())})


def _counted(name: str, mask: int, is_whole: bool) -> str:
    facet = FACETS[name]
    value, rows, condition = f"facet_{name}", "hits", f"missed & {mask} = 0"
    if facet.table:
        value, rows = "value", f"held.{facet.table}"
        if is_whole:
            condition = "true"
        else:
            rows += " JOIN hits USING (number)"
    return f"""(SELECT '{name}' AS facet, {value} AS value, count(*) AS count FROM {rows}
        WHERE {condition} AND {value} IS NOT NULL GROUP BY 2 ORDER BY 3 DESC, 2 LIMIT {MAX_VALUES})"""


def _names(cursor: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return {row["person"]: row["name"] for row in _rows(cursor, "FROM held.names")}


def _rows(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
    cursor.execute(sql, list(parameters))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
