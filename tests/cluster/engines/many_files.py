"""A run over very many files by stand-ins that answer at once: what the driver itself needs for a file.

As a program it prints one line of JSON: `python -m tests.cluster.engines.many_files FOLDER NUM_FILES`.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence

from framemill.actors.shards import Shard
from framemill.actors.shortfalls import Delivered
from framemill.cluster import engines, extraction, extraction_run
from framemill.cluster.engines.base import Engine, Setup
from framemill.cluster.engines.run import Run
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results import layout
from framemill.cluster.results.commits import Part
from framemill.cluster.run.committing import PendingCommit, PendingRun
from framemill.cluster.run.messages import Opened, ShardDone
from framemill.cluster.run.progress import Outcome
from framemill.cluster.run.source_files import SourceFile, SourceFiles
from framemill.cluster.run.sources import SourceList

OPS = ("media", "frames", "scenes", "audio_levels", "speech")
AT_ONCE = 512


class StandInRun(Run):
    """Opens and finishes files without looking at them."""

    most_sources = 2048

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._num_parts = 0

    def start(self) -> None:
        self._new = self.jobs.by_size()

    def place(self) -> None: ...

    def is_idle(self) -> bool:
        return not self._new

    def take(self, timeout_seconds: float) -> None:
        for job in [self.jobs.begin(self._new.first()) for _ in range(min(AT_ONCE, len(self._new)))]:
            source_id = hashlib.sha256(job.file.uri.encode()).hexdigest()
            shard = Shard(0, 300, True, 10.0)
            self.states.opened(job, Opened(source_id=source_id, duration_seconds=10.0, shards=(shard,)))
            job.waiting = []
            rows = {op: len(job.file.uri) + 7 * number for number, op in enumerate(OPS) if op != "media"}
            delivered = Delivered(duration_seconds=10.0)
            self.states.shard_done(job, ShardDone(shard_index=0, rows=rows, delivered=delivered))
            self.states.open.clear()

    def write(self, pending: PendingCommit | PendingRun) -> None:
        tables = dict(pending.request.tables)
        tables |= {"media": tuple(row.uri for row in pending.request.media)} if pending.request.media else {}
        self.commit(pending, [self._part(table, owners) for table, owners in tables.items()])

    def _part(self, table: str, owners: Sequence[str]) -> Part:
        self._num_parts += 1
        name = f"part-{self.config.run_id}-{self._num_parts}.parquet"
        path = layout.hidden_path(self.dataset.root, table, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"rows")
        return Part(table, name, len(owners), 4, tuple(owners))

    def interrupt(self) -> None: ...

    def close(self, has_failed: bool) -> None: ...


class StandInEngine(Engine):
    name = "stand-in"

    def run(self, setup: Setup, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        return StandInRun(setup).run(conclude)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main(folder: str, count: str) -> None:
    engines.ENGINES["stand-in"] = f"{__name__}:StandInEngine"

    def list_made_up(*_: object) -> SourceList:
        paths = (f"/archive/of/recordings/of/{n // 1000:05}/camera-{n:08}.mp4" for n in range(int(count)))
        files = SourceFiles(SourceFile(path, path, 10_000_000 + n, n) for n, path in enumerate(paths))
        files.close()
        return SourceList(files, 0)

    extraction_run.list_sources = list_made_up  # type: ignore[assignment]
    request = ExtractRequest(sources=("/archive",), output=folder, ops=OPS, engine="stand-in")
    before = peak_bytes()
    began = time.process_time()
    summary = extraction.run_extract(request)
    told = {
        "cpu_seconds": time.process_time() - began,
        "computed": summary.files_computed,
        "cached": summary.files_cached,
        "before_bytes": before,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
