"""Identities: faces of the whole dataset, clustered into people across files.

It reads the table `face_embeddings` and writes the table `people`. Faces without five points are left out:
their vectors depend more on the pose than on the person.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from framemill.cluster.corpus.names import read_names
from framemill.cluster.results.corpus_tables import (
    corpus_key,
    is_current,
    owners_of,
    replace_table,
    uris_by_source,
)
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.parts import read_rows
from framemill.errors import UsageError
from framemill.models.registry import all_entries
from framemill.ops.audio.linkage import average_linkage
from framemill.ops.columns import column

TABLE = "people"
SOURCE_TABLE = "face_embeddings"
VERSION = 1
# Faces belong to one person where they are this similar on average, unless their model states another value.
# With yunet_2022mar and mobilefacenet, pairs of one person on the head-pose clip have at least 0.68 and pairs
# of two people at most 0.32; two boys of 20 pixels in the classroom clip are 0.70 like themselves and 0.48
# like each other on average (measured).
THRESHOLD = 0.5

PEOPLE_SCHEMA = pa.schema(
    [
        column("source_id", pa.string(), "content id of the source"),
        column("frame_index", pa.int64(), "0-based position among the presented frames of the source"),
        column("face_index", pa.int32(), "the face: its rank in the frame, as in `faces`"),
        column("person_id", pa.string(), "the same for all faces of one person in all files; 12 digits"),
        column("distance", pa.float32(), "1 - cosine to the person's mean vector: 0 (typical) to 2"),
    ]
)

FaceKey = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Person:
    """One identity.

    Attributes:
        name: that was given to it (`framemill.cluster.corpus.names`); empty where none was.
        num_faces, num_files: where it was seen. is_new: not known before.
        uri, seconds: the face closest to the person's mean: a file that holds it, and when.
    """

    person_id: str
    name: str
    num_faces: int
    num_files: int
    is_new: bool
    uri: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PeopleReport:
    """The people of the dataset.

    Attributes:
        people: by descending number of faces. num_faces: how many belong to them.
        num_left_out: faces without five points. num_files_left_out: files whose vectors were made with
            another model or other options than the newest. changed: False when the table was up to date.
    """

    people: tuple[Person, ...]
    num_faces: int
    num_left_out: int
    num_files_left_out: int
    changed: bool


def find_people(dataset: Dataset, run_id: str, threshold: float | None = None) -> PeopleReport:
    """Clusters all faces by average linkage and replaces the table `people`. Call it inside `dataset.hold`.

    Vectors of two models are not comparable: faces with such as are not the newest are left out.

    A person that shares most faces with one of an earlier run keeps that one's id.

    Args:
        threshold: least average similarity of the faces of one person, -1..1; None for what the model of the
            embeddings states, or `THRESHOLD`.

    Raises:
        UsageError: the threshold is out of range, or the dataset has no face embeddings.
        DatasetError: the storage refuses, or the lease is lost.
    """
    if threshold is None:
        threshold = _threshold(dataset)
    if not -1 <= threshold <= 1:
        raise UsageError(f"the threshold is {threshold}; it must be -1 to 1, such as {THRESHOLD}")
    key = corpus_key(dataset, TABLE, SOURCE_TABLE, VERSION, {"threshold": threshold})
    outdated = dataset.state.outdated(SOURCE_TABLE)
    faces = _Faces.read(dataset, outdated)
    before = read_rows(dataset.root, TABLE, dataset.state.parts_of(TABLE))
    earlier = (
        {} if before is None else dict(zip(_keys_of(before), before["person_id"].to_pylist(), strict=True))
    )
    changed = not is_current(dataset, TABLE, SOURCE_TABLE, key, outdated)
    if not changed:
        ids = [earlier[face] for face in faces.keys]
    else:
        ids = name_clusters(faces.keys, average_linkage(faces.vectors, threshold).tolist(), earlier)
    distances = _distances(faces.vectors, ids)
    if changed:
        rows = _rows(faces, ids, distances)
        replace_table(dataset, run_id, TABLE, SOURCE_TABLE, key, rows, outdated)
    return _report(dataset, faces, ids, distances, set(earlier.values()), len(outdated), changed=changed)


def _threshold(dataset: Dataset) -> float:
    """What the model of the embeddings takes for one person."""
    key = dataset.state.keys.get(SOURCE_TABLE, {}).get("models", {}).get(SOURCE_TABLE)
    stated = [entry.same_above for entry in all_entries() if entry.role == SOURCE_TABLE and entry.key == key]
    return next(filter(None, stated), THRESHOLD)


def name_clusters(
    keys: Sequence[FaceKey], clusters: Sequence[int], earlier: Mapping[FaceKey, str]
) -> list[str]:
    """Ids for clusters: that of the earlier person with most faces in common, or a new one.

    Args:
        keys: of the faces, sorted. clusters: number of each face's cluster.
        earlier: ids from the run before.
    """
    shared = Counter(
        (cluster, earlier[key]) for key, cluster in zip(keys, clusters, strict=True) if key in earlier
    )
    names: dict[int, str] = {}
    taken: set[str] = set()
    for (cluster, name), _ in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
        if cluster not in names and name not in taken:
            names[cluster] = name
            taken.add(name)
    taken.update(earlier.values())  # an id once given to somebody is not given to another
    for key, cluster in zip(keys, clusters, strict=True):
        attempt = 0
        while cluster not in names:
            text = f"{attempt} {key[0]} {key[1]} {key[2]}"
            name = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
            attempt += 1
            if name not in taken:
                names[cluster] = name
                taken.add(name)
    return [names[cluster] for cluster in clusters]


@dataclass(frozen=True, slots=True)
class _Faces:
    """Faces with five points, by source, frame and rank; vectors float32 [n, d] of length 1."""

    keys: list[FaceKey]
    seconds: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.float32]
    num_left_out: int

    @classmethod
    def read(cls, dataset: Dataset, outdated: Collection[str]) -> _Faces:
        owners = owners_of(dataset, SOURCE_TABLE).difference(outdated)
        table = read_rows(dataset.root, SOURCE_TABLE, dataset.state.parts_of(SOURCE_TABLE), owners)
        if table is None:
            return cls([], np.zeros(0), np.zeros((0, 1), np.float32), 0)
        pointed = table.filter(pc.equal(table["aligned_by"].cast(pa.string()), "points"))
        order = [("source_id", "ascending"), ("frame_index", "ascending"), ("face_index", "ascending")]
        ours = pointed.take(pc.sort_indices(pointed, sort_keys=order)).combine_chunks()
        flat = pc.list_flatten(ours["vector"]).to_numpy()
        vectors = flat.reshape(ours.num_rows, -1 if ours.num_rows else 1)
        seconds = ours["pts_seconds"].to_numpy()
        return cls(_keys_of(ours), seconds, vectors, table.num_rows - ours.num_rows)


def _keys_of(table: pa.Table) -> list[FaceKey]:
    columns = (table[name].to_pylist() for name in ("source_id", "frame_index", "face_index"))
    return list(zip(*columns, strict=True))


def _distances(vectors: npt.NDArray[np.float32], ids: Sequence[str]) -> npt.NDArray[np.float32]:
    _, number = np.unique(np.array(ids, dtype=np.str_), return_inverse=True)
    sums = np.zeros((int(number.max(initial=-1)) + 1, vectors.shape[1]), np.float64)
    np.add.at(sums, number, vectors)
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    similarity = np.array([vector @ means[row] for vector, row in zip(vectors, number, strict=True)])
    distances: npt.NDArray[np.float32] = np.clip(1 - similarity, 0, 2).astype(np.float32)
    return distances


def _rows(faces: _Faces, ids: Sequence[str], distances: npt.NDArray[np.float32]) -> pa.Table:
    sources, frames, ranks = zip(*faces.keys, strict=True) if faces.keys else ((), (), ())
    columns = zip((sources, frames, ranks, ids, distances), PEOPLE_SCHEMA.types, strict=True)
    return pa.table([pa.array(values, kind) for values, kind in columns], schema=PEOPLE_SCHEMA)


def _report(
    dataset: Dataset,
    faces: _Faces,
    ids: Sequence[str],
    distances: npt.NDArray[np.float32],
    known: set[str],
    num_files_left_out: int,
    *,
    changed: bool,
) -> PeopleReport:
    uris = {source_id: names[0] for source_id, names in uris_by_source(dataset).items()}
    given = read_names(dataset)
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(ids):
        members[name].append(row)
    people = []
    for person_id, rows in members.items():
        best = min(rows, key=lambda row: (float(distances[row]), row))
        files = {faces.keys[row][0] for row in rows}
        uri = uris.get(faces.keys[best][0], faces.keys[best][0])
        name, is_new = given.get(person_id, ""), person_id not in known
        seconds = float(faces.seconds[best])
        people.append(Person(person_id, name, len(rows), len(files), is_new, uri, seconds))
    people.sort(key=lambda person: (-person.num_faces, person.person_id))
    return PeopleReport(tuple(people), len(ids), faces.num_left_out, num_files_left_out, changed)
