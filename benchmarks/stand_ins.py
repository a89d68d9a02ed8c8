"""Stand-ins for the work of actors, put into the workers of a Ray cluster at their start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import REPOSITORY

# Instead of computing, each file sleeps; when it began and ended is written down.
SLEEPING = """
def stand_in():
    import os, time, framemill.actors.shard_processor as shard_processor
    real = shard_processor.read_shard
    def read_shard(*given):
        began = time.time()
        time.sleep(float(os.environ['STAND_IN_SECONDS']))
        yield from real(*given)
        with open(os.path.join(os.environ['STAND_IN_LOG'], str(os.getpid())), 'a') as log:
            log.write(f'{began} {time.time()}\\n')
    shard_processor.read_shard = read_shard
"""
# No file is hashed, indexed or decoded: what is left is scheduling, coordination and commits.
NO_WORK = """
def stand_in():
    import hashlib
    import msgspec
    from framemill.cluster.run.messages import ShardDone
    from framemill.cluster.run.open_sources import OpenSources
    from framemill.cluster.run.shard_runner import ShardRunner
    first, real, index = {}, OpenSources.open, OpenSources.index
    def open_source(self, request):
        if not first:
            first.update(opened=real(self, request), index=self.indexes[request.uri])
        source_id = hashlib.blake2b(request.uri.encode(), digest_size=16).hexdigest()
        return msgspec.structs.replace(first['opened'], source_id=source_id)
    OpenSources.open = open_source
    OpenSources.index = lambda self, uri, path: first.get('index') or index(self, uri, path)
    ShardRunner.run = lambda self, request: ShardDone(shard_index=request.shard_index)
"""
_LATE = """
import sys
class Late:
    def find_spec(self, name, path=None, target=None):
        if name == 'framemill.cluster.engines.ray.opening':
            sys.meta_path.remove(self)
            stand_in()
if 'default_worker' in ' '.join(sys.orig_argv):
    sys.meta_path.insert(0, Late())
"""


def in_workers(code: str) -> str:
    """A `sitecustomize` by which the workers of a Ray run `code`'s function `stand_in` before ours begin."""
    return code + _LATE


def environment(folder: Path, code: str, **variables: str) -> Mapping[str, str]:
    """What the processes of a cluster need in order to run with a stand-in.

    Args:
        folder: a new one, for the code and the `log` of `SLEEPING`.
        code: `SLEEPING` or `NO_WORK`.
    """
    (folder / "log").mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(in_workers(code), encoding="utf-8")
    path = os.pathsep.join((str(folder), str(REPOSITORY)))
    return {"PYTHONPATH": path, "STAND_IN_LOG": str(folder / "log"), **variables}


def efficiency(folder: Path, num_slots: int) -> float:
    """Share of the time of all slots that was slept, from when every actor had begun until the last ended.

    Raises:
        ValueError: no actor wrote anything.
    """
    actors = [
        [tuple(map(float, line.split())) for line in path.read_text().splitlines()]
        for path in (folder / "log").iterdir()
    ]
    start = max(min(began for began, _ in actor) for actor in actors)
    end = max(ended for actor in actors for _, ended in actor)
    slept = sum(max(0.0, ended - max(began, start)) for actor in actors for began, ended in actor)
    return slept / (num_slots * (end - start))
