"""The rows of the viewer's own table, made for some sources at a time.

The view `shots` computes every shot anew, which takes seconds over a large folder. So the viewer keeps its
rows, and with them what a grid draws over each still: boxes of its frame, and labels with numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath

import duckdb
import pyarrow as pa
import pyarrow.dataset

from framemill.cluster.results.commits import WHOLE_SOURCE, DatasetState
from framemill.cluster.results.shot_rows import READ
from framemill.cluster.results.shots import SHOTS_SCHEMA, VIEW, create_shots
from framemill.cluster.results.storage import ResultPath
from framemill.cluster.view.shots import LEAST_LABEL_SCORE, MAX_BOXES, MAX_LABELS
from framemill.cluster.view.source_tables import source_tables
from framemill.errors import DatasetError

MEDIA_COLUMNS = {
    "container": pa.string(), "start_seconds": pa.float64(), "duration_seconds": pa.float64(),
    "video_codec": pa.string(), "audio_codec": pa.string(), "pixel_format": pa.string(), "width": pa.int32(),
    "height": pa.int32(), "fps": pa.float64(),
    "start_timecode": pa.string(), "is_variable_rate": pa.bool_(), "status": pa.string(),
}  # fmt: skip
FILES_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("source_id", "uri", "name")),
        *(pa.field(name, kind) for name, kind in MEDIA_COLUMNS.items()),
        *(pa.field(name, pa.int64()) for name in ("shots", "frame")),
        pa.field("frame_unsafe", pa.float64()),  # of the shot that `frame` is of
    ]
)
# Columns of the view that are kept: all but the picture, which is larger than the rest together.
COLUMNS = tuple(name for name in SHOTS_SCHEMA.names if name != "still")
# What people say of shots changes while the viewer is open, and names reach over files: see `curation`.
CURATED = {"tags": "tags", "names": "person_names"}  # column -> table
STORED = tuple(name for name in COLUMNS if name not in CURATED)
READ_TABLES = tuple(name for name in READ if name not in CURATED.values())  # whose rows these depend on
# What a grid shows of a shot: in one column, since many columns of rows here and there cost more to gather.
_ON_CARD = (
    *("source_id", "scene_index", "name", "start_seconds", "end_seconds", "start_frame", "end_frame"),
    *("transition", "best_frame", "best_seconds", "text", "words", "people", "uri", "container"),
    *("video_codec", "pixel_format", "width", "height", "fps", "start_timecode", "is_variable_rate"),
    *("file_start_seconds", "labels", "caption"),
)
_MEASURED = ("sharpness", "motion", "loudness", "unsafe")
_CARD = ", ".join(
    (
        *(f"'{name}': {name}" for name in _ON_CARD),
        *(f"'{name}': if(isfinite({name}), {name}, NULL)" for name in _MEASURED),
        *(f"'{name}': coalesce({name}, [])" for name in ("boxes", "shown")),
    )
)
_CARD = f"{{{_CARD}}}"
MEMORY = "128MB"

Tables = Mapping[str, pyarrow.dataset.Dataset]


@contextmanager
def connected(
    tables: Mapping[str, pyarrow.dataset.Dataset | pa.Table], memory: str = MEMORY
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB over tables of a result folder, of bounded memory.

    Raises:
        DatasetError: a part cannot be read, or memory does not do.
    """
    with (
        tempfile.TemporaryDirectory(prefix="framemill-view-") as spill,
        duckdb.connect(":memory:") as connection,
    ):
        connection.execute("SET temp_directory = ?", [spill])
        connection.execute(f"SET memory_limit = '{memory}'")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET python_enable_replacements = false")
        for name, table in tables.items():
            connection.register(name, table)
        try:
            yield connection
        except duckdb.Error as exc:
            raise DatasetError(str(exc).strip()) from exc


def read_shots(root: ResultPath, state: DatasetState) -> tuple[pa.Table, pa.Table]:
    """The rows of all sources of a state for `ShotIndex`.

    Args:
        state: of some hundred sources at most (`DatasetState.narrowed`): their tables are joined in memory.

    Returns:
        Files, in `FILES_SCHEMA`, and shots: `STORED` and `card`, which is JSON of what a grid shows of one:
        columns, the file's facts, `boxes` (kind, name, x0, y0, x1, y1 in display pixels) and `shown` (label,
        the most of its objects at once, the best score of its class).

    Raises:
        DatasetError: a part is gone or damaged.
    """
    named = _named(state)
    tables = source_tables(root, state, READ_TABLES, named["source_id"].to_pylist())
    with connected(tables | {"sources": named}) as connection:
        columns = ", ".join(STORED)
        if create_shots(connection, tables, state, f"SELECT {columns} FROM {VIEW}"):
            connection.execute(f"CREATE TABLE made AS SELECT {columns} FROM {VIEW}")
        else:
            connection.register("made", SHOTS_SCHEMA.empty_table().select(STORED))
        files = _files(connection, tables, named, state)
        connection.register("files", files)
        # Numbers that JSON lacks are none.
        shots = connection.sql(
            f"""SELECT made.*, to_json({_CARD})::VARCHAR AS card FROM made
            JOIN (SELECT * EXCLUDE (name, uri) RENAME (start_seconds AS file_start_seconds) FROM files) f
                USING (source_id)
            LEFT JOIN ({_boxes(tables)}) drawn USING (source_id, scene_index)
            LEFT JOIN ({_shown(tables)}) told USING (source_id, scene_index)
            ORDER BY made.uri, source_id, scene_index"""
        ).to_arrow_table()
    return files, shots


def _named(state: DatasetState) -> pa.Table:
    first: dict[str, str] = {}
    for uri, record in state.sources.items():
        if record.source_id:
            first[record.source_id] = min(uri, first.get(record.source_id, uri))
    return pa.table({"source_id": pa.array(first, pa.string()), "uri": pa.array(first.values(), pa.string())})


def _files(
    connection: duckdb.DuckDBPyConnection, tables: Tables, named: pa.Table, state: DatasetState
) -> pa.Table:
    counts = dict(connection.execute("SELECT source_id, count(*) FROM made GROUP BY 1").fetchall())
    frames = dict(
        connection.execute(
            """SELECT source_id,
                arg_max({'frame': best_frame, 'frame_unsafe': unsafe}, (sharpness, -scene_index))
            FROM made WHERE best_frame IS NOT NULL GROUP BY 1"""
        ).fetchall()
    )
    media: dict[str, dict[str, object]] = {}
    if "media" in tables:
        there = [name for name in MEDIA_COLUMNS if name in tables["media"].schema.names]
        for row in tables["media"].to_table(columns=["source_id", *there]).to_pylist():
            media.setdefault(row["source_id"], row)
    rows = [
        {
            "duration_seconds": state.sources[row["uri"]].duration_seconds,
            "status": _status(state, row["source_id"], row["uri"]),
            **{name: value for name, value in media.get(row["source_id"], {}).items() if value is not None},
            **row,
            "name": PurePosixPath(row["uri"]).name or row["uri"],
            "shots": counts.get(row["source_id"], 0),
            **frames.get(row["source_id"], {}),
        }
        for row in named.to_pylist()
    ]
    return pa.Table.from_pylist(rows, FILES_SCHEMA)


def _status(state: DatasetState, *owners: str) -> str:
    """What is said of a file as a whole, where `media` says nothing."""
    told = (state.entries.get((WHOLE_SOURCE, owner)) for owner in owners)
    return next((entry.status for entry in told if entry is not None), "ok")


def _boxes(tables: Tables) -> str:
    """What is in the frame that stands for a shot: faces, then objects by score, then lines of text."""
    edges = "box.x0 AS x0, box.y0 AS y0, box.x1 AS x1, box.y1 AS y1"
    found = []
    if _has(tables, "faces", "frame_index", "face_index", "box"):
        if _has(tables, "people", "frame_index", "face_index", "person_id"):
            people, name = "LEFT JOIN people USING (source_id, frame_index, face_index)", "person_id"
        else:
            people, name = "", "NULL"
        found.append(
            f"""SELECT source_id, frame_index, 'face' AS kind, coalesce('person ' || {name}, 'face') AS name,
            {edges}, 0 AS place, face_index::DOUBLE AS within FROM faces {people}"""
        )
    if _has(tables, "objects", "frame_index", "label", "score", "box"):
        found.append(
            f"""SELECT source_id, frame_index, 'object', label::VARCHAR, {edges}, 1, -score::DOUBLE
            FROM objects"""
        )
    if _has(tables, "text", "frame_index", "text_index", "text", "polygon"):
        x, y = "polygon[1:-:2]", "polygon[2:-:2]"
        corners = ", ".join(
            f"list_{most}({of})" for most, of in (("min", x), ("min", y), ("max", x), ("max", y))
        )
        found.append(
            f"SELECT source_id, frame_index, 'text', text, {corners}, 2, text_index::DOUBLE FROM text"
        )
    box = "{'kind': kind, 'name': seen.name, 'x0': x0, 'y0': y0, 'x1': x1, 'y1': y1}"
    if not found:
        return """SELECT source_id, scene_index,
            NULL::STRUCT(kind VARCHAR, name VARCHAR, x0 FLOAT, y0 FLOAT, x1 FLOAT, y1 FLOAT)[] AS boxes
            FROM made WHERE false"""
    return f"""SELECT made.source_id, scene_index, list({box} ORDER BY place, within)[:{MAX_BOXES}] AS boxes
        FROM made JOIN ({" UNION ALL ".join(found)})
            seen(source_id, frame_index, kind, name, x0, y0, x1, y1, place, within)
        ON made.source_id = seen.source_id AND made.best_frame = seen.frame_index GROUP BY 1, 2"""


def _shown(tables: Tables) -> str:
    """Objects with the most of a kind at once, then classes of whole frames with their best score."""
    found = []
    if _has(tables, "objects", "frame_index", "label"):
        counted = """SELECT source_id, frame_index, label::VARCHAR AS label, count(*)::INTEGER AS number,
            NULL::DOUBLE AS score FROM objects GROUP BY ALL"""
        found.append(_most(counted, "number"))
    if _has(tables, "labels", "frame_index", "label", "score"):
        scored = f"""SELECT source_id, frame_index, label::VARCHAR AS label, NULL::INTEGER AS number,
            score::DOUBLE AS score FROM labels WHERE score >= {LEAST_LABEL_SCORE}"""
        found.append(_most(scored, "score"))
    one = "{'label': label, 'number': coalesce(number, 0), 'score': round(coalesce(score, 0), 2)}"
    if not found:
        return f"""SELECT source_id, scene_index, [{one}] AS shown FROM
            (SELECT *, '' AS label, 0 AS number, 0.0::DOUBLE AS score FROM made WHERE false)"""
    return f"""SELECT source_id, scene_index, list({one} ORDER BY number DESC NULLS LAST, score DESC, label)
        AS shown FROM ({" UNION ALL ".join(found)}) GROUP BY 1, 2"""


def _most(rows: str, by: str) -> str:
    return f"""SELECT source_id, scene_index, label, max(number) AS number, max(score) AS score
        FROM (SELECT r.*, s.scene_index, s.end_frame FROM ({rows}) r ASOF JOIN made s
            ON r.source_id = s.source_id AND r.frame_index >= s.start_frame)
        WHERE frame_index < end_frame GROUP BY source_id, scene_index, label
        QUALIFY row_number() OVER (PARTITION BY source_id, scene_index ORDER BY max({by}) DESC, label)
            <= {MAX_LABELS}"""


def _has(tables: Tables, name: str, *columns: str) -> bool:
    return name in tables and {"source_id", *columns}.issubset(tables[name].schema.names)
