"""The main job on a Ray of this machine, with what it puts into the object store.

python -m benchmarks.ray_traffic FOLDER OUTPUT OPERATIONS SAMPLE NUM_CPUS
Prints {"seconds", "store_bytes"} as `benchmarks.peers.ray_frames_as_rows` does: seconds without
Ray's start, and bytes of every block of the pipeline, the tasks that it begins with included.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from typing import Any

from benchmarks.harness import REPOSITORY, BenchmarkError


def main() -> None:
    folder, output, ops, sample, num_cpus = sys.argv[1:]
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    from cluster.engine import run_extract
    from cluster.on_ray import engine as ray_engine
    from cluster.on_ray.stream import ResultStream
    from cluster.request import ExtractRequest

    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    variables = {"PYTHONPATH": str(REPOSITORY)}
    ray.init(num_cpus=int(num_cpus), runtime_env={"env_vars": variables}, **quiet)
    pipelines: list[Any] = []

    class Watched(ResultStream):
        def __init__(self, results: ray.data.Dataset) -> None:
            pipelines.append(results)
            super().__init__(results)

    engine: Any = ray_engine
    engine.ResultStream = Watched
    started = time.monotonic()
    request = ExtractRequest(
        sources=(folder,), output=output, ops=tuple(ops.split(",")), sample=sample, engine="ray"
    )
    summary = run_extract(request)
    seconds = time.monotonic() - started
    if summary.exit_code or not pipelines:
        raise BenchmarkError(f"exit code {summary.exit_code}: {summary.errors}")
    # "... Output size bytes per block: 1 min, 2 max, 3 mean, 4 total"
    totals = [
        int(total)
        for pipeline in pipelines
        for total in re.findall(r"Output size bytes per block:.*?(\d+) total", pipeline.stats())
    ]
    ray.shutdown()
    if not totals:
        raise BenchmarkError("Ray tells no sizes of blocks")
    json.dump({"seconds": seconds, "store_bytes": sum(totals)}, sys.stdout)


if __name__ == "__main__":
    main()
