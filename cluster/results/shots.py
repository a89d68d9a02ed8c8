"""The view `shots`: a row for each shot of `scenes`, with what the other tables know of it.

What was not computed is null. What was computed, and found nothing, is 0 or empty; but null where no frame of
the shot was looked at, since nobody knows what is there. Tags and names are given, not computed: as
soon as a folder has any, a shot without them has an empty list.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

import duckdb
import pyarrow as pa
import pyarrow.dataset

from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.shot_rows import NUM_LABELS, READ, SEEN, shot_rows
from framemill.ops.columns import column

VIEW = "shots"
_DONE = "framemill.done"
_SQL_TYPES = {
    pa.string(): "VARCHAR", pa.int32(): "INTEGER", pa.int64(): "BIGINT", pa.float64(): "DOUBLE",
    pa.binary(): "BLOB", pa.list_(pa.string()): "VARCHAR[]",
}  # fmt: skip
_LIST = pa.list_(pa.string())
SHOTS_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("uri", pa.string(), "where the file lies; the first path in order where several hold it"),
        column("name", pa.string(), "the file's own name"),
        column("scene_index", pa.int32(), "0-based position of the shot in the source, as in `scenes`"),
        column("start_seconds", pa.float64(), "time of its first frame, from the start of the presentation"),
        column("end_seconds", pa.float64(), "its end, exclusive"),
        column("duration_seconds", pa.float64(), "its length, >= 0"),
        column("start_frame", pa.int64(), "its first frame, 0-based"),
        column("end_frame", pa.int64(), "one past its last frame"),
        column("transition", pa.string(), "how it begins: start, cut, fade or dissolve, as in `scenes`"),
        column("num_frames", pa.int64(), "sampled frames in it (`frames`)", nullable=True),
        column(
            "best_frame",
            pa.int64(),
            "index of its best sampled frame: the one with the highest score of `thumbnails`; without one, "
            "that with the highest frame_score, where there is one away from cuts (0.25 s), fades and "
            "dissolves (0.5 s) the highest of these",
            nullable=True,
        ),
        column("best_seconds", pa.float64(), "time of that frame", nullable=True),
        column(
            "still",
            pa.binary(),
            "that frame as a JPEG; null where neither `frames` nor `thumbnails` holds its picture",
            nullable=True,
        ),
        column("num_faces", pa.int64(), "most faces in one of its frames (`faces`)", nullable=True),
        column(
            "face_share", pa.float64(), "largest face as a share of the picture's area, 0..1", nullable=True
        ),
        column("people", _LIST, "person_id of those seen, the most often seen first", nullable=True),
        column(
            "names",
            _LIST,
            "names of those of them who have one (`person_names`), in the same order; null until the folder "
            "has names",
            nullable=True,
        ),
        column(
            "labels",
            _LIST,
            f"what is seen, by the number of frames that show it, at most {NUM_LABELS}: classes of `objects` "
            "and the first of each frame in `labels`",
            nullable=True,
        ),
        column(
            "text",
            _LIST,
            "distinct lines on screen in order of appearance, of `text_spans`, else of `text`",
            nullable=True,
        ),
        column(
            "words",
            pa.string(),
            "what is said meanwhile: words of the transcript where their times are known, else whole "
            "segments; the first stream of subtitles where the source has no rows of speech",
            nullable=True,
        ),
        column("speakers", _LIST, "who speaks, the longest first", nullable=True),
        column("sharpness", pa.float64(), "mean of its sampled frames, as in `frames`", nullable=True),
        column(
            "motion",
            pa.float64(),
            "mean absolute difference from frame to frame in 8-bit levels, >= 0 (`stretches`)",
            nullable=True,
        ),
        column(
            "movement",
            pa.float64(),
            "mean speed of what is seen, in long sides of the picture per second, >= 0, whether it moves or "
            "the camera (`motion`)",
            nullable=True,
        ),
        column(
            "camera",
            pa.string(),
            "what the camera does: static, pan, tilt, zoom, roll or handheld (`motion`)",
            nullable=True,
        ),
        column(
            "camera_direction",
            pa.string(),
            "left, right, up, down, in, out, clockwise or counterclockwise; null where none (`motion`)",
            nullable=True,
        ),
        column(
            "loudness",
            pa.float64(),
            "mean power of its sound in dBFS, >= -120 (`audio_levels`); null without sound",
            nullable=True,
        ),
        column(
            "music_share",
            pa.float64(),
            "share of its length with music, 0..1 (`music_or_speech`)",
            nullable=True,
        ),
        column(
            "unsafe",
            pa.float64(),
            "highest probability of one of its frames to show nakedness or sex, 0..1 (`moderation`)",
            nullable=True,
        ),
        column(
            "caption",
            pa.string(),
            "what a model says of it (`captions`), or else of the clips in it; null where it said nothing",
            nullable=True,
        ),
        column(
            "keywords",
            _LIST,
            "keywords that the model gave with that, by the alphabet; null likewise",
            nullable=True,
        ),
        column(
            "tags",
            _LIST,
            "what people tagged it with (`tags`), by the alphabet; null until the folder has tags",
            nullable=True,
        ),
    ]
)


def create_shots(
    connection: duckdb.DuckDBPyConnection,
    tables: Mapping[str, pyarrow.dataset.Dataset],
    state: DatasetState,
    sql: str | None = None,
) -> bool:
    """Makes the view over tables that are registered, and answers whether it did: it needs `scenes`.

    Args:
        connection: whose settings are not locked yet.
        sql: the one statement that the view is made for; what it does not ask for is null in the view, since
            DuckDB would compute and throw away most of it. None: everything is there.
    """
    there = {name for name, columns in READ.items() if _has(tables.get(name), columns)}
    if VIEW in tables or "scenes" not in there:
        return False
    asked = SHOTS_SCHEMA.names if sql is None else _asked(connection, sql)
    # DuckDB takes tables whose rows it cannot count for a row each, and would compare all with all.
    connection.execute("SET asof_loop_join_threshold = 0")
    view = _view(there, _cascaded(state) if "candidates" in there else (), asked)
    if _DONE in view:
        connection.execute("CREATE SCHEMA framemill")
        connection.register("framemill_done", _done(state, there))
        connection.execute(f"CREATE TABLE {_DONE} AS FROM framemill_done")
        connection.unregister("framemill_done")
    connection.execute(view)
    return True


def _asked(connection: duckdb.DuckDBPyConnection, sql: str) -> Collection[str]:
    """Columns of the view that a statement reads, as DuckDB itself finds them on an empty table."""
    columns = ", ".join(f"{field.name} {_SQL_TYPES[field.type]}" for field in SHOTS_SCHEMA)
    names = connection.execute(
        "SELECT name FROM duckdb_optimizers() WHERE name <> 'unused_columns'"
    ).fetchall()
    connection.execute(f"CREATE TABLE {VIEW} ({columns})")
    try:
        connection.execute("SET disabled_optimizers = ?", [",".join(name for (name,) in names)])
        plan = connection.execute(f"EXPLAIN (FORMAT JSON) {sql}").fetchall()[0][1]
    except duckdb.Error:
        return list(SHOTS_SCHEMA.names)  # such as DESCRIBE; what is wrong is told when the statement runs
    finally:
        connection.execute("RESET disabled_optimizers")
        connection.execute(f"DROP TABLE {VIEW}")
    asked: set[str] = set()
    nodes = json.loads(plan)
    while nodes:
        node = nodes.pop()
        nodes += node["children"]
        facts = node["extra_info"]
        if str(facts.get("Table", "")).endswith(f".{VIEW}"):
            found = facts["Projections"]
            asked.update([found] if isinstance(found, str) else found)
    return asked


def _has(table: pyarrow.dataset.Dataset | None, columns: Collection[str]) -> bool:
    return table is not None and {"source_id", *columns}.issubset(table.schema.names)


def _done(state: DatasetState, there: Collection[str]) -> pa.Table:
    """A row for each source, with a column for each table: whether it was computed."""
    done = {
        key for key, entry in state.entries.items() if key[0] in there and entry.status in ("ok", "partial")
    }
    sources = sorted({owner for _, owner in done})
    columns = {name: pa.array([(name, source) in done for source in sources], pa.bool_()) for name in READ}
    return pa.table({"source_id": pa.array(sources, pa.string()), **columns})


def _cascaded(state: DatasetState) -> set[str]:
    """Tables that looked only at the frames that `candidates` kept or audited."""
    found = {"candidates"}
    while True:
        more = {
            name for name, key in state.keys.items() if found.intersection(key.get("after") or ())
        } - found
        if not more:
            return found
        found |= more


def _view(there: Collection[str], cascaded: Collection[str], asked: Collection[str]) -> str:
    joins = shot_rows(there)

    def looked(table: str) -> str:
        """Whether the table is there for the source, and saw a frame of the shot."""
        if table in cascaded:
            return f"(done.{table} AND kept.num_frames > 0)"
        if "framed" in joins:
            return f"(done.{table} AND (NOT done.frames OR framed.num_frames > 0))"
        return f"done.{table}"

    def of(alias: str, value: str) -> str:
        return f"{alias}.{value}" if alias in joins else "NULL"

    def found(alias: str, value: str, nothing: str, condition: str) -> str:
        return f"CASE WHEN {condition} THEN coalesce({of(alias, value)}, {nothing}) END"

    values = {
        **{name: f"scenes.{name}" for name in ("source_id", *READ["scenes"])},
        "uri": "named.uri",
        "name": r"regexp_extract(named.uri, '[^/\\]*$')",
        "duration_seconds": "scenes.end_seconds - scenes.start_seconds",
        "num_frames": found("framed", "num_frames", "0", "done.frames"),
        **{name: of("framed", name) for name in ("best_frame", "best_seconds", "still", "sharpness")},
        "num_faces": found("faced", "num_faces", "0", looked("faces")),
        "face_share": f"CASE WHEN {looked('faces')} AND {of('faced', 'num_faces')} IS NULL THEN 0 "
        f"ELSE {of('faced', 'face_share')} END",
        "people": found("met", "people", "[]", looked("people")),
        "names": found("called", "names", "[]", looked("people")) if "called" in joins else "NULL",
        "labels": found("seen", "labels", "[]", " OR ".join(map(looked, SEEN))),
        "text": f"coalesce({found('spanned', 'text', '[]', looked('text_spans'))}, "
        f"{found('written', 'text', '[]', looked('text'))})",
        "words": found("said", "words", "''", "done.transcript"),
        "speakers": found("spoke", "speakers", "[]", "done.speakers"),
        "motion": of("moved", "motion"),
        "movement": of("filmed", "amount"),
        "camera": of("filmed", "kind"),
        "camera_direction": of("filmed", "direction"),
        "loudness": of("heard", "loudness"),
        "music_share": found("played", "music_share", "0", "done.music_or_speech"),
        "unsafe": of("judged", "unsafe"),
        **{name: of("captioned", name) for name in ("caption", "keywords")},
        "tags": "coalesce(tagged.tags, [])" if "tagged" in joins else "NULL",
    }
    chosen = {field: values[field.name] if field.name in asked else "NULL" for field in SHOTS_SCHEMA}
    columns = [
        f"CAST({value} AS {_SQL_TYPES[field.type]}) AS {field.name}" for field, value in chosen.items()
    ]
    joined = {
        "done": f"LEFT JOIN {_DONE} USING (source_id)",
        "named": "LEFT JOIN (SELECT source_id, uri FROM sources) named USING (source_id)",
    }
    for alias, rows in joins.items():
        joined[alias] = f"LEFT JOIN ({rows}) {alias} USING (source_id, scene_index)"
    text = ",\n".join(columns)
    needed = [join for alias, join in joined.items() if f"{alias}." in text]
    return "\n".join([f"CREATE VIEW {VIEW} AS SELECT {text} FROM scenes", *needed])
