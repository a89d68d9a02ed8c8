"""The common way to put video through Ray Data: frames are rows, and stages pass them through the store.

python -m benchmarks.peers.ray_frames_as_rows MODEL.onnx FOLDER STEP_SECONDS NUM_CPUS
Gets the six results of `benchmarks.suite.cluster.SIX` with the usual libraries, as a careful user would:

- Two datasets, one after the other, for their rows are of two kinds: a file (its container's metadata, its
  scenes, its sound's levels and speech), and a sampled frame (its measures and objects). Each has the cluster
  to itself, as Ray Data expects; at once they would share CPUs that both count as theirs.
- A file is a block, so that files are shared out one by one. Ray fuses stages that keep the number of rows:
  those of files run as one task a file, and frames cross the store once, from decoding to the measures.
- Actors, half of the CPUs, open the detector once; faster-whisper itself keeps the speech network.

Prints {"seconds", "store_bytes", "files", "frames", "objects", "scenes", "levels", "speech"}: seconds of both
datasets without Ray's start, bytes that the stages put into the object store, and rows of each kind;
objects are counted from a score of 0.35.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 16
COUNTED_SCORE = 0.35


def read_lists(folder: Path, name: str) -> list[pa.Array]:
    """What the lists of a column hold, of every Parquet file in a folder."""
    columns = [pq.read_table(path, columns=[name])[name] for path in sorted(folder.rglob("*.parquet"))]
    return [chunk.flatten() for column in columns for chunk in column.chunks]


def count_rows(folder: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in folder.rglob("*.parquet"))


def main() -> None:
    model, folder, step, num_cpus = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_worker_niceness", "0")  # as on the other side
    import ray
    import ray.data

    from benchmarks.peers import row_stages as stages

    project = str(Path(__file__).resolve().parents[2])
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    variables = {"PYTHONPATH": project}
    ray.init(address="local", num_cpus=num_cpus, runtime_env={"env_vars": variables}, **quiet)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    paths = [{"path": str(path)} for path in sorted(folder.iterdir())]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as output:
        of_files, of_frames = Path(output, "files"), Path(output, "frames")
        listed = ray.data.from_items(paths, override_num_blocks=len(paths))
        files = (
            listed.map(stages.probe)
            .map(stages.find_scenes)
            .map(stages.read_sound)
            .map(stages.measure_levels)
            .map(stages.find_speech)
        )
        files.write_parquet(str(of_files))
        frames = (
            listed.flat_map(cast(Any, stages.decode), fn_kwargs={"step": step})
            .map_batches(stages.measure_frames, batch_size=BATCH)
            .map_batches(
                stages.FindObjects,
                fn_constructor_args=(model,),
                batch_size=BATCH,
                compute=ray.data.ActorPoolStrategy(size=max(1, num_cpus // 2)),
            )
        )
        frames.write_parquet(str(of_frames))
        seconds = time.monotonic() - started
        found = read_lists(of_frames, "objects")
        told: dict[str, Any] = {
            "files": count_rows(of_files),
            "frames": count_rows(of_frames),
            "objects": sum(one["score"] >= COUNTED_SCORE for some in found for one in some.to_pylist()),
        }
        for kind, column in (("scenes", "scenes"), ("levels", "rms_db"), ("speech", "speech")):
            told[kind] = sum(map(len, read_lists(of_files, column)))
    # "... Output size bytes per block: 1 min, 2 max, 3 mean, 4 total"
    totals = re.findall(r"Output size bytes per block:.*?(\d+) total", files.stats() + frames.stats())
    ray.shutdown()
    json.dump({"seconds": seconds, "store_bytes": sum(map(int, totals)), **told}, sys.stdout)


if __name__ == "__main__":
    main()
