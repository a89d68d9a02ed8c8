"""A made result folder of the size of an archive, of many commits: what viewing and queries have to bear.

`python -m benchmarks.made_archive OUT` makes 10,000 files of 100 s with ten million rows.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from framemill.cluster.corpus.people import PEOPLE_SCHEMA, TABLE, VERSION
from framemill.cluster.results.commits import Commit, Part
from framemill.cluster.results.corpus_tables import corpus_key, replace_table
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.invariants import SOURCE_ID
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import write_part
from framemill.ops import load_op

FILES, FILES_A_COMMIT = 10_000, 40
FPS, WIDTH, HEIGHT = 25, 1280, 720
# Of each file.
SECONDS, SHOTS, SEGMENTS, LINES, FACES, VECTORS = 100, 20, 20, 40, 40, 20
# Of each sampled frame, one a second.
LABELS, OBJECTS = 3, 5
WORDS = 8  # of a segment
PEOPLE, DIMENSIONS = 500, 32
TABLES = (
    *("media", "scenes", "frames", "objects", "faces", "labels", "text", "transcript"),
    "image_embeddings",
)

Numbers = npt.NDArray[Any]
_LABELS = [f"label {number}" for number in range(400)]
_CLASSES = ["person", "car", "dog", "chair", "bottle", "book", "cat", "bicycle", "bird", "boat"]
_WORDS = [f"{first}{second}" for first in ("ka", "lo", "mi", "ne", "tu") for second in ("ra", "so", "vi", "")]


def make_archive(root: Path, num_files: int = FILES, *, seed: int = 0) -> Dataset:
    """Writes a dataset of `num_files` files of 100 s, with 1081 rows each; none of them can be played.

    Args:
        root: the result folder, which is not there yet.
    """
    dataset = Dataset.open(root, create=True)
    uris = [f"/archive/{number // 100:03}/clip{number:06}.mp4" for number in range(num_files)]
    ids = [hashlib.blake2b(uri.encode(), digest_size=32).hexdigest() for uri in uris]
    generator = np.random.default_rng(seed)
    with dataset.hold("made"):
        for start in range(0, num_files, FILES_A_COMMIT):
            lot = slice(start, start + FILES_A_COMMIT)
            dataset.commit(_commit(dataset.root, uris[lot], ids[lot], generator))
        key = corpus_key(dataset, TABLE, "faces", VERSION, {})
        replace_table(dataset, "made", TABLE, "faces", key, _people(sorted(ids), generator))
    return dataset


def _commit(root: Any, uris: Sequence[str], ids: Sequence[str], generator: np.random.Generator) -> Commit:
    parts: list[Part] = []
    entries: list[Entry] = []
    for table in TABLES:
        rows = _rows(table, uris, ids, generator)
        part = write_part(root, table, [rows], run_id="made", seed=[table, *ids])
        assert part is not None
        parts.append(part)
        owners = uris if table == "media" else ids
        entries += [Entry(table, owner, "made", rows=rows.num_rows // len(ids)) for owner in owners]
    return Commit(
        run_id="made",
        entries=tuple(entries),
        sources=tuple(SourceRecord(*each, 0, 0, SECONDS) for each in zip(uris, ids, strict=True)),
        parts=tuple(parts),
        keys={table: {"digest": "made"} for table in TABLES},
    )


def _rows(table: str, uris: Sequence[str], ids: Sequence[str], generator: np.random.Generator) -> pa.Table:
    schema = pa.schema([SOURCE_ID, *load_op(table).schema])
    columns = {"media": _media, "scenes": _scenes, "frames": _frames, "objects": _objects, "faces": _faces,
               "labels": _labels, "text": _text, "transcript": _transcript,
               "image_embeddings": _vectors}[table](len(ids), generator)  # fmt: skip
    columns.setdefault("uri", pa.array(uris))
    count = len(next(iter(columns.values())))
    columns["source_id"] = pa.array(ids).take(pa.array(np.repeat(np.arange(len(ids)), count // len(ids))))
    arrays = [
        _cast(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _cast(values: Any, kind: pa.DataType) -> pa.Array:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array if array.type == kind else array.cast(kind)


def _at(of_file: Numbers, num_files: int) -> dict[str, Any]:
    """Sampled frames by their second."""
    seconds = np.tile(of_file, num_files)
    return {"frame_index": seconds * FPS, "pts_seconds": seconds.astype(float)}


def _some(texts: Sequence[str], count: int, generator: np.random.Generator) -> pa.Array:
    """Texts by a law of Zipf's kind: few are often there, most are rare."""
    numbers = (len(texts) * generator.random(count) ** 3).astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(texts))


def _phrases(count: int, generator: np.random.Generator) -> list[str]:
    return [" ".join(words) for words in generator.choice(_WORDS, (count, 4))]


def _boxes(count: int, generator: np.random.Generator) -> pa.Array:
    x0, y0 = generator.uniform(0, WIDTH - 300, count), generator.uniform(0, HEIGHT - 300, count)
    sizes = generator.uniform(20, 300, (2, count))
    corners = [pa.array(values, pa.float32()) for values in (x0, y0, x0 + sizes[0], y0 + sizes[1])]
    fields = [pa.field(name, pa.float32(), nullable=False) for name in ("x0", "y0", "x1", "y1")]
    return pa.StructArray.from_arrays(corners, fields=fields)


def _media(num_files: int, generator: np.random.Generator) -> dict[str, Any]:
    fixed = {
        "num_bytes": 0, "container": "mov,mp4", "start_seconds": 0.0, "duration_seconds": float(SECONDS),
        "rotation_degrees": 0, "width": WIDTH, "height": HEIGHT, "fps": float(FPS), "audio_codec": "aac",
        "num_frames": FPS * SECONDS, "status": "ok",
    }  # fmt: skip
    streams = pa.array([[]] * num_files, load_op("media").schema.field("streams").type)
    codecs = generator.choice(["h264", "h264", "hevc", "vp9", "av1"], num_files)
    return {**{name: pa.array([value] * num_files) for name, value in fixed.items()},
            "video_codec": codecs, "streams": streams}  # fmt: skip


def _scenes(num_files: int, generator: np.random.Generator) -> dict[str, Any]:
    length = SECONDS // SHOTS
    index = np.tile(np.arange(SHOTS), num_files)
    kind = np.where(index == 0, "start", generator.choice(["cut", "cut", "cut", "dissolve"], len(index)))
    return {"scene_index": index, "start_seconds": index * float(length),
            "end_seconds": (index + 1) * float(length), "start_frame": index * length * FPS,
            "end_frame": (index + 1) * length * FPS, "transition": kind,
            "score": np.where(index == 0, 0.0, 5.0)}  # fmt: skip


def _frames(num_files: int, generator: np.random.Generator) -> dict[str, Any]:
    count = num_files * SECONDS
    return {
        **_at(np.arange(SECONDS), num_files),
        "is_key": np.ones(count, bool),
        "sharpness": generator.gamma(4, 80, count),
        **{name: generator.uniform(0, high, count) for name, high in
           (("brightness", 1), ("contrast", 0.5), ("colourfulness", 80), ("entropy", 8), ("frame_score", 1))},
        "phash": generator.integers(0, 1 << 63, count, dtype=np.uint64),
    }  # fmt: skip


def _objects(num_files: int, generator: np.random.Generator) -> dict[str, Any]:
    count = num_files * SECONDS * OBJECTS
    return {
        **_at(np.repeat(np.arange(SECONDS), OBJECTS), num_files),
        "object_index": np.tile(np.arange(OBJECTS), num_files * SECONDS),
        "label": (labels := _some(_CLASSES, count, generator)),
        "label_index": labels.indices,
        "score": generator.uniform(0.4, 1, count),
        "box": _boxes(count, generator),
    }


def _faces(num_files: int, generator: np.random.Generator) -> dict[str, Any]:
    count = num_files * FACES
    return {**_at(np.arange(FACES) * (SECONDS // FACES), num_files), "face_index": np.zeros(count, int),
            "score": generator.uniform(0.6, 1, count), "box": _boxes(count, generator)}  # fmt: skip


def _labels(num_files: int, generator: np.random.Generator) -> dict[str, Any]:
    count = num_files * SECONDS * LABELS
    return {
        **_at(np.repeat(np.arange(SECONDS), LABELS), num_files),
        "rank": np.tile(np.arange(LABELS), num_files * SECONDS),
        "label": _some(_LABELS, count, generator),
        "score": generator.uniform(0, 0.9, count),
    }


def _text(num_files: int, generator: np.random.Generator) -> dict[str, Any]:
    count = num_files * LINES
    polygon = pa.array([100, 600, 500, 600, 500, 640, 100, 640] * count, pa.float32())
    return {
        **_at(np.repeat(np.arange(LINES // 2) * (SECONDS // (LINES // 2)), 2), num_files),
        "text_index": np.tile([0, 1], count // 2),
        "text": _some(_phrases(5000, generator), count, generator),
        "score": generator.uniform(0.5, 1, count),
        "polygon": pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * 8, pa.int32()), polygon),
    }


def _transcript(num_files: int, generator: np.random.Generator) -> dict[str, Any]:
    count = num_files * SEGMENTS
    index, length = np.tile(np.arange(SEGMENTS), num_files), SECONDS / SEGMENTS
    chosen = generator.integers(0, len(_WORDS), (count, WORDS))
    starts = ((index * length)[:, None] + np.arange(WORDS) * (length / WORDS)).ravel()
    spoken = pa.array([f" {word}" for word in _WORDS]).take(pa.array(chosen.ravel()))
    kind = load_op("transcript").schema.field("words").type
    words = pa.StructArray.from_arrays(
        [pa.array(starts), pa.array(starts + 0.4), spoken, pa.array(np.full(len(starts), 0.9), pa.float32())],
        fields=list(kind.value_type),
    )
    offsets = pa.array(np.arange(count + 1) * WORDS, pa.int32())
    return {
        "segment_index": index,
        "start_seconds": index * length,
        "end_seconds": (index + 1) * length,
        "text": pa.array([" ".join(_WORDS[number] for number in row) for row in chosen]),
        **{name: pa.array([text] * count) for name, text in (("language", "en"), ("origin", "speech"))},
        "words": pa.ListArray.from_arrays(offsets, words, type=kind),
        "stream_index": pa.nulls(count, pa.int32()),
    }


def _vectors(num_files: int, generator: np.random.Generator) -> dict[str, Any]:
    count = num_files * VECTORS
    values = generator.normal(size=(count, DIMENSIONS)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    offsets = pa.array(np.arange(count + 1) * DIMENSIONS, pa.int32())
    return {
        **_at(np.arange(VECTORS) * (SECONDS // VECTORS), num_files),
        "vector": pa.ListArray.from_arrays(offsets, pa.array(values.ravel())),
    }


def _people(ids: Sequence[str], generator: np.random.Generator) -> Iterator[pa.Table]:
    """Each file shows two people; pieces of a thousand files."""
    names = [hashlib.blake2b(str(number).encode(), digest_size=6).hexdigest() for number in range(PEOPLE)]
    for start in range(0, len(ids), 1000):
        lot = ids[start : start + 1000]
        pair = (PEOPLE * generator.random((len(lot), 2)) ** 2).astype(int)
        seen = pair[np.repeat(np.arange(len(lot)), FACES), generator.integers(0, 2, len(lot) * FACES)]
        columns = {
            **_at(np.arange(FACES) * (SECONDS // FACES), len(lot)),
            "source_id": pa.array(lot).take(pa.array(np.repeat(np.arange(len(lot)), FACES))),
            "face_index": np.zeros(len(seen), int),
            "person_id": pa.array(names).take(pa.array(seen)),
            "distance": generator.uniform(0, 0.4, len(seen)),
        }
        arrays = [_cast(columns[field.name], field.type) for field in PEOPLE_SCHEMA]
        yield pa.table(arrays, schema=PEOPLE_SCHEMA)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.made_archive", description=make_archive.__doc__
    )
    parser.add_argument("out", type=Path, help="the result folder to make")
    parser.add_argument("--files", type=int, default=FILES)
    chosen = parser.parse_args()
    dataset = make_archive(chosen.out, chosen.files)
    rows = sum(part.rows for part in dataset.state.parts.values())
    print(f"{chosen.files} files, {rows} rows, {dataset.state.sequence} commits in {dataset.root}")


if __name__ == "__main__":
    main()
