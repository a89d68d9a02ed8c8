"""Storage, memory and models that give trouble on Ray: said soon, and put right by the next run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("ray")

from benchmarks.machines import can_have_namespaces
from benchmarks.stand_ins import in_workers
from framemill.cluster.engines.ray import preflight as checking
from framemill.cluster.engines.ray import run as ray_run
from framemill.errors import DatasetError, ModelError, SetupError, UsageError
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.engines.ray.ray_watching import seconds_beyond_start
from tests.cluster.extraction import RecordingReporter, extract, failures, num_runs, statuses, tables_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NUM_FILES, MANY_FILES = 12, 72
STORE_BYTES = 80 << 20  # the least that Ray takes is 75 MB

# In the workers, each short file takes half a second; where a file `broken` lies beside the results, no
# model can be opened.
SLOW_AND_BROKEN = """
def stand_in():
    import os, time, framemill.actors.shard_processor as shard_processor, onnxruntime
    real, session = shard_processor.read_shard, onnxruntime.InferenceSession
    def read_shard(*given):
        time.sleep(0.5)
        yield from real(*given)
    def broken(*given, **named):
        if os.path.exists(os.environ['BROKEN']):
            raise RuntimeError('not enough memory for this model')
        return session(*given, **named)
    shard_processor.read_shard, onnxruntime.InferenceSession = read_shard, broken
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file is there, no model can be opened."""
    return tmp_path_factory.mktemp("models") / "broken"


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory, broken: Path) -> Iterator[None]:
    patch = tmp_path_factory.mktemp("patch")
    (patch / "sitecustomize.py").write_text(in_workers(SLOW_AND_BROKEN))
    with small_ray(patch, {"BROKEN": str(broken)}, object_store_memory=STORE_BYTES):
        yield


@pytest.fixture
def videos(clips: Path, tmp_path: Path) -> Path:
    """Short clips of different content."""
    folder = tmp_path / "real"
    folder.mkdir()
    for number in range(NUM_FILES):
        free = b"\0\0\0\x08free" * (40 * number)
        (folder / f"{number}.mp4").write_bytes((clips / "b.mp4").read_bytes() + free)
    return folder


def _wait_for_rows(out: Path) -> None:
    deadline = time.monotonic() + 180
    while not any(out.glob("media/*.parquet")):
        assert time.monotonic() < deadline, "nothing was committed in three minutes"
        time.sleep(0.02)


def test_an_object_store_that_others_fill(videos: Path, tmp_path: Path) -> None:
    import ray

    held = [ray.put(np.zeros(8 << 20, np.uint8)) for _ in range(12)]  # more than fits: Ray spills
    summary = extract_on_ray(videos, out=tmp_path / "out")
    assert len(held) * (8 << 20) > STORE_BYTES
    assert (summary.exit_code, summary.files_computed) == (0, NUM_FILES)
    del held
    extract(videos, out=tmp_path / "local")
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "local")


def test_frames_that_do_not_fit_the_object_store(videos: Path, tmp_path: Path) -> None:
    import ray

    held = [ray.put(np.zeros(8 << 20, np.uint8)) for _ in range(9)]
    asked: dict[str, Any] = {"topology": "split", "actors": "1", "decoders": "1", "sample": "all"}
    summary = extract_on_ray(videos, out=tmp_path / "out", **asked)
    assert (summary.exit_code, summary.files_computed) == (0, NUM_FILES)
    del held
    extract(videos, out=tmp_path / "local", sample="all")
    assert tables_of(tmp_path / "out") == tables_of(tmp_path / "local")


def test_sources_that_are_away_now_and_then(videos: Path, tmp_path: Path) -> None:
    """As on a network share: the folder goes away and comes back while the run works."""
    share, out = tmp_path / "share", tmp_path / "out"
    share.symlink_to(videos)
    ended = threading.Event()

    def flip() -> None:
        _wait_for_rows(out)
        while not ended.is_set():
            share.unlink()
            ended.wait(0.3)
            share.symlink_to(videos)
            ended.wait(0.7)

    named = [share / path.name for path in sorted(videos.iterdir())]
    flipping = threading.Thread(target=flip, daemon=True)
    flipping.start()
    codes = [extract_on_ray(*named, out=out).exit_code]
    ended.set()
    flipping.join(10)
    assert set(failures(out).values()) <= {"failed"}
    while codes[-1] != 0:
        assert len(codes) < 3, f"still {failures(out)}"
        codes.append(extract_on_ray(*named, out=out).exit_code)
    extract(*named, out=tmp_path / "local")
    assert statuses(out) == {path.name: "ok" for path in named}
    assert tables_of(out) == tables_of(tmp_path / "local")
    assert num_runs(out) == len(codes)


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of eight megabytes."""
    if not can_have_namespaces():
        pytest.skip("needs the right to mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up(videos: Path, little_disk: Path, tmp_path: Path) -> None:
    out, ballast = little_disk / "out", little_disk / "ballast"
    for number in range(NUM_FILES, MANY_FILES):  # so that much is left when the first rows are there
        free = b"\0\0\0\x08free" * (40 * number)
        (videos / f"{number}.mp4").write_bytes((videos / "0.mp4").read_bytes() + free)

    def fill() -> None:
        _wait_for_rows(out)
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    filler = threading.Thread(target=fill, daemon=True)
    filler.start()
    with pytest.raises(DatasetError, match="no space left"):
        extract_on_ray(videos, out=out)
    filler.join(10)
    ballast.unlink()
    assert 0 < len(statuses(out)) < MANY_FILES
    assert extract_on_ray(videos, out=out).exit_code == 0
    extract(videos, out=tmp_path / "local")
    assert tables_of(out) == tables_of(tmp_path / "local")


def test_an_output_that_cannot_be_written(videos: Path, little_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(little_disk)], check=True)
    started = time.monotonic()
    with pytest.raises((UsageError, DatasetError), match="Read-only file system"):
        extract_on_ray(videos, out=little_disk / "out")
    assert time.monotonic() - started < 20


def test_a_model_that_cannot_be_opened_ends_the_run_at_once(
    videos: Path, tmp_path: Path, broken: Path
) -> None:
    out = tmp_path / "out"
    broken.touch()
    started = time.monotonic()
    try:
        with pytest.raises(ModelError, match="not enough memory for this model"):
            extract_on_ray(videos, out=out, ops=("media", "speech"))
    finally:
        broken.unlink()
    assert time.monotonic() - started < 60
    assert not list(out.glob("*/*.parquet"))
    assert extract_on_ray(videos, out=out, ops=("media", "speech")).exit_code == 0


def test_actors_that_hold_every_cpu(videos: Path, tmp_path: Path) -> None:
    """Another job took them: that is said, instead of waiting for ever."""
    import ray

    class Holder:
        def there(self) -> bool:
            return True

    holder: Any = cast(Any, ray.remote(num_cpus=4)(Holder)).remote()
    try:
        assert ray.get(holder.there.remote(), timeout=60)
        started = time.monotonic()
        with pytest.raises(SetupError, match=r"no room for an actor(.|\n)*0 of 4 CPUs"):
            extract_on_ray(videos, out=tmp_path / "out")
        assert time.monotonic() - started < 20
    finally:
        ray.kill(holder)


def test_a_cluster_that_is_full_is_told_of_and_the_run_goes_on(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job takes every CPU just after the check, and gives them back when that was told."""
    import ray

    monkeypatch.setattr(checking, "_require_room", lambda pool, seconds: None)
    monkeypatch.setattr(ray_run, "WATCH_SECONDS", 0.5)

    class Holder:
        def there(self) -> bool:
            return True

    holder: Any = cast(Any, ray.remote(num_cpus=4)(Holder)).remote()
    assert ray.get(holder.there.remote(), timeout=60)
    reporter = RecordingReporter()

    def let_go() -> None:
        deadline = time.monotonic() + 180
        while not any("no progress" in said for said in reporter.said) and time.monotonic() < deadline:
            time.sleep(0.1)
        ray.kill(holder)

    letting = threading.Thread(target=let_go, daemon=True)
    letting.start()
    summary = extract_on_ray(videos, out=tmp_path / "out", reporter=reporter, stall_seconds=2.0)
    letting.join(10)
    assert (summary.exit_code, summary.files_computed) == (0, NUM_FILES)
    told = next(said for said in reporter.said if "no progress" in said)
    assert (
        f"{NUM_FILES} files wait for an actor, and none works. Wanted: 2 actors of 1 CPUs and 0 GPUs" in told
    )
    assert "The cluster has 1 nodes, the largest with 4 CPUs; 0 of 4 CPUs" in told
    assert "Free some, add a node, or" in told and "logs" in told


def test_a_local_ray_that_does_not_start(videos: Path, tmp_path: Path) -> None:
    """As where the machine's shared memory is too small: exit code 5 and no traceback."""
    line = [sys.executable, "-m", "framemill", "extract", str(videos), "-o", str(tmp_path / "out")]
    environment = {**os.environ, "RAY_TMPDIR": "/proc/nowhere"}
    started = time.monotonic()
    run = subprocess.run(
        [*line, "--engine", "ray"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 5, run.stderr
    assert "no Ray cluster at this machine" in run.stderr and "Traceback" not in run.stderr
    assert seconds_beyond_start(started) < 20
