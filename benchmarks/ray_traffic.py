"""The main job on a Ray that it starts on this machine, with what it puts into the object store.

python -m benchmarks.ray_traffic FOLDER OUTPUT OPERATIONS SAMPLE
Prints {"seconds", "store_bytes", "cpus"}: seconds without Ray's start, bytes of every block of the pipeline,
the tasks that it begins with included, and the CPUs that Ray may share out.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.extracting import named_model
from benchmarks.harness import BenchmarkError


def main() -> None:
    folder, output, ops, sample = sys.argv[1:]
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray
    import ray.data

    from framemill.cluster.engines.ray import stream
    from framemill.cluster.engines.ray.connecting import connect
    from framemill.cluster.extraction import run_extract
    from framemill.cluster.request import ExtractRequest

    told = Path(tempfile.mkdtemp()) / "stats"

    class Watched(stream.PipelineRunner):
        """Tells what each pipeline put into the object store: the driver kills the runner in the end."""

        def begin(self, results: ray.data.Dataset) -> None:
            self.results = results
            super().begin(results)

        def take(self) -> list[str] | None:
            taken = super().take()
            if taken is None:
                with told.open("a") as stats:
                    stats.write(self.results.stats())
            return taken

    watching: Any = stream
    watching.PipelineRunner = Watched
    models = {"objects": named_model("objects").name}
    request = ExtractRequest(
        sources=(folder,),
        output=output,
        ops=tuple(ops.split(",")),
        sample=sample,
        engine="ray",
        models=models,
    )
    connect(request)
    known: Any = ray
    cpus = known.cluster_resources()["CPU"]
    started = time.monotonic()
    summary = run_extract(request)
    seconds = time.monotonic() - started
    if summary.exit_code or not told.exists():
        raise BenchmarkError(f"exit code {summary.exit_code}: {summary.errors}")
    # "... Output size bytes per block: 1 min, 2 max, 3 mean, 4 total"
    totals = [
        int(total) for total in re.findall(r"Output size bytes per block:.*?(\d+) total", told.read_text())
    ]
    ray.shutdown()
    if not totals:
        raise BenchmarkError("Ray tells no sizes of blocks")
    json.dump({"seconds": seconds, "store_bytes": sum(totals), "cpus": cpus}, sys.stdout)


if __name__ == "__main__":
    main()
