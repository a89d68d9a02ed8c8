"""Ray's own words stay away from the terminal, and errors of Ray's become one line."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray")

import ray.exceptions

from benchmarks.processes import descendants
from benchmarks.stand_ins import in_workers
from framemill.cluster.engines.ray.ray_logging import PipelineError, describe_end, one_line
from tests.cluster.engines.ray.ray_local import TOO_SLOW, slow_down, start_patiently
from tests.cluster.extraction import PROJECT, render_clip, six_alike, statuses, tables_of

MOST_SECONDS = 240


class _Terminal:
    """A command in a pseudo-terminal, and what it showed there."""

    def __init__(self, line: list[str], environment: dict[str, str]) -> None:
        self.shown = b""
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            line, cwd=PROJECT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._ours = ours
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                taken = os.read(self._ours, 1 << 16)
            except OSError:  # the last process that had it open has ended
                return
            self.shown += taken

    def wait(self, happened: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + MOST_SECONDS
        while not happened():
            assert self.process.poll() is None, f"{what}: it ended first\n{self.shown.decode()}"
            assert time.monotonic() < deadline, f"{what}: not in {MOST_SECONDS} s\n{self.shown.decode()}"
            time.sleep(0.02)

    def finish(self) -> str:
        """What was shown until its end, without colours and what moves the cursor."""
        self.process.wait(MOST_SECONDS)
        self._reader.join(10)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown.decode())

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
        os.close(self._ours)


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where a Ray that the test starts keeps its logs; sockets have short names."""
    folder = Path(tempfile.mkdtemp(prefix="fm-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _extract(folder: Path, out: Path, ray_folder: Path, patch: Path, *more: str) -> _Terminal:
    line = [
        sys.executable, "-m", "framemill", "extract", str(folder), "-o", str(out), "--engine", "ray",
        "--actors", "1", "--actor-cpus", "1", *more,
    ]  # fmt: skip
    path = os.pathsep.join((str(patch), str(PROJECT)))
    # As `ray start` leaves it: without --address, the run starts a Ray of its own all the same.
    (ray_folder / "ray").mkdir(exist_ok=True)
    (ray_folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": str(ray_folder), "FRAMEMILL_OFFLINE": "1"}
    return _Terminal(line, {**os.environ, **quiet, "PYTHONPATH": path, "XDG_CACHE_HOME": str(ray_folder)})


def _actors(root: int) -> list[int]:
    found = []
    for pid in descendants(root):
        try:
            line = " ".join(psutil.Process(pid).cmdline())
        except psutil.Error:
            continue  # it ended meanwhile
        if "ray::" in line and "ShardProcessorActor" in line:
            found.append(pid)
    return found


@pytest.mark.cluster
@pytest.mark.slow
def test_the_death_of_an_actor_is_not_seen_on_the_terminal(tmp_path: Path, ray_folder: Path) -> None:
    folder = six_alike(tmp_path / "videos", render_clip(tmp_path / "clip.mp4", seed=2))
    out = tmp_path / "out"
    asked = ("--ops", "media,frames")

    def run() -> tuple[int, str]:
        terminal = _extract(folder, out, ray_folder, slow_down(tmp_path), *asked)
        try:
            terminal.wait(lambda: any(out.glob("media/*.parquet")), "the first rows")
            (actor,) = _actors(terminal.process.pid)
            os.kill(actor, signal.SIGKILL)
            shown = terminal.finish()
        finally:
            terminal.close()
        assert terminal.process.returncode == 0, shown
        return actor, shown

    actor, shown = start_patiently(run)
    assert "6 files: 6 computed" in shown and statuses(out).keys() == {f"{i}.mp4" for i in range(6)}
    _assert_ours(shown)
    (kept,) = ray_folder.glob("ray/session_latest/logs/framemill-*.log")
    assert "(raylet)" in kept.read_text() and str(actor) in kept.read_text()


@pytest.mark.cluster
@pytest.mark.slow
def test_ctrl_c_reaches_every_process_of_the_terminal(tmp_path: Path, ray_folder: Path) -> None:
    folder = six_alike(tmp_path / "videos", render_clip(tmp_path / "clip.mp4", seed=2))
    for number in range(6, 60):
        free = b"\0\0\0\x08free" * (40 * number)
        (folder / f"{number}.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes() + free)
    out = tmp_path / "out"

    def run() -> str:
        terminal = _extract(folder, out, ray_folder, slow_down(tmp_path), "--ops", "media,frames")
        try:
            terminal.wait(lambda: any(out.glob("media/*.parquet")), "the first rows")
            os.killpg(terminal.process.pid, signal.SIGINT)
            shown = terminal.finish()
        finally:
            terminal.close()
        assert terminal.process.returncode == 130, shown
        return shown

    shown = start_patiently(run)
    _assert_ours(shown)
    assert "interrupted: committing what is finished" in " ".join(shown.split())
    assert 0 < len(statuses(out)) < 60
    assert tables_of(out).keys() == {"media", "frames"}


# The largest file comes first, takes a second, and then no model can be had for it; others take long.
WITHOUT_MODEL = """
def stand_in():
    import time, framemill.actors.shard_processor as shard_processor
    from framemill.errors import ModelError
    real = shard_processor.read_shard
    def read_shard(path, *rest):
        first = path.endswith('5.mp4')
        time.sleep(1 if first else 60)
        if first:
            raise ModelError('speech.onnx: not enough memory for this model')
        yield from real(path, *rest)
    shard_processor.read_shard = read_shard
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_what_ends_a_run_is_the_last_that_is_seen(tmp_path: Path, ray_folder: Path) -> None:
    """Its actors are killed while the pipeline still has tasks for them, which Ray Data calls a failure."""
    folder = six_alike(tmp_path / "videos", render_clip(tmp_path / "clip.mp4", seed=2))
    (tmp_path / "sitecustomize.py").write_text(in_workers(WITHOUT_MODEL))

    def run() -> str:
        terminal = _extract(folder, tmp_path / "out", ray_folder, tmp_path, "--ops", "media,frames")
        try:
            shown = terminal.finish()
        finally:
            terminal.close()
        assert terminal.process.returncode == 5 and TOO_SLOW not in shown, shown
        return shown

    shown = start_patiently(run)
    _assert_ours(shown)
    said = " ".join(shown[shown.index("error: ") :].split())
    assert said == "error: speech.onnx: not enough memory for this model (on a worker)"
    (kept,) = ray_folder.glob("ray/session_latest/logs/framemill-*.log")
    assert "Traceback" not in kept.read_text(), "the pipeline was ended before its actors were killed"


def _assert_ours(shown: str) -> None:
    foreign = ("Traceback", "(raylet", "(pid=", "(autoscaler", "ray::", "StreamingExecutor", "Exception in")
    assert [word for word in foreign if word in shown] == [], shown


TASK = """\x1b[36mray::MapWorker(MapBatches(ShardProcessorActor)).submit()\x1b[39m (pid=1, ip=127.0.0.1)
  File "cluster/engines/ray/tasks.py", line 200, in __call__
    raise SetupError("no credentials")
framemill.errors.SetupError: no credentials
and more words of it

The above exception was the direct cause of the following exception:

\x1b[36mray::MapWorker(MapBatches(ShardProcessorActor)).submit()\x1b[39m (pid=1, ip=127.0.0.1)
  File "ray/data/_internal/planner/plan_udf_map_op.py", line 482, in _try_wrap_udf_exception
    raise UserCodeException("UDF failed to process a data block.") from e
ray.exceptions.UserCodeException: UDF failed to process a data block."""
CREATION = """The actor died because of an error raised in its creation task, ray::MapWorker.__init__()
  File "physical_operator.py", line 348, in on_data_ready
    ray.get(self._pending_block_ref)
  File "auto_init_hook.py", line 22, in auto_init_wrapper
    return fn(*args, **kwargs)
ImportError: libcuda.so.1: cannot open shared object file"""
TAIL = """Traceback (most recent call last):
  File "physical_operator.py", line 348, in on_data_ready
    ray.get(self._pending_block_ref)
  File "auto_init_hook.py", line 22, in auto_init_wrapper
    return fn(*args, **kwargs)"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ray.exceptions.RayError(TASK), "framemill.errors.SetupError: no credentials"),
        (ray.exceptions.RayError(CREATION), "ImportError: libcuda.so.1: cannot open shared object file"),
        (ray.exceptions.RayError(TAIL), "RayError"),
        (ray.exceptions.RayError("the node died\n\tnode id: 7"), "RayError: the node died"),
        (ray.exceptions.GetTimeoutError(""), "GetTimeoutError"),
        (KeyError("operator"), "KeyError: 'operator'"),
    ],
)
def test_an_error_is_one_line_and_no_traceback(error: Exception, said: str) -> None:
    assert one_line(error) == said
    ending = describe_end(error)
    assert said in ending and "\n" not in ending and "what was committed stays" in ending


def test_an_error_that_is_none_of_rays_is_told_as_itself() -> None:
    assert one_line(PipelineError("KeyError: 'operator'")) == "KeyError: 'operator'"
