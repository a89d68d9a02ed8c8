"""Names that people give to the identities of `people`: the table `person_names`.

A name hangs on some of the person's faces, not on the id: when people are found again, whoever has these
faces has the name. Where faces with several names meet in one person, most faces decide.
"""

from __future__ import annotations

import time
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.corpus.tags import MAX_CHARACTERS, clean_label
from framemill.cluster.results.curated import curated_rows, replace_curated, select
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.cluster.results.shot_rows import names_of_people
from framemill.errors import UsageError
from framemill.ops.columns import column

TABLE = "person_names"
MAX_FACES = 32  # that a name hangs on: enough to outvote a few that went to somebody else
NAMES_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("frame_index", pa.int64(), "0-based position among the presented frames of the source"),
        column("face_index", pa.int32(), "the face: its rank in the frame, as in `faces`"),
        column("name", pa.string(), f"1 to {MAX_CHARACTERS} characters, in Unicode's composed form (NFC)"),
        column("created_at", pa.timestamp("ms"), "when it was given, UTC"),
    ]
)
_FACE = ["source_id", "frame_index", "face_index"]
_PEOPLE = [*_FACE, "person_id", "distance"]


def name_person(dataset: Dataset, run_id: str, person_id: str, name: str) -> bool:
    """Names a person of `people`, or takes the name away, in one commit. Call it inside `dataset.hold`.

    The name hangs on at most `MAX_FACES` faces: the most typical of each file before the second ones.

    Args:
        name: see `framemill.cluster.corpus.tags.clean_label`; empty takes away what the person has.

    Returns:
        Whether anything changed; nothing is committed where it did not.

    Raises:
        UsageError: the name cannot be one, or there is no such person.
        DatasetError: the storage refuses, or the lease is lost.
    """
    name = clean_label(name, "name") if name.strip() else ""
    people = read_rows(dataset.root, "people", dataset.state.parts_of("people"), columns=_PEOPLE)
    ours = None if people is None else people.filter(pc.equal(people["person_id"], person_id))
    if ours is None or not ours.num_rows:
        raise UsageError(
            f"{dataset.root} has no person {person_id}: `framemill people {dataset.root}` lists them"
        )
    order = [("distance", "ascending"), *((column, "ascending") for column in _FACE)]
    faces = _faces(ours.take(pc.sort_indices(ours, sort_keys=order)))
    there = curated_rows(dataset, TABLE, NAMES_SCHEMA, {source for source, _, _ in faces})
    is_theirs = pa.array([face in frozenset(faces) for face in _faces(there)], pa.bool_())
    before = there.filter(is_theirs)
    if set(before["name"].to_pylist()) == ({name} if name else set()):
        return False
    now = int(time.time() * 1000)
    chosen = _spread(faces) if name else []
    new = [dict(zip(NAMES_SCHEMA.names, (*face, name, now), strict=True)) for face in chosen]
    rows = pa.concat_tables([there.filter(pc.invert(is_theirs)), pa.Table.from_pylist(new, NAMES_SCHEMA)])
    sources = {*before["source_id"].to_pylist(), *(source for source, _, _ in chosen)}
    is_replaced = pc.is_in(rows["source_id"], value_set=pa.array(sorted(sources), pa.string()))
    replace_curated(dataset, run_id, TABLE, sources, rows.filter(is_replaced))
    return True


def read_names(dataset: Dataset) -> dict[str, str]:
    """The name of each person of `people` that has one.

    Raises:
        DatasetError: a part cannot be read.
    """
    state = dataset.state
    names = read_rows(dataset.root, TABLE, state.parts_of(TABLE))
    if names is None:
        return {}
    sources = set(names["source_id"].to_pylist())
    people = read_rows(dataset.root, "people", state.parts_of("people"), sources, _PEOPLE)
    return {} if people is None else dict(select({"people": people, TABLE: names}, names_of_people()))


def _faces(rows: pa.Table) -> list[tuple[str, int, int]]:
    return list(zip(*(rows[name].to_pylist() for name in _FACE), strict=True))


def _spread(faces: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """The first face of each source, then the second ones and so on, as many as a name hangs on."""
    before: Counter[str] = Counter()
    turns = []
    for face in faces:
        turns.append(before[face[0]])
        before[face[0]] += 1
    return [face for _, face in sorted(zip(turns, faces, strict=True), key=lambda each: each[0])][:MAX_FACES]
