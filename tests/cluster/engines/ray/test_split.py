"""The split topology: actors that decode and actors that compute give the rows of the local engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from tests.cluster.engines.local.test_shards import divided
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import (
    OPS,
    RecordingReporter,
    extract,
    failures,
    render_clip,
    rows_of,
    statuses,
    tables_of,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

# Everyone leaves word beside the file that he works on: who he is, and which GPUs he sees.
WATCH = """
import os, sys
def leave_word(path, role):
    told = os.environ.get('CUDA_VISIBLE_DEVICES', 'all')
    with open(f'{path}.{role}-{os.getpid()}', 'w') as mark:
        mark.write(told)
def lay_traps():
    import framemill.cluster.engines.ray.split as split
    from framemill.cluster.run.shard_runner import ShardRunner
    read_real, run_real = split.read_shard, ShardRunner.run
    def read_shard(path, *rest):
        leave_word(path, 'decoder')
        name = os.path.basename(path)
        if name.startswith('once') and not os.path.exists(path + '.died'):
            open(path + '.died', 'w').close()
            os.kill(os.getpid(), 9)
        if name.startswith('crash'):
            os.kill(os.getpid(), 11)
        yield from read_real(path, *rest)
    def run(self, request):
        path = os.fsdecode(request.path)
        leave_word(path, 'actor')
        if os.path.basename(path).startswith('crash') and self.processor.read is None:
            os.kill(os.getpid(), 11)
        return run_real(self, request)
    split.read_shard, ShardRunner.run = read_shard, run
class Late:
    def find_spec(self, name, path=None, target=None):
        if name == 'framemill.cluster.engines.ray.split':
            sys.meta_path.remove(self)
            import importlib.util
            found = importlib.util.find_spec(name)
            run = found.loader.exec_module
            def exec_module(module):
                run(module)
                lay_traps()
            found.loader.exec_module = exec_module
            return found
if 'default_worker' in ' '.join(sys.orig_argv):
    sys.meta_path.insert(0, Late())
"""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = tmp_path_factory.mktemp("patch")
    (patch / "sitecustomize.py").write_text(WATCH)
    with small_ray(patch, num_cpus=6, num_gpus=2):
        yield


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    """Some clips of different content, and one that is divided."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(4):
        free = b"\0\0\0\x08free" * number
        (videos / f"{number}.mp4").write_bytes((clips / "b.mp4").read_bytes() + free)
    render_clip(videos / "long.mkv", seed=7, seconds=11.0)
    (videos / "garbage.mp4").write_bytes(bytes(range(256)) * 64)
    return videos


def _words(folder: Path, role: str) -> dict[str, str]:
    """Process id -> GPUs that it saw."""
    return {mark.name.rpartition("-")[2]: mark.read_text() for mark in folder.glob(f"*.{role}-*")}


def _clean(folder: Path) -> None:
    for mark in (*folder.glob("*.processor-*"), *folder.glob("*.decoder-*"), *folder.glob("*.died")):
        mark.unlink()


def test_the_rows_of_the_local_engine(folder: Path, tmp_path: Path) -> None:
    asked = {"sample": "every:1", "ops": OPS}
    split = {"topology": "split", "actors": "2", "actor_cpus": 1.0, "actor_gpus": 0.5, "decoders": "2"}
    there = extract_on_ray(folder, out=divided(tmp_path / "split"), **asked, **split)
    decoders, actors = _words(folder, "decoder"), _words(folder, "actor")
    # What is long runs in a further round, with two actors of its own.
    assert len(decoders) == 2 <= len(actors) <= 4 and not set(decoders) & set(actors)
    assert set(decoders.values()) == {""}, "a CPU actor sees no GPU"
    assert set(actors.values()) <= {"0", "1"}, "an actor sees the GPU that it shares, and no other"
    _clean(folder)
    here = extract(folder, out=divided(tmp_path / "local"), **asked)
    for field in ("exit_code", "files_computed", "files_failed", "rows", "frames"):
        assert getattr(there, field) == getattr(here, field), field
    assert tables_of(tmp_path / "split") == tables_of(tmp_path / "local")


def test_a_decoder_that_dies_costs_only_the_guilty(folder: Path, tmp_path: Path) -> None:
    (folder / "garbage.mp4").unlink()
    render_clip(folder / "once.mp4", seed=21, seconds=3.0)
    render_clip(folder / "crash.mp4", seed=22, seconds=3.0)
    reporter = RecordingReporter()
    split = {"topology": "split", "decoders": "1-2"}
    summary = extract_on_ray(folder, out=tmp_path / "out", reporter=reporter, **split)
    assert any("once.mp4" in said and "runs alone next" in said for said in reporter.said)
    assert failures(tmp_path / "out") == {("crash.mp4", "*"): "quarantined"}
    assert (summary.exit_code, summary.files_failed) == (3, 1)
    assert {"quarantined" in row["message"] for row in rows_of(tmp_path / "out", "errors")} == {True}
    _clean(folder)
    (folder / "crash.mp4").unlink()
    extract(folder, out=tmp_path / "fresh")
    assert statuses(tmp_path / "out") == statuses(tmp_path / "fresh")
    assert {**tables_of(tmp_path / "out"), "errors": []} == {**tables_of(tmp_path / "fresh"), "errors": []}
