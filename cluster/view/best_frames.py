"""The frame that stands for each shot of a page: the `best_frame` of the view `shots`, by its statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import duckdb
import pyarrow as pa

from framemill.cluster.results.shot_rows import shot_rows
from framemill.cluster.view.source_rows import Row, SourceRows

_SCENES = pa.schema(
    [
        *(pa.field("source_id", pa.string()), pa.field("scene_index", pa.int32())),
        *(pa.field("start_seconds", pa.float64()), pa.field("end_seconds", pa.float64())),
        *(pa.field("start_frame", pa.int64()), pa.field("end_frame", pa.int64())),
        pa.field("transition", pa.string()),
    ]
)
# Of sources without `frames` a preview has looked at some.
_FRAMES = """
CREATE VIEW frames AS SELECT *, NULL::FLOAT AS sharpness, NULL::BLOB AS image FROM (
    SELECT * FROM sampled UNION ALL SELECT * FROM previewed
    WHERE source_id NOT IN (SELECT source_id FROM sampled))"""
_BEST = """
SELECT source_id, scene_index, best_frame, best_seconds,
    row_number() OVER (PARTITION BY source_id ORDER BY place DESC) - 1 FROM ({})"""


class BestFrame(NamedTuple):
    """One sampled frame: its index, its time, and the 0-based rank among those of its source."""

    frame_index: int
    pts_seconds: float
    rank: int


def find_best_frames(
    rows: SourceRows, scenes: Mapping[str, Sequence[Row]]
) -> dict[tuple[str, int], BestFrame]:
    """Content id and `scene_index` -> the best sampled frame of the shot; none where none was sampled.

    Args:
        scenes: by content id, as in the table, or made for sources without one.

    Raises:
        DatasetError: a part is gone or damaged.
    """
    seen = ["source_id", "frame_index", "pts_seconds", "frame_score"]
    own = [{"source_id": source, **row} for source, shots in scenes.items() for row in shots]
    tables = {
        "scenes": pa.Table.from_pylist(own, schema=_SCENES),
        "sampled": rows.table("frames", seen),
        "previewed": rows.table("preview", seen),
        "picked": rows.table("thumbnails", ["source_id", "frame_index", "score"]),
    }
    with duckdb.connect(":memory:") as connection:
        for name, table in tables.items():
            connection.register(name, table)
        # DuckDB takes tables whose rows it cannot count for a row each, and would compare all with all.
        connection.execute("SET asof_loop_join_threshold = 0")
        connection.execute(_FRAMES)
        connection.execute("CREATE VIEW thumbnails AS SELECT *, NULL::BLOB AS image FROM picked")
        statement = _BEST.format(shot_rows({"scenes", "frames", "thumbnails"})["framed"])
        found = connection.execute(statement).fetchall()
    return {(source, scene): BestFrame(*best) for source, scene, *best in found}
