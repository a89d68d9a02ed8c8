"""Schemas of what no operation makes: the tables `errors` and `runs`, and the view `sources`."""

from __future__ import annotations

import pyarrow as pa


def _field(name: str, kind: pa.DataType, doc: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable, metadata={"doc": doc})


SOURCE_ID = _field("source_id", pa.string(), "content id of the source", nullable=False)

ERRORS_SCHEMA = pa.schema(
    [
        _field("source_id", pa.string(), "content id of the input; null where its bytes could not be read"),
        _field("uri", pa.string(), "the input as it was found", nullable=False),
        _field("operation", pa.string(), 'operation that failed; "*" for the whole input', nullable=False),
        _field("status", pa.string(), "partial, failed, quarantined or unsupported", nullable=False),
        _field("error", pa.string(), "kind of error, such as CorruptError", nullable=False),
        _field("message", pa.string(), "what is wrong, in words for a person", nullable=False),
        _field("attempts", pa.int32(), "how often it was tried, 1 or more", nullable=False),
        _field(
            "kind",
            pa.string(),
            "what a partial input lacks most: cut_short, damaged_pictures, missing_sound or "
            "damaged_subtitles; null for other rows",
        ),
    ]
)

SOURCES_SCHEMA = pa.schema(
    [
        _field("source_id", pa.string(), "content id", nullable=False),
        _field(
            "uri", pa.string(), "the file that holds it; of several copies the first by name", nullable=False
        ),
        _field("num_bytes", pa.int64(), "size of the file, >= 0", nullable=False),
        _field("duration_seconds", pa.float64(), "length of the media, >= 0", nullable=False),
        _field("uris", pa.list_(pa.string()), "every file with this content, by name", nullable=False),
    ]
)

RUNS_SCHEMA = pa.schema(
    [
        _field("run_id", pa.string(), "name of the run; part names carry it", nullable=False),
        _field("started_at", pa.timestamp("ms"), "start, UTC", nullable=False),
        _field("finished_at", pa.timestamp("ms"), "when the row was written, UTC", nullable=False),
        _field("engine", pa.string(), "local or ray", nullable=False),
        _field(
            "exit_code",
            pa.int32(),
            "0 ok, 3 some inputs failed, 4 no usable input, 130, 143 or 129 interrupted",
        ),
        _field("options", pa.string(), "what was asked for, as JSON", nullable=False),
        _field("providers", pa.map_(pa.string(), pa.string()), "model role -> execution provider that ran"),
        _field(
            "sessions",
            pa.map_(pa.string(), pa.string()),
            "model role -> JSON: model, provider, precision, num_nodes by provider, attempts (rung -> what "
            "came of it), build_seconds of its engine, max_batch and row_threads (CPU threads of a row) in "
            "the end, num_halved (times its batch was halved because memory ran out), num_batches, "
            "batch_fill (0..1), note",
        ),
        _field(
            "decoders",
            pa.map_(pa.string(), pa.list_(pa.string())),
            "who decoded frames, and why where it was not the device -> uris; empty where no device decodes",
        ),
        _field(
            "device_memory_bytes",
            pa.int64(),
            "most device memory in use at once, by this run and others, sampled 4 times a second; 0 without",
        ),
        _field("seconds", pa.map_(pa.string(), pa.float64()), "operation or stage -> seconds of work, >= 0"),
        _field("rows", pa.map_(pa.string(), pa.int64()), "table -> rows written, >= 0"),
        _field("num_files", pa.int64(), "sources asked for, >= 0"),
        _field("num_cached", pa.int64(), "of those, how many were done before, >= 0"),
        _field("num_failed", pa.int64(), "of those, how many have an error, >= 0"),
        _field("elapsed_seconds", pa.float64(), "wall-clock time of the run, >= 0"),
        _field("versions", pa.map_(pa.string(), pa.string()), "package -> version"),
    ]
)
