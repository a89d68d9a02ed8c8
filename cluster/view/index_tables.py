"""The tables of the viewer's own database, and how they change.

`files`, `shots` with the value of each facet that has one, `labels`, `keywords` and `people` with those of
facets that have several, `cards` with what a grid shows; over them the view `shots`, for conditions that
people write.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from framemill.cluster.results.shots import SHOTS_SCHEMA, VIEW
from framemill.cluster.view.shot_filters import FACETS
from framemill.cluster.view.shot_table import COLUMNS, FILES_SCHEMA, STORED

OWN_NUMBER = "framemill_shot"  # a column that the view has beside those of `shots`
_VALUES = {
    "tags": """CASE WHEN (SELECT has_tags FROM held.curated) THEN coalesce(
        (SELECT list(value ORDER BY value) FROM held.tags t WHERE t.number = s.number), []) END AS tags""",
    "names": """CASE WHEN people IS NOT NULL AND (SELECT has_names FROM held.curated) THEN coalesce(
        (SELECT list(name ORDER BY place, name) FROM (
            SELECT name, min(place) AS place FROM held.people p JOIN held.names ON p.value = person
            WHERE p.number = s.number GROUP BY 1)), []) END AS names""",
}
_TABLES = f"""
CREATE SCHEMA held;
CREATE TABLE held.about (made_by VARCHAR, sequence BIGINT);
CREATE TABLE held.sources (source_id VARCHAR, fingerprint VARCHAR);
CREATE SEQUENCE held.file_numbers;
CREATE SEQUENCE held.shot_numbers;
CREATE TABLE held.files AS SELECT 0::INTEGER AS file, * FROM files;
CREATE TABLE held.shots AS SELECT 0::INTEGER AS number, 0::INTEGER AS file, *, '' AS searched,
    {", ".join(f"'' AS facet_{name}" for name, facet in FACETS.items() if facet.value)} FROM shots;
CREATE TABLE held.cards (number INTEGER, card VARCHAR);
CREATE INDEX card_numbers ON held.cards (number);
CREATE TABLE held.labels (number INTEGER, value VARCHAR);
CREATE TABLE held.keywords (number INTEGER, value VARCHAR);
CREATE TABLE held.people (number INTEGER, value VARCHAR, place INTEGER);
CREATE TABLE held.curated (digest VARCHAR, has_tags BOOLEAN, has_names BOOLEAN);
CREATE TABLE held.tags (number INTEGER, value VARCHAR);
CREATE TABLE held.names (person VARCHAR, name VARCHAR);
CREATE VIEW {VIEW} AS SELECT {", ".join(_VALUES.get(name, name) for name in COLUMNS)}, number AS {OWN_NUMBER}
    FROM held.shots s;
"""
# Small letters, as what is looked for; what is on different lines does not run together.
_LINES = ", ".join(f"array_to_string({name}, chr(10))" for name in ("text", "labels", "keywords"))
_SEARCHED = f"lower(concat_ws(chr(10), words, caption, {_LINES}, name))"
_FACETS = ", ".join(f"{facet.value} AS facet_{name}" for name, facet in FACETS.items() if facet.value)
# What a kept database was made by.
STATEMENTS = (_TABLES, _SEARCHED, _FACETS)


def create_tables(connection: duckdb.DuckDBPyConnection, made_by: str) -> None:
    """Makes all tables, empty, in a database that holds nothing.

    Args:
        made_by: written into it, to be compared when it is opened again.
    """
    connection.register("files", FILES_SCHEMA.empty_table())
    connection.register("shots", SHOTS_SCHEMA.empty_table().select(STORED))
    connection.execute("BEGIN")
    for statement in _TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute("INSERT INTO held.about VALUES (?, -1)", [made_by])
    connection.execute("COMMIT")


def replace_sources(
    cursor: duckdb.DuckDBPyConnection,
    digests: Mapping[str, str | None],
    rows: tuple[pa.Table, pa.Table] | None,
) -> None:
    """Writes all rows of some sources anew, in one transaction.

    Args:
        digests: content id -> digest of what its rows were made of.
        rows: files and shots (see `shot_table.read_shots`); None where the sources are gone.
    """
    ids = {"source_id": pa.array(digests, pa.string()), "digest": pa.array(digests.values(), pa.string())}
    cursor.register("incoming", pa.table(ids))
    cursor.execute("BEGIN")
    mine = "source_id IN (SELECT source_id FROM incoming)"
    if cursor.execute(f"SELECT count(*) FROM held.sources WHERE {mine}").fetchall() != [(0,)]:
        numbers = f"SELECT number FROM held.shots WHERE {mine}"
        for table in ("cards", "labels", "keywords", "people"):
            cursor.execute(f"DELETE FROM held.{table} WHERE number IN ({numbers})")
        for table in ("shots", "files", "sources"):
            cursor.execute(f"DELETE FROM held.{table} WHERE {mine}")
    if rows is not None:
        _insert(cursor, *rows)
    cursor.execute("COMMIT")
    cursor.unregister("incoming")


def _insert(cursor: duckdb.DuckDBPyConnection, files: pa.Table, shots: pa.Table) -> None:
    """Adds the rows of the sources in `incoming`."""
    cursor.register("incoming_files", files)
    cursor.register("incoming_shots", shots)
    cursor.execute("INSERT INTO held.sources FROM incoming")
    cursor.execute(
        """INSERT INTO held.files BY NAME
        SELECT nextval('held.file_numbers')::INTEGER AS file, * FROM incoming_files"""
    )
    cursor.execute(
        """CREATE TEMP TABLE added AS SELECT nextval('held.shot_numbers')::INTEGER AS number, s.*, f.file,
            coalesce(f.video_codec, f.audio_codec) AS codec, f.height, f.status
        FROM incoming_shots s JOIN held.files f USING (source_id)"""
    )
    columns = ", ".join(STORED)
    cursor.execute(
        f"""INSERT INTO held.shots BY NAME SELECT number, file, {columns}, {_SEARCHED} AS searched, {_FACETS}
        FROM added"""
    )
    cursor.execute("INSERT INTO held.cards SELECT number, card FROM added")
    for name in ("labels", "keywords"):
        cursor.execute(f"INSERT INTO held.{name} SELECT number, unnest({name}) FROM added")
    cursor.execute(
        "INSERT INTO held.people SELECT number, unnest(people), unnest(range(len(people))) FROM added"
    )
    cursor.execute("DROP TABLE added")
    cursor.unregister("incoming_files")
    cursor.unregister("incoming_shots")


def replace_curation(
    cursor: duckdb.DuckDBPyConnection, digest: str, tags: pa.Table | None, names: pa.Table | None
) -> None:
    """Writes all tags and names anew, which are few.

    Args:
        digest: of what they were read of.
        tags, names: see `curation`; None where the folder has no such table.
    """
    cursor.execute("BEGIN")
    for table in ("curated", "tags", "names"):
        cursor.execute(f"DELETE FROM held.{table}")
    if tags is not None:
        cursor.register("incoming_tags", tags)
        cursor.execute(
            """INSERT INTO held.tags SELECT number, tag FROM incoming_tags
            JOIN held.shots USING (source_id, scene_index)"""
        )
    if names is not None:
        cursor.register("incoming_names", names)
        cursor.execute("INSERT INTO held.names FROM incoming_names")
    cursor.execute("INSERT INTO held.curated VALUES (?, ?, ?)", [digest, tags is not None, names is not None])
    cursor.execute("COMMIT")
