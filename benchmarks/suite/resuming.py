"""The same command again over a large folder that is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.benchmark import Benchmark, Measured
from benchmarks.extracting import extract, require_nothing_computed
from benchmarks.harness import Setting, run_in_turn, summary
from benchmarks.inputs import making

NUM_FILES = 10_000
FILES_A_COMMIT = 100
OPS = ("media", "frames", "scenes")


def resume(setting: Setting) -> Measured:
    """Seconds of a run on Ray that finds nothing to do."""
    videos, output = _finished(setting)
    options = ("--ops", ",".join(OPS), "--engine", "ray")
    again = extract(
        setting, [videos], output, *options, fresh=False, expect=OPS, check=require_nothing_computed
    )
    (costs,) = run_in_turn(setting.runs, again)
    return Measured([cost.seconds for cost in costs], {"again": summary(costs)})


def _finished(setting: Setting) -> tuple[Path, Path]:
    """10,000 files and a folder with made-up rows of all of them, committed as a run commits them."""
    folder = setting.cache / f"finished_{NUM_FILES}"
    videos, output = folder / "videos", folder / "out"
    if not folder.exists():
        with making(folder) as unfinished:
            (unfinished / "videos").mkdir(parents=True)
            first = unfinished / "videos" / "00000.mp4"
            first.write_bytes(b"\0\0\0\x08free")
            for k in range(1, NUM_FILES):
                os.link(first, first.with_name(f"{k:05d}.mp4"))
    if not output.exists():
        with making(output) as unfinished:
            _commit_all(videos, unfinished)
    return videos, output


def _commit_all(videos: Path, output: Path) -> None:
    from framemill.actors.shards import SHARD_SECONDS
    from framemill.cluster.request import ExtractRequest
    from framemill.cluster.results.commits import OWNED_BY_URI, Commit, Entry, SourceRecord, new_run_id
    from framemill.cluster.results.dataset import Dataset
    from framemill.cluster.results.parts import write_part
    from framemill.cluster.run.planning import plan_ops
    from framemill.cluster.run.sources import list_sources

    constants = {"shard_seconds": SHARD_SECONDS}
    plan = plan_ops(ExtractRequest(sources=(str(videos),), output=str(output), ops=OPS), SHARD_SECONDS)
    keys = {name: op.key for name, op in plan.ops.items()}
    files = list_sources([str(videos)]).files
    dataset, run_id = Dataset.open(output, create=True, constants=constants), new_run_id()
    with dataset.hold(run_id):
        for start in range(0, len(files), FILES_A_COMMIT):
            some = files[start : start + FILES_A_COMMIT]
            ids = [f"{start + k:032x}" for k in range(len(some))]
            owners = {op: [f.uri for f in some] if op in OWNED_BY_URI else ids for op in OPS}
            parts = [
                write_part(dataset.root, op, [_rows(op, ids, some)], run_id=run_id, seed=owners[op])
                for op in OPS
            ]
            dataset.commit(
                Commit(
                    run_id=run_id,
                    entries=tuple(
                        Entry(op, owner, keys[op]["digest"], rows=1) for op in OPS for owner in owners[op]
                    ),
                    sources=tuple(
                        SourceRecord(file.uri, source_id, file.num_bytes, file.mtime_ns, 60.0)
                        for file, source_id in zip(some, ids, strict=True)
                    ),
                    parts=tuple(part for part in parts if part is not None),
                    keys=keys,
                )
            )


def _rows(op: str, ids: list[str], files: Any) -> pa.Table:
    """A row for each file, with nothing in it but whose it is."""
    from framemill.ops import load_op

    known = {"source_id": ids, "uri": [file.uri for file in files]}
    columns: dict[str, Any] = {"source_id": ids}
    for field in load_op(op).schema:
        columns[field.name] = known.get(field.name) or pa.nulls(len(ids), field.type)
    return pa.table(columns)


BENCHMARKS = [
    Benchmark(
        name="resume_10k",
        work="the same command again on Ray, 10,000 finished files, nothing computed",
        against="-",
        goal=20,
        unit="s",
        at_least=False,
        run=resume,
    )
]
