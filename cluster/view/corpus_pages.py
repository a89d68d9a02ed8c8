"""What the viewer says of a whole result folder: its head, people, duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from framemill.cluster.corpus.names import read_names
from framemill.cluster.results.commits import WHOLE_SOURCE
from framemill.cluster.results.corpus_tables import uris_by_source
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.view.overview import failures, runs
from framemill.cluster.view.page_rows import corners_of, still_address
from framemill.cluster.view.shot_table import connected
from framemill.cluster.view.source_rows import SourceRows
from framemill.cluster.view.source_tables import source_tables
from framemill.cluster.view.stills import Wanted

MAX_PEOPLE, MAX_SIGHTINGS = 40, 5
_MEMORY = "64MB"
MAX_GROUPS, MAX_TWINS = 100, 8
_NO_SCORES = "(SELECT '' AS source_id, 0 AS frame_index, NULL::FLOAT AS unsafe LIMIT 0)"

Row = dict[str, Any]


def overview(dataset: Dataset) -> Row:
    """The head of the page: totals, models, runs, costs, names of tables, number of failures."""
    state, rows = dataset.state, SourceRows(dataset)
    models, past, costs = runs(rows)
    whole = [entry for (table, _), entry in state.entries.items() if table == WHOLE_SOURCE]
    return {
        "title": PurePosixPath(str(dataset.root)).name or str(dataset.root),
        "totals": {
            "files": len(state.sources),
            "seconds": round(sum(record.duration_seconds for record in state.sources.values()), 1),
            "bytes": sum(record.num_bytes for record in state.sources.values()),
            "shots": sum(entry.rows for (table, _), entry in state.entries.items() if table == "scenes"),
            "failed": sum(entry.status != "partial" for entry in whole),
            "partial": sum(entry.status == "partial" for entry in whole),
        },
        "models": models,
        "runs": past,
        "costs": costs,
        "tables": sorted(state.keys.keys() | set(state.tables())),
        "num_failures": sum(part.rows for part in state.parts_of("errors")),
        "sequence": state.sequence,
    }


def errors(dataset: Dataset, offset: int, limit: int) -> tuple[int, list[Row]]:
    """How many rows `errors` has, and some of them: uri, operation, status, message; whole failures first."""
    found = failures(SourceRows(dataset))
    return len(found), found[offset : offset + limit]


def people(dataset: Dataset) -> list[Row]:
    """The most frequent people: person, name, faces, files, and sightings with the still of each.

    A sighting has source, frame, at (seconds), still (its address), and wanted (what is to be made of it).

    Raises:
        DatasetError: a part cannot be read.
    """
    tables = source_tables(dataset.root, dataset.state, ("people", "faces"), None)
    if not {"people", "faces"} <= tables.keys():
        return []
    with connected(tables, _MEMORY) as connection:
        connection.execute("SET threads = 1")  # each holds groups of its own
        counted = connection.execute(
            f"""SELECT person_id, count(*) AS faces, count(DISTINCT hash(source_id)) AS files FROM people
            GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MAX_PEOPLE}"""
        ).fetchall()
        persons = pa.array([row[0] for row in counted], pa.string())
        connection.register("counted", pa.table({"person_id": persons}))
        # As written: DuckDB takes tables whose rows it cannot count for small, and would hold all faces.
        connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        connection.execute(
            "CREATE TABLE chosen AS SELECT people.* FROM people JOIN counted USING (person_id)"
        )
        seen = connection.execute(
            f"""SELECT person_id, source_id, frame_index, pts_seconds, [box.x0, box.y0, box.x1, box.y1] FROM (
                SELECT *, (box.x1 - box.x0)::DOUBLE * (box.y1 - box.y0) * score AS telling
                FROM faces JOIN chosen USING (source_id, frame_index, face_index)
            ) QUALIFY row_number() OVER (PARTITION BY person_id ORDER BY telling DESC, source_id, frame_index)
                <= {MAX_SIGHTINGS} ORDER BY telling DESC, source_id, frame_index"""
        ).fetchall()
    names = read_names(dataset)
    sightings: dict[str, list[Row]] = {}
    for person, source, frame, at, box in seen:
        wanted = Wanted(source, frame, corners_of(box))
        sightings.setdefault(person, []).append(
            {
                "source": source,
                "frame": frame,
                "at": round(at, 3),
                "still": still_address(wanted),
                "wanted": wanted,
            }
        )
    return [
        {
            "person": person,
            "name": names.get(person, ""),
            "faces": faces,
            "files": files,
            "sightings": sightings.get(person, []),
        }
        for person, faces, files in counted
    ]


def duplicates(dataset: Dataset) -> list[Row]:
    """Groups of videos, then of frames, that are nearly identical: kind, size, and items of each.

    An item has source, name, uri, at (seconds), still and unsafe, the score of its frame, None without one.

    Raises:
        DatasetError: a part cannot be read.
    """
    tables = source_tables(dataset.root, dataset.state, ("duplicates", "scenes", "moderation"), None)
    if "duplicates" not in tables:
        return []
    scores = "moderation" if "moderation" in tables else _NO_SCORES
    with connected(tables, _MEMORY) as connection:
        rows = connection.execute(
            f"""WITH groups AS (
                SELECT kind, group_id, count(*) AS size, count(DISTINCT source_id) AS files FROM duplicates
                GROUP BY 1, 2 HAVING size > 1
                ORDER BY kind <> 'video', files DESC, size DESC, group_id LIMIT {MAX_GROUPS}
            )
            SELECT kind, group_id, size, duplicates.source_id, duplicates.frame_index, duplicates.pts_seconds,
                unsafe
            FROM duplicates JOIN groups USING (kind, group_id) LEFT JOIN {scores} scored
                ON duplicates.source_id = scored.source_id
                AND coalesce(duplicates.frame_index, 0) = scored.frame_index
            QUALIFY row_number() OVER (PARTITION BY kind, group_id ORDER BY duplicates.source_id,
                duplicates.frame_index) <= {MAX_TWINS}
            ORDER BY kind <> 'video', files DESC, size DESC, group_id, duplicates.source_id,
                duplicates.frame_index"""
        ).fetchall()
    uris = uris_by_source(dataset)
    found: dict[tuple[str, str], Row] = {}
    for kind, group, size, source, frame, at, unsafe in rows:
        uri = uris.get(source, [source])[0]
        own = found.setdefault((kind, group), {"kind": kind, "size": size, "items": []})
        own["items"].append(
            {
                "source": source,
                "name": PurePosixPath(uri).name or uri,
                "uri": uri,
                "at": round(at or 0.0, 3),
                "still": still_address(Wanted(source, frame or 0)),
                "unsafe": unsafe,
            }
        )
    return list(found.values())


def bars(facets: Sequence[Row]) -> dict[str, list[list[Any]]]:
    """Histograms of the head, out of the counts of facets."""
    titles = {"length": "Length of shots", "codec": "Codec, by shots", "label": "Labels, by shots"}
    return {
        titles[facet["name"]]: [value[:2] for value in facet["values"][:12]]
        for facet in facets
        if facet["name"] in titles
    }
