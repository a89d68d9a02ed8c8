"""A made-up corpus of any size: tables as `extract` would leave them, no media but empty files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from framemill.cluster.results.commits import Commit
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.packed import Entry, SourceRecord
from framemill.cluster.results.parts import write_part
from framemill.cluster.results.queries import SOURCE_ID
from framemill.ops import load_op

Values = dict[str, np.ndarray[Any, Any]]

LEVELS_PER_SECOND = 10


def make_corpus(root: Path, num_files: int, seconds: int, *, seed: int = 0) -> Dataset:
    """Writes a dataset of `num_files` clips with a frame a second, a shot every five seconds and sound.

    Each uri names an empty file under `root/media`, so that they are found.
    """
    dataset = Dataset.open(root / "out", create=True)
    media = root / "media"
    media.mkdir(parents=True, exist_ok=True)
    uris = [str(media / f"clip{number:06d}.mp4") for number in range(num_files)]
    for uri in uris:
        Path(uri).touch()
    ids = [hashlib.blake2b(uri.rpartition("/")[2].encode(), digest_size=32).hexdigest() for uri in uris]
    generator = np.random.default_rng(seed)
    columns = {
        "media": _media(uris, seconds),
        "frames": _frames(generator, num_files, seconds),
        "scenes": _scenes(generator, num_files, seconds),
        "audio_levels": _levels(generator, num_files, seconds),
        "speech": _speech(generator, num_files, seconds),
    }
    with dataset.hold("made"):
        dataset.commit(_commit(dataset, uris, ids, columns, seconds))
    return dataset


def _commit(
    dataset: Dataset, uris: list[str], ids: list[str], columns: dict[str, Values], seconds: int
) -> Commit:
    parts, entries = [], []
    for table, rows in columns.items():
        schema = pa.schema([SOURCE_ID, *load_op(table).schema])
        per_file = len(next(iter(rows.values()))) // len(ids)
        rows["source_id"] = np.repeat(np.array(ids, object), per_file)
        count = len(ids) * per_file
        arrays = [pa.array(rows[f.name], f.type) if f.name in rows else _empty(f, count) for f in schema]
        part = write_part(dataset.root, table, [pa.table(arrays, schema=schema)], run_id="made", seed=[table])
        parts += [] if part is None else [part]
        entries += [Entry(table, o, "made", rows=per_file) for o in (uris if table == "media" else ids)]
    return Commit(
        run_id="made",
        entries=tuple(entries),
        sources=tuple(
            SourceRecord(uri, name, 0, 0, float(seconds)) for uri, name in zip(uris, ids, strict=True)
        ),
        parts=tuple(parts),
        keys={table: {"digest": "made"} for table in columns},
    )


def _media(uris: list[str], seconds: int) -> Values:
    count = len(uris)
    fixed = {
        "num_bytes": 0, "container": "mov,mp4", "start_seconds": 0.0, "duration_seconds": float(seconds),
        "width": 1280, "height": 720, "rotation_degrees": 0, "fps": 25.0, "num_frames": 25 * seconds,
        "audio_codec": "aac", "status": "ok",
    }  # fmt: skip
    kinds = {name: object if isinstance(value, str) else None for name, value in fixed.items()}
    columns = {name: np.full(count, value, kinds[name]) for name, value in fixed.items()}
    return {"uri": np.array(uris, object), **columns}


def _frames(generator: np.random.Generator, num_files: int, seconds: int) -> Values:
    count = num_files * seconds
    index = np.tile(np.arange(seconds) * 25, num_files)
    return {
        "frame_index": index,
        "pts_seconds": index / 25,
        "is_key": np.ones(count, bool),
        "sharpness": generator.gamma(4, 80, count),
        "brightness": generator.uniform(0.1, 0.9, count),
        "contrast": generator.uniform(0.0, 0.35, count),
        "colourfulness": generator.uniform(0, 80, count),
        "entropy": generator.uniform(3, 8, count),
        "frame_score": generator.uniform(0, 1, count),
        "phash": generator.integers(0, 1 << 63, count, dtype=np.uint64),
    }


def _scenes(generator: np.random.Generator, num_files: int, seconds: int) -> Values:
    shots = max(1, seconds // 5)
    begin = np.tile(np.arange(shots), num_files) * 5.0
    end = np.where(begin + 5 > (shots - 1) * 5, float(seconds), begin + 5)
    kind = np.where(begin == 0, "start", generator.choice(["cut", "cut", "cut", "dissolve"], len(begin)))
    return {
        "scene_index": np.tile(np.arange(shots), num_files), "start_seconds": begin, "end_seconds": end,
        "start_frame": (begin * 25).astype(int), "end_frame": (end * 25).astype(int),
        "transition": kind.astype(object), "score": np.full(len(begin), 5.0),
    }  # fmt: skip


def _levels(generator: np.random.Generator, num_files: int, seconds: int) -> Values:
    count = num_files * seconds * LEVELS_PER_SECOND
    level = generator.normal(-30, 8, count)
    start = np.tile(np.arange(seconds * LEVELS_PER_SECOND) / LEVELS_PER_SECOND, num_files)
    return {"start_seconds": start, "rms_db": level, "peak_db": level + 6}


def _speech(generator: np.random.Generator, num_files: int, seconds: int) -> Values:
    start = generator.uniform(0, max(seconds - 3, 1), num_files)
    return {"start_seconds": start, "end_seconds": start + 3, "probability": np.full(num_files, 0.9)}


def _empty(field: pa.Field, count: int) -> pa.Array:
    if field.nullable:
        return pa.nulls(count, field.type)
    if pa.types.is_list(field.type):
        return pa.array([[]] * count, field.type)
    zero = "" if pa.types.is_string(field.type) else 0
    return pa.array([zero] * count, field.type)
