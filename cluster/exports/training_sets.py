"""Sampled frames with what is known of each as data sets for training: WebDataset and Hugging Face."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from framemill.cluster.exports.sampled_frames import Frame, SampledFrames, Source
from framemill.errors import UsageError

# 256 MiB in whole records: what readers over networks take at a time.
SHARD_BYTES = 26_214 * tarfile.RECORDSIZE
# Of two members at most: headers, two blocks more where the name is long or not ASCII, padding, the end.
TAR_BYTES = 12 * tarfile.BLOCKSIZE
_VECTORS_AT_ONCE = 4096


def write_webdataset(sampled: SampledFrames, folder: Path) -> int:
    """`000000.tar` and on, each of `SHARD_BYTES` at most: `{key}.jpg` and `{key}.json` side by side.

    Returns:
        The number of frames written.
    """
    count = shards = 0
    shard: tarfile.TarFile | None = None
    try:
        for source in sampled.sources():
            for frame, jpeg in sampled.pictures(source):
                data = json.dumps(_facts(source, frame)).encode()
                needed = len(jpeg) + len(data) + TAR_BYTES
                if shard is None or (shard.offset and shard.offset + needed > SHARD_BYTES):
                    if shard is not None:
                        shard.close()
                    shard = tarfile.open(folder / f"{shards:06}.tar", "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
                    shards += 1
                for ending, content in (("jpg", jpeg), ("json", data)):
                    member = tarfile.TarInfo(f"{source.name(frame)}.{ending}")
                    member.size, member.mode = len(content), 0o644
                    shard.addfile(member, io.BytesIO(content))
                count += 1
    finally:
        if shard is not None:
            shard.close()
    return count


def write_hf(sampled: SampledFrames, folder: Path) -> int:
    """`train/` with pictures and `metadata.jsonl`, and a README.md whose `configs` `load_dataset` follows.

    Where there are vectors of frames, the config `vectors` gives them with their pictures, as float32 lists
    of fixed size from `vectors.parquet`: a JSON file cannot say the size.

    Returns:
        The number of frames written.

    Raises:
        UsageError: vectors have different lengths.
    """
    train = folder / "train"
    train.mkdir()
    count = 0
    with _Vectors(train / "vectors.parquet") as vectors:
        with (train / "metadata.jsonl").open("w", encoding="utf-8") as lines:
            for source in sampled.sources():
                for frame, jpeg in sampled.pictures(source):
                    name = f"{source.name(frame)}.jpg"
                    (train / name).write_bytes(jpeg)
                    facts = _facts(source, frame)
                    facts["objects"] = {key: [each[key] for each in facts["objects"]] for key in _OBJECT}
                    lines.write(json.dumps({"file_name": name, **facts}) + "\n")
                    count += 1
                    if frame.vector is not None:
                        vectors.add(name, frame.vector)
        vectors.flush()
    (folder / "README.md").write_text(_card(vectors.length is not None), "utf-8")
    return count


class _Vectors:
    """Writes vectors of one length, some thousand at a time; no file where there are none.

    Attributes:
        length: of each vector, known from the first.
    """

    def __init__(self, path: Path) -> None:
        self.length: int | None = None
        self._path = path
        self._rows: list[tuple[str, Sequence[float]]] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Vectors:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, name: str, vector: Sequence[float]) -> None:
        self.length = self.length or len(vector)
        if len(vector) != self.length:
            raise UsageError(
                f"vectors of {self.length} and of {len(vector)} numbers do not fit one column: extract "
                "image_embeddings of all files with one model"
            )
        self._rows.append((name, vector))
        if len(self._rows) == _VECTORS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if not self._rows or self.length is None:
            return
        schema = pa.schema({"file_name": pa.string(), "vector": pa.list_(pa.float32(), self.length)})
        names, vectors = zip(*self._rows, strict=True)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, schema)
        self._writer.write_table(pa.table([names, pa.array(vectors, schema.field(1).type)], schema=schema))
        self._rows.clear()


_OBJECT = ("bbox", "label", "score", "track_id")


def _facts(source: Source, frame: Frame) -> dict[str, Any]:
    """Of one frame; boxes are [left, top, width, height] in pixels."""
    return {
        "source_id": source.source_id,
        "uri": source.uri,
        "frame_index": frame.frame_index,
        "pts_seconds": frame.pts_seconds,
        "width": source.width,
        "height": source.height,
        "caption": ", ".join(dict.fromkeys((*frame.labels, *(box.label for box in frame.boxes)))),
        "labels": list(frame.labels),
        "objects": [
            {
                "bbox": [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0],
                "label": box.label,
                "score": box.score,
                "track_id": box.track_id,
            }
            for box in frame.boxes
        ],
    }


def _card(has_vectors: bool) -> str:
    """README.md."""
    metadata = {"default": "metadata.jsonl"} | ({"vectors": "vectors.parquet"} if has_vectors else {})
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: train/**\n"
        f"  metadata_filenames:\n  - {file}\n"
        for name, file in metadata.items()
    )
    return f"""---
configs:
{configs}---

Sampled frames of videos with what Framemill found in them. Boxes are left, top, width and height in pixels.
"""
