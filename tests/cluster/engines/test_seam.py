"""The seam between a run and its engine: a third engine, in one process, is nothing but a few methods."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from framemill.cluster import engines
from framemill.cluster.engines.base import Engine, Setup
from framemill.cluster.engines.run import Run
from framemill.cluster.results.storage import name_root
from framemill.cluster.run.committing import PendingCommit, PendingRun
from framemill.cluster.run.failures import describe_failure
from framemill.cluster.run.jobs import Job
from framemill.cluster.run.messages import OpenSource, RunShard
from framemill.cluster.run.part_writer import PartWriter
from framemill.cluster.run.progress import Outcome
from framemill.cluster.run.shard_runner import ShardRunner
from framemill.errors import SetupError, UsageError
from tests.cluster.engines.local.test_shards import divided
from tests.cluster.extraction import OPS, RecordingReporter, extract, rows_of, statuses, tables_of


class HereRun(Run):
    """Does everything at once, in this thread."""

    most_sources = 2

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._runner = ShardRunner(setup.config)
        self._writer = PartWriter(name_root(setup.config.root), setup.config.run_id, setup.config.keys)
        self._new = deque(map(setup.jobs.begin, setup.jobs.left()))
        self._steps: deque[Callable[[], None]] = deque()

    def start(self) -> None: ...

    def place(self) -> None:
        if self._new:
            self._steps.append(partial(self._open, self._new.popleft()))
        while self.states.open:
            job = self.states.open.popleft()
            job.running += len(job.waiting)
            self._steps.extend(partial(self._shard, job, index) for index in job.waiting)
            job.waiting = []
        while self.states.to_merge:
            self._steps.append(partial(self._merge, self.states.to_merge.popleft()))

    def is_idle(self) -> bool:
        return not self._steps and not self._new

    def take(self, timeout_seconds: float) -> None:
        if self._steps:
            self._steps.popleft()()

    def _open(self, job: Job) -> None:
        try:
            opened = self._runner.sources.open(OpenSource(uri=job.file.uri, path=job.file.path_bytes))
        except Exception as error:
            return self.fail(job, describe_failure(error))
        self.states.opened(job, opened)

    def _shard(self, job: Job, index: int) -> None:
        ops = tuple(job.stages[0])
        request = RunShard(
            uri=job.file.uri, path=job.file.path_bytes, source_id=job.source_id, shard=job.shards[index],
            shard_index=index, num_shards=len(job.shards), ops=ops, earlier=self.states.earlier(job, ops),
        )  # fmt: skip
        job.running -= 1
        if job.file.uri.endswith("cursed.mp4"):
            return self.quarantine(job, "was cursed")
        try:
            done = self._runner.run(request)
        except Exception as error:
            return self.fail(job, describe_failure(error))
        self.states.shard_done(job, done)

    def _merge(self, job: Job) -> None:
        self.states.merged(job, self._runner.merge(self.merge_request(job, self.states.earlier)))

    def write(self, pending: PendingCommit | PendingRun) -> None:
        self.progress.record("here", self._runner.figures())
        written = self._writer.write(pending.request, self._runner.finished, self._runner.sources.describe)
        self.commit(pending, written.parts)

    def interrupt(self) -> None:
        self._steps.clear()
        self._new.clear()

    def close(self, has_failed: bool) -> None: ...


class HereEngine(Engine):
    name = "here"

    def run(self, setup: Setup, conclude: Callable[[Outcome], PendingRun]) -> Outcome:
        return HereRun(setup).run(conclude)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.ENGINES, "here", f"{__name__}:HereEngine")


def test_a_third_engine_gives_the_same_rows(clips: Path, tmp_path: Path) -> None:
    summary = extract(clips, out=tmp_path / "here", engine="here")
    extract(clips, out=tmp_path / "local")
    assert (summary.exit_code, summary.files_computed) == (0, 3)
    assert tables_of(tmp_path / "here") == tables_of(tmp_path / "local")
    (run,) = rows_of(tmp_path / "here", "runs")
    assert run["engine"] == "here" and dict(run["rows"]) == dict(summary.rows)
    assert extract(clips, out=tmp_path / "here", engine="here").files_computed == 0


def test_divided_sources_and_what_is_given_up(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_bytes((clips / "a.mp4").read_bytes())
    (folder / "cursed.mp4").write_bytes((clips / "b.mp4").read_bytes())
    (folder / "garbage.mp4").write_bytes(bytes(range(256)))
    summary = extract(folder, out=divided(tmp_path / "here", 1.0), engine="here", ops=OPS)
    assert (summary.exit_code, summary.files_failed) == (3, 2)
    errors = {Path(row["uri"]).name: row for row in rows_of(tmp_path / "here", "errors")}
    assert errors["cursed.mp4"]["status"] == "quarantined"
    assert errors["cursed.mp4"]["message"] == "quarantined: it was cursed"
    assert statuses(tmp_path / "here")["a.mp4"] == "ok"
    extract(folder / "a.mp4", out=tmp_path / "whole", ops=OPS)
    for name in ("frames", "scenes", "audio_levels"):
        assert tables_of(tmp_path / "here")[name] == tables_of(tmp_path / "whole")[name]


def test_an_engine_that_cannot_go_on_leaves_what_was_committed(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(clips / "a.mp4", out=tmp_path / "here", engine="here")
    before = tables_of(tmp_path / "here")

    def refuse(self: HereRun, timeout_seconds: float) -> None:
        raise SetupError("no room")

    monkeypatch.setattr(HereRun, "take", refuse)
    with pytest.raises(SetupError, match="no room"):
        extract(clips, out=tmp_path / "here", engine="here")
    assert tables_of(tmp_path / "here") == before


def test_files_that_an_engine_loses_are_tried_again(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(HereRun, "_open", lambda self, job: None)
        reporter = RecordingReporter()
        summary = extract(clips, out=tmp_path / "here", engine="here", reporter=reporter)
    assert (summary.exit_code, summary.files_failed) == (4, 3)
    assert all("no worker told" in error["message"] for error in summary.errors)
    assert extract(clips, out=tmp_path / "here", engine="here").exit_code == 0


def test_an_engine_that_is_none(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose auto, local or ray"):
        extract(clips, out=tmp_path / "out", engine="slurm")
