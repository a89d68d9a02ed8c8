"""One run of the main job, from its sources to its summary."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from framemill.cluster.engines.base import Engine, Setup
from framemill.cluster.engines.interrupts import exit_code_of
from framemill.cluster.request import ExtractRequest, Reporter, RunSummary
from framemill.cluster.results import layout
from framemill.cluster.results.commits import WHOLE_SOURCE, new_run_id
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.folders import holds_results
from framemill.cluster.results.marks import InFlightMarks
from framemill.cluster.results.remote_path import RemotePath
from framemill.cluster.results.storage import list_names, open_root, remove_tree
from framemill.cluster.run.job_list import Jobs
from framemill.cluster.run.jobs import Job, JobFailure, known_failures, remembered_id
from framemill.cluster.run.progress import Outcome
from framemill.cluster.run.sources import SourceList, list_sources
from framemill.cluster.run.tally import MOST_ERRORS, Tally, kind_of
from framemill.errors import DatasetError, LeaseError, UsageError

# Reading 256 parts costs a question about 0.1 s, and joining them a run about 0.3 s (measured).
MANY_PARTS, SMALL_PARTS_BYTES = 256, 8 << 20

if TYPE_CHECKING:
    from framemill.cluster.run.committing import PendingRun
    from framemill.cluster.run.messages import RunRow
    from framemill.cluster.run.planning import OpsPlan
    from framemill.cluster.run.source_files import SourceFiles

_PACKAGES = ("av", "numpy", "pyarrow", "onnxruntime", "onnxruntime-gpu", "opencv-python-headless")


class ExtractionRun:
    """One run: `run` is called once.

    Args:
        engine: checked, and perhaps preparing already; whoever made it closes it.
    """

    def __init__(self, request: ExtractRequest, reporter: Reporter, engine: Engine) -> None:
        self.request = request
        self.reporter = reporter
        self.started = time.monotonic()
        self.started_at = time.time()
        self.run_id = new_run_id()
        self.root = open_root(request.output)
        self.engine = engine

    def _report(self, text: str) -> None:
        self.reporter.message(0, text)

    def run(self) -> RunSummary:
        """Computes what is missing; raises what `extraction.run_extract` does."""
        profile = Path(self.request.profile).absolute()
        if self.request.profile and (profile.is_dir() or not profile.parent.is_dir()):
            raise UsageError(f"`profile={str(profile)!r}`: name a file in a folder that exists")
        files = list_sources(self.request.sources, self.root, self.request.reads_subtitles_alone)
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
            return self._summary(files, Tally(), Outcome())
        if dataset is None and all(file.num_bytes < 0 for file in files.files):
            return self._summary(files, _absent(files.files), Outcome())
        if dataset is not None:
            self._check_rows_there(dataset, plan, files)
        if dataset is None:
            dataset = Dataset.open(self.root, create=True, constants={"shard_seconds": shard_seconds})

        asked = time.monotonic()
        with dataset.hold(self.run_id, on_wait=self._report):
            self.started += time.monotonic() - asked  # waiting for another run is none of this one's work
            return self._compute(dataset, plan, files)

    def _open(self, files: SourceList) -> Dataset | None:
        """The dataset if it is there; and a head start for the engine when there is work for sure."""
        dataset = Dataset.open(self.root, create=False) if holds_results(self.root) else None
        if any(dataset is None or remembered_id(file, dataset.state) is None for file in files.files):
            self.engine.prepare()
        return dataset

    def _compute(self, dataset: Dataset, plan: OpsPlan, files: SourceList) -> RunSummary:
        from framemill.cluster.run.committing import PendingRun, note_use
        from framemill.cluster.run.sandbox_plan import plan_sandbox, sandbox_on_ray
        from framemill.cluster.run.worker_config import worker_config

        self._check_rows_there(dataset, plan, files)
        jobs = Jobs(files.files, plan, dataset.state, self.request.retry_failed)
        outcome = Outcome()
        used = [job.source_id for job in jobs.cached() if job.source_id]

        def conclude(outcome: Outcome) -> PendingRun:
            summary = self._summary(files, jobs.result(dataset), outcome, jobs, dataset, plan)
            row = _run_row(self.request, self.engine.name, summary, self.started_at, jobs.num_cached)
            return PendingRun(dataset, self.run_id, row, used)

        if jobs:
            # It imports for longer than a short clip's rows take to write: while workers work, nobody waits.
            threading.Thread(target=_versions, daemon=True).start()
            if self.engine.name == "ray":
                sandbox = sandbox_on_ray(self.request)
            else:
                sandbox = plan_sandbox(self.request, plan, files.files, dataset.root)
            setup = Setup(
                request=self.request,
                reporter=self.reporter,
                dataset=dataset,
                plan=plan,
                jobs=jobs,
                config=worker_config(self.request, plan, dataset, self.run_id, sandbox, wanted=jobs.ops),
                started=self.started,
            )
            outcome = self.engine.run(setup, conclude)
        result = jobs.result(dataset)
        summary = self._summary(files, result, outcome, jobs, dataset, plan)
        self._report_what_was_left_out(dataset, plan, result, outcome)
        if not jobs:
            note_use(dataset, self.run_id, used)
        if not outcome.interrupted:
            if self.request.replace_all:
                self._drop_rest(dataset, plan, files)
            _sweep(dataset, files)
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
        self, dataset: Dataset, plan: OpsPlan, result: Tally, outcome: Outcome
    ) -> None:
        """Where adaptive sampling could not keep to its budget, and what a cascade may have missed."""
        if "sampling" in plan.ops:
            options = plan.ops["sampling"].options
            budget, num_files = options["budget"], result.num_files
            over = [count for count in result.sampled if count > budget]
            if over:
                floor = f"one in each shot and in every {options['floor_seconds']:g} s is the floor"
                num_over = sum(result.sampled[count] for count in over)
                took = f"{num_over} of {num_files} files took more than the budget of {budget} frames"
                self._report(f"{took}, up to {max(over)}: {floor}")
            under = sum(num for count, num in result.sampled.items() if 0 < count < budget)
            if under:
                took = f"{under} of {num_files} files took fewer than {budget} frames"
                self._report(f"{took}: they have no more that lie far enough apart")
        if "candidates" in plan.ops and not outcome.interrupted:
            from framemill.cluster.corpus.recall import update_recall

            target = plan.ops["candidates"].options["recall_target"]
            for line in update_recall(dataset, self.run_id, target):
                self._report(line)

    def _summary(
        self,
        files: SourceList,
        result: Tally,
        outcome: Outcome,
        jobs: Jobs | None = None,
        dataset: Dataset | None = None,
        plan: OpsPlan | None = None,
    ) -> RunSummary:
        num_jobs, num_cached = (len(jobs), jobs.num_cached) if jobs is not None else (result.num_bad, 0)
        known_bad = num_partial = num_unusable = 0
        kinds = result.partial_kinds.copy()
        if jobs is not None and dataset is not None and plan is not None:
            for job in jobs.cached():
                statuses = known_failures(job, plan, dataset.state)
                known_bad += bool(statuses)
                num_unusable += bool(statuses) and statuses.get(WHOLE_SOURCE, "partial") != "partial"
                if set(statuses.values()) == {"partial"}:
                    num_partial += 1
                    kinds[kind_of(job, dataset)] += 1
        num_partial += result.num_partial
        num_unusable += result.num_unusable
        num_failed = result.num_bad + known_bad - num_partial
        if outcome.interrupted:
            exit_code = exit_code_of(outcome.ended_by)
        elif num_unusable == len(files.files):
            exit_code = 4
        else:
            is_well = self.request.tolerates(result.num_bad + known_bad, len(files.files))
            exit_code = 0 if is_well else 3
        num_copies = _num_copies(result, dataset)
        failures = [
            {
                "uri": uri,
                "operation": f.operation,
                "status": f.status,
                "error": f.error,
                "message": f.message,
            }
            for _, uri, of_one in result.errors
            for f in of_one
        ]
        return RunSummary(
            run_id=self.run_id,
            output=str(self.root),
            exit_code=exit_code,
            files_total=len(files.files),
            files_ok=result.num_good - num_copies,
            files_copies=num_copies,
            files_not_reached=num_jobs - result.num_bad - result.num_good,
            files_computed=result.num_committed,
            files_cached=num_cached,
            files_failed=num_failed,
            files_partial=num_partial,
            partial_kinds=dict(sorted(kinds.items())),
            files_skipped=files.num_skipped,
            frames=outcome.frames,
            rows=dict(result.rows),
            seconds={stage: round(seconds, 4) for stage, seconds in sorted(outcome.seconds.items())},
            providers=dict(outcome.providers),
            sessions=dict(outcome.sessions),
            decoders=_in_order(result.decoders, files),
            device_memory_bytes=outcome.device_memory_bytes,
            errors=tuple(failures[:MOST_ERRORS]),
            elapsed_seconds=time.monotonic() - self.started,
        )


def _absent(files: SourceFiles) -> Tally:
    """Why nothing came of paths where there is nothing: where all are such, no folder is made for that."""
    why = "there is no such file, or it may not be looked at: check the path"
    result = Tally()
    for place, file in enumerate(files):
        job = Job(file)
        job.fail(JobFailure(WHOLE_SOURCE, "failed", "UnreadableError", why, transient=True))
        result.add(job, place)
    return result


def _num_copies(result: Tally, dataset: Dataset | None) -> int:
    """Sources whose content is, or was already, computed under another name."""
    if dataset is None or not result.perhaps_copies:
        return result.num_copies
    num_names = Counter(record.source_id for record in dataset.state.sources.values())
    return result.num_copies + sum(num_names[source_id] > 1 for source_id in result.perhaps_copies)


def _in_order(decoders: Mapping[str, Sequence[str]], files: SourceList) -> dict[str, list[str]]:
    return {decoder: sorted(uris, key=files.files.place) for decoder, uris in decoders.items()}


def _sweep(dataset: Dataset, files: SourceList) -> None:
    """Removes what a run that was killed after its last commit left behind of sources that are done."""
    InFlightMarks(dataset.root).clear()
    left = layout.partials_folder(dataset.root, "")
    with layout.storage_errors(left, "looking at"):
        names = set(list_names(left)) if left.is_dir() else set()
    if names:
        records = (dataset.state.sources.get(file.uri) for file in files.files)
        for name in names.intersection(record.source_id for record in records if record is not None):
            remove_tree(left / name)


@cache
def _versions() -> dict[str, str]:
    """Package -> version, of those whose versions may tell why rows differ."""
    import importlib.metadata

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _run_row(
    request: ExtractRequest, engine: str, summary: RunSummary, started_at: float, num_cached: int
) -> RunRow:
    from framemill.cluster.run.messages import RunRow

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
        versions=_versions(),
    )
