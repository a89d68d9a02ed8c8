"""The main job: what `framemill extract` and `framemill.extract` call."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from framemill.cluster.engines import load_engine
from framemill.cluster.engines.base import Setup
from framemill.cluster.engines.interrupts import exit_code_of
from framemill.cluster.request import ExtractRequest, Reporter, RunSummary, SilentReporter
from framemill.cluster.results import layout
from framemill.cluster.results.commits import OWNED_BY_URI, WHOLE_SOURCE, Commit, new_run_id
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.folders import holds_results
from framemill.cluster.results.marks import InFlightMarks
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.status import UNKNOWN
from framemill.cluster.results.storage import list_names, open_root, remove_tree
from framemill.cluster.run.jobs import Job, JobFailure, known_failures, missing_ops, remembered_id
from framemill.cluster.run.progress import Outcome
from framemill.cluster.run.sources import SourceList, list_sources
from framemill.errors import DatasetError, LeaseError, UsageError

# Reading 256 parts costs a question about 0.1 s, and joining them a run about 0.3 s (measured).
MANY_PARTS, SMALL_PARTS_BYTES = 256, 8 << 20

if TYPE_CHECKING:
    from framemill.cluster.run.committing import PendingRun
    from framemill.cluster.run.messages import RunRow
    from framemill.cluster.run.planning import OpsPlan
    from framemill.cluster.run.source_files import SourceFile

_PACKAGES = ("av", "numpy", "pyarrow", "onnxruntime", "onnxruntime-gpu", "opencv-python-headless")


def run_extract(request: ExtractRequest, reporter: Reporter | None = None) -> RunSummary:
    """Computes what the dataset does not hold yet of these sources.

    Raises:
        UsageError: the request is wrong; nothing was done.
        SetupError: the machine lacks something, such as a model.
        DatasetError: the output folder cannot be used.
    """
    return _Extraction(request, reporter or SilentReporter()).run()


class _Extraction:
    def __init__(self, request: ExtractRequest, reporter: Reporter) -> None:
        self.request = request
        self.reporter = reporter
        self.started = time.monotonic()
        self.started_at = time.time()
        self.run_id = new_run_id()
        self.root = open_root(request.output)
        self.engine = load_engine(request)

    def _report(self, text: str) -> None:
        self.reporter.message(0, text)

    def run(self) -> RunSummary:
        self.engine.check()
        profile = Path(self.request.profile).absolute()
        if self.request.profile and (profile.is_dir() or not profile.parent.is_dir()):
            raise UsageError(f"`profile={str(profile)!r}`: name a file in a folder that exists")
        files = list_sources(self.request.sources, self.root, self.request.reads_subtitles_alone)
        try:
            dataset = self._open(files)
            # Heavy imports wait until the worker is on its way with its own.
            from framemill.actors.shards import SHARD_SECONDS
            from framemill.cluster.run.planning import plan_ops
            from framemill.cluster.run.precision import with_precision
            from framemill.cluster.run.quality import with_quality

            shard_seconds = dataset.constants["shard_seconds"] if dataset else SHARD_SECONDS
            held = dataset.state.keys if dataset else {}
            request = with_quality(self.request)
            on_ray = self.engine.name == "ray"
            self.request = with_precision(request, shard_seconds, held, on_ray, self._report)
            plan = plan_ops(self.request, shard_seconds, held)
            if plan.added:
                self._report(f"also running {', '.join(plan.added)}, which others need")
            if not files.files:
                self.reporter.message(-1, "no usable input: nothing among the sources is a media file")
                return self._summary(files, [], [], Outcome())
            if dataset is None and all(file.num_bytes < 0 for file in files.files):
                return self._summary(files, [_absent(file) for file in files.files], [], Outcome())
            if dataset is not None:
                self._check_rows_there(dataset, plan, files)
            if dataset is None:
                dataset = Dataset.open(self.root, create=True, constants={"shard_seconds": shard_seconds})

            asked = time.monotonic()
            with dataset.hold(self.run_id, on_wait=self._report):
                self.started += time.monotonic() - asked  # waiting for another run is none of this one's work
                return self._compute(dataset, plan, files)
        finally:
            self.engine.close()

    def _open(self, files: SourceList) -> Dataset | None:
        """The dataset if it is there; and a head start for the engine when there is work for sure."""
        dataset = Dataset.open(self.root, create=False) if holds_results(self.root) else None
        if any(dataset is None or remembered_id(file, dataset.state) is None for file in files.files):
            self.engine.prepare()
        return dataset

    def _compute(self, dataset: Dataset, plan: OpsPlan, files: SourceList) -> RunSummary:
        from framemill.cluster.run.committing import PendingRun
        from framemill.cluster.run.worker_config import worker_config

        self._check_rows_there(dataset, plan, files)
        jobs, cached = [], []
        for file in files.files:
            source_id = remembered_id(file, dataset.state)
            job = Job(file, source_id or "")
            if source_id is None or missing_ops(job, plan, dataset.state, self.request.retry_failed):
                jobs.append(job)
            else:
                cached.append(job)
        outcome = Outcome()
        used = {job.source_id: time.time() for job in cached if job.source_id}

        def conclude(outcome: Outcome) -> PendingRun:
            summary = self._summary(files, jobs, cached, outcome, plan, dataset)
            row = _run_row(self.request, self.engine.name, summary, self.started_at, len(cached))
            return PendingRun(dataset, self.run_id, row, used)

        if jobs:
            setup = Setup(
                request=self.request,
                reporter=self.reporter,
                dataset=dataset,
                plan=plan,
                jobs=jobs,
                config=worker_config(self.request, plan, dataset, self.run_id),
                started=self.started,
                num_cached=len(cached),
            )
            outcome = self.engine.run(setup, conclude)
        summary = self._summary(files, jobs, cached, outcome, plan, dataset)
        self._report_what_was_left_out(dataset, plan, jobs, outcome)
        if not jobs and used:
            dataset.commit(Commit(run_id=self.run_id, used=used))
        if not outcome.interrupted:
            if self.request.replace_all:
                self._drop_rest(dataset, plan, files)
            _sweep(dataset, {job.source_id for job in [*jobs, *cached]})
            self._tidy(dataset)
        if self.request.keep_bytes:
            from framemill.cluster.results.compaction import prune

            pruned = prune(dataset, self.run_id, self.request.keep_bytes)
            self._report(f"pruned {len(pruned)} sources to keep {self.request.keep_bytes} bytes")
        return summary

    def _tidy(self, dataset: Dataset) -> None:
        """Joins the smallest parts where a long run left so many that each question would wait for them."""
        if isinstance(dataset.root, RemotePath):
            return  # each part is a request there: `framemill compact` does it when it is asked to
        from framemill.cluster.results.compaction import compact

        try:
            compact(dataset, self.run_id, SMALL_PARTS_BYTES, MANY_PARTS)
        except LeaseError:
            raise
        except DatasetError as error:
            self._report(f"small parts were not joined: {error}")

    def _check_rows_there(self, dataset: Dataset, plan: OpsPlan, files: SourceList) -> None:
        """Refuses what would mix rows of two keys, or drop rows that nothing comes in place of."""
        from framemill.cluster.run.planning import check_keys
        from framemill.cluster.run.replacing import require_covered

        if not self.request.replaces:
            check_keys(plan, dataset.state.keys_in_use())
        elif not self.request.replace_all:
            require_covered(plan, dataset.state, [file.uri for file in files.files])

    def _drop_rest(self, dataset: Dataset, plan: OpsPlan, files: SourceList) -> None:
        """Drops the replaced rows of sources that the run does not name, now that the new ones are there."""
        from framemill.cluster.results.compaction import forget
        from framemill.cluster.run.replacing import plan_rest

        rest = plan_rest(plan, dataset.state, [file.uri for file in files.files])
        if rest.entries:
            forget(dataset, self.run_id, rest)
            tables = ", ".join(rest.drops)
            self._report(f"dropped the rows of files that were not among the sources from {tables}")

    def _report_what_was_left_out(
        self, dataset: Dataset, plan: OpsPlan, jobs: Sequence[Job], outcome: Outcome
    ) -> None:
        """Where adaptive sampling could not keep to its budget, and what a cascade may have missed."""
        if "sampling" in plan.ops:
            options = plan.ops["sampling"].options
            taken = [job.rows.get("sampling", 0) for job in jobs]
            over = [count for count in taken if count > options["budget"]]
            if over:
                floor = f"one in each shot and in every {options['floor_seconds']:g} s is the floor"
                budget = f"the budget of {options['budget']} frames"
                took = f"{len(over)} of {len(jobs)} files took more than {budget}, up to {max(over)}"
                self._report(f"{took}: {floor}")
            under = sum(0 < count < options["budget"] for count in taken)
            if under:
                took = f"{under} of {len(jobs)} files took fewer than {options['budget']} frames"
                self._report(f"{took}: they have no more that lie far enough apart")
        if "candidates" in plan.ops and not outcome.interrupted:
            from framemill.cluster.corpus.recall import update_recall

            target = plan.ops["candidates"].options["recall_target"]
            for line in update_recall(dataset, self.run_id, target):
                self._report(line)

    def _summary(
        self,
        files: SourceList,
        jobs: Sequence[Job],
        cached: Sequence[Job],
        outcome: Outcome,
        plan: OpsPlan | None = None,
        dataset: Dataset | None = None,
    ) -> RunSummary:
        rows: dict[str, int] = {}
        for job in jobs:
            if job.state == "committed":
                for op, count in job.rows.items():
                    rows[op] = rows.get(op, 0) + count
        known: dict[str, dict[str, str]] = {}
        if plan is not None and dataset is not None:
            known = {job.file.uri: known_failures(job, plan, dataset.state) for job in cached}
        bad = [job for job in jobs if job.failures or job.keeps_partial]
        known_bad = [statuses for statuses in known.values() if statuses]
        unusable = sum(not job.is_usable for job in bad)
        unusable += sum(statuses.get(WHOLE_SOURCE, "partial") != "partial" for statuses in known_bad)
        partial = [job for job in bad if not job.is_failed]
        partial += [job for job in cached if set(known.get(job.file.uri, {}).values()) == {"partial"}]
        failed = len(bad) + len(known_bad) - len(partial)
        if outcome.interrupted:
            exit_code = exit_code_of(outcome.ended_by)
        elif unusable == len(files.files):
            exit_code = 4
        else:
            is_well = self.request.tolerates(len(bad) + len(known_bad), len(files.files))
            exit_code = 0 if is_well else 3
        good = [job for job in jobs if not (job.failures or job.keeps_partial)]
        copies = _copies([job for job in good if job.state == "committed"], dataset)
        failures = [
            {
                "uri": j.file.uri,
                "operation": f.operation,
                "status": f.status,
                "error": f.error,
                "message": f.message,
            }
            for j in bad
            for f in j.failures
        ]
        return RunSummary(
            run_id=self.run_id,
            output=str(self.root),
            exit_code=exit_code,
            files_total=len(files.files),
            files_ok=sum(job.state == "committed" for job in good) - len(copies),
            files_copies=len(copies),
            files_not_reached=sum(job.state != "committed" for job in good),
            files_computed=sum(job.state == "committed" for job in jobs),
            files_cached=len(cached),
            files_failed=failed,
            files_partial=len(partial),
            partial_kinds=dict(sorted(Counter(_kind(job, dataset) for job in partial).items())),
            files_skipped=files.num_skipped,
            frames=outcome.frames,
            rows=rows,
            seconds={stage: round(seconds, 4) for stage, seconds in sorted(outcome.seconds.items())},
            providers=dict(outcome.providers),
            sessions=dict(outcome.sessions),
            decoders=_decoders(jobs),
            device_memory_bytes=outcome.device_memory_bytes,
            errors=tuple(failures[:20]),
            elapsed_seconds=time.monotonic() - self.started,
        )


def _absent(file: SourceFile) -> Job:
    """Why nothing came of a path where there is nothing: where all are such, no folder is made for that."""
    job = Job(file)
    why = "there is no such file, or it may not be looked at: check the path"
    job.fail(JobFailure(WHOLE_SOURCE, "failed", "UnreadableError", why, transient=True))
    return job


def _kind(job: Job, dataset: Dataset | None) -> str:
    """What a partial source lacks: as this run found, or one that is committed."""
    found = next((failure.kind for failure in job.failures if failure.operation == WHOLE_SOURCE), "")
    entry = dataset.state.entries.get((WHOLE_SOURCE, job.owner)) if dataset is not None else None
    return found or (entry.kind if entry is not None else "") or UNKNOWN


def _copies(jobs: Sequence[Job], dataset: Dataset | None) -> list[Job]:
    """Jobs whose content is, or was already, computed under another name."""
    if dataset is None:
        return []
    num_names = Counter(record.source_id for record in dataset.state.sources.values())
    return [
        job
        for job in jobs
        if job.is_duplicate or (num_names[job.source_id] > 1 and set(job.todo) <= set(OWNED_BY_URI))
    ]


def _decoders(jobs: Sequence[Job]) -> dict[str, list[str]]:
    uris: dict[str, list[str]] = {}
    for job in jobs:
        for decoder in sorted(job.decoders):
            uris.setdefault(decoder, []).append(job.file.uri)
    return uris


def _sweep(dataset: Dataset, source_ids: set[str]) -> None:
    """Removes what a run that was killed after its last commit left behind of sources that are done."""
    InFlightMarks(dataset.root).clear()
    left = layout.partials_folder(dataset.root, "")
    for name in list_names(left) if left.is_dir() else ():
        if name in source_ids:
            remove_tree(left / name)


def _run_row(
    request: ExtractRequest, engine: str, summary: RunSummary, started_at: float, num_cached: int
) -> RunRow:
    import importlib.metadata

    from framemill.cluster.run.messages import RunRow

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    options = {key: value for key, value in asdict(request).items() if key != "sources"}
    return RunRow(
        run_id=summary.run_id,
        started_at=round(started_at * 1000),
        finished_at=round(time.time() * 1000),
        engine=engine,
        exit_code=summary.exit_code,
        options=json.dumps(options),
        providers=summary.providers,
        sessions={role: json.dumps(state) for role, state in summary.sessions.items()},
        decoders=summary.decoders,
        device_memory_bytes=summary.device_memory_bytes,
        seconds=summary.seconds,
        rows=summary.rows,
        num_files=summary.files_total,
        num_cached=num_cached,
        num_failed=summary.files_failed,
        elapsed_seconds=summary.elapsed_seconds,
        versions=versions,
    )
