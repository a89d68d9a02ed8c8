"""The main job: what `framemill extract` and `framemill.extract` call."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.shards import SHARD_SECONDS
from cluster import layout
from cluster.commits import Commit, new_run_id
from cluster.dataset import Dataset
from cluster.jobs import Job, known_failures, missing_ops, remembered_id
from cluster.local import LocalRun, Outcome
from cluster.machine import usable_cores, worker_memory_bytes
from cluster.planning import OpsPlan, check_keys, plan_ops
from cluster.request import ExtractRequest, Reporter, RunSummary, SilentReporter
from cluster.sources import SourceList, list_sources
from cluster.workerprocess import WorkerProcess
from models.errors import UsageError

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
        self.root = Path(request.output).absolute()
        self.worker: WorkerProcess | None = None

    def run(self) -> RunSummary:
        if self.request.engine not in ("auto", "local"):
            raise UsageError(f"--engine {self.request.engine!r}: choose auto or local")
        files = list_sources(self.request.sources, leave_out=self.root)
        try:
            dataset = self._open(files)
            shard_seconds = dataset.constants["shard_seconds"] if dataset else SHARD_SECONDS
            plan = plan_ops(self.request, shard_seconds)
            if plan.added:
                self.reporter.message(0, f"also running {', '.join(plan.added)}, which others need")
            if dataset is not None and not self.request.replace:
                check_keys(plan, dataset.state.keys)
            if not files.files:
                self.reporter.message(-1, "no usable input: nothing among the sources is a media file")
                return self._summary(files, [], [], Outcome())
            if dataset is None:
                dataset = Dataset.open(self.root, create=True, constants={"shard_seconds": shard_seconds})

            def on_wait(text: str) -> None:
                self.reporter.message(0, text)

            with dataset.hold(self.run_id, on_wait=on_wait):
                return self._compute(dataset, plan, files)
        finally:
            if self.worker is not None:
                self.worker.kill()

    def _open(self, files: SourceList) -> Dataset | None:
        """The dataset if it is there; and a head start for the worker when there is work for sure."""
        dataset = None
        if self.root.exists() and (layout.dataset_file(self.root).exists() or not self.root.is_dir()):
            dataset = Dataset.open(self.root, create=False)
        if any(dataset is None or remembered_id(file, dataset.state) is None for file in files.files):
            self.worker = WorkerProcess()
        return dataset

    def _compute(self, dataset: Dataset, plan: OpsPlan, files: SourceList) -> RunSummary:
        if self.request.replace:
            _drop_replaced(dataset, plan, self.run_id)
        check_keys(plan, dataset.state.keys)
        jobs, cached = [], []
        for file in files.files:
            source_id = remembered_id(file, dataset.state)
            job = Job(file, source_id or "")
            if source_id is None or missing_ops(job, plan, dataset.state, self.request.retry_failed):
                jobs.append(job)
            else:
                cached.append(job)
        outcome = Outcome()
        if jobs:
            self.worker = self.worker or WorkerProcess()
            config = self._config(dataset, plan)
            run = LocalRun(
                self.request,
                self.reporter,
                dataset,
                plan,
                jobs,
                config,
                self.worker,
                self.started,
                len(cached),
            )
            self.worker = None  # the run owns it now
            outcome = run.run()
        summary = self._summary(files, jobs, cached, outcome, plan, dataset)
        now = time.time()
        used = {job.source_id: now for job in cached if job.source_id}
        row = _run_row(self.request, summary, self.started_at, now, len(cached)) if jobs else None
        parts = [_write_run(dataset, row)] if row else []
        if used or parts:
            dataset.commit(Commit(run_id=self.run_id, parts=tuple(parts), used=used))
        if self.request.keep_bytes:
            from cluster.compaction import prune

            pruned = prune(dataset, self.run_id, self.request.keep_bytes)
            self.reporter.message(0, f"pruned {len(pruned)} sources to keep {self.request.keep_bytes} bytes")
        return summary

    def _config(self, dataset: Dataset, plan: OpsPlan) -> dict[str, Any]:
        threads = self.request.threads or usable_cores()
        return {
            "root": str(dataset.root),
            "run_id": self.run_id,
            "keys": {name: op.key["digest"] for name, op in plan.ops.items()},
            "shard_seconds": dataset.constants["shard_seconds"],
            "options": {name: dict(op.options) for name, op in plan.ops.items()},
            "models": dict(self.request.models),
            "sampling": self.request.sample,
            "threads": threads,
            "in_flight": threads,
            "require_provider": self.request.require_provider,
            "memory_bytes": self.request.memory_bytes or worker_memory_bytes(),
            "profile": str(Path(self.request.profile).absolute()) if self.request.profile else "",
        }

    def _summary(
        self,
        files: SourceList,
        jobs: Sequence[Job],
        cached: Sequence[Job],
        outcome: Outcome,
        plan: OpsPlan | None = None,
        dataset: Dataset | None = None,
    ) -> RunSummary:
        bad = [job for job in jobs if job.failures]
        known_bad = [j for j in cached if plan and dataset and known_failures(j, plan, dataset.state)]
        rows: dict[str, int] = {}
        for job in jobs:
            if job.state == "committed":
                for op, count in job.rows.items():
                    rows[op] = rows.get(op, 0) + count
        unusable = sum(job.status not in ("ok", "partial") for job in bad)
        if dataset is not None:
            unusable += sum("*" in known_failures(j, plan, dataset.state) for j in known_bad) if plan else 0
        if outcome.interrupted:
            exit_code = 130
        elif not files.files or unusable == len(files.files):
            exit_code = 4
        else:
            exit_code = 3 if bad or known_bad else 0
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
            files_computed=sum(job.state == "committed" for job in jobs),
            files_cached=len(cached),
            files_failed=sum(job.is_failed for job in bad) + len(known_bad),
            files_partial=sum(job.status == "partial" and not job.is_failed for job in bad),
            files_skipped=files.num_skipped,
            frames=outcome.frames,
            rows=rows,
            seconds={stage: round(seconds, 4) for stage, seconds in sorted(outcome.seconds.items())},
            providers=dict(outcome.providers),
            errors=tuple(failures[:20]),
            elapsed_seconds=time.monotonic() - self.started,
        )


def _drop_replaced(dataset: Dataset, plan: OpsPlan, run_id: str) -> None:
    """Removes every table whose key differs, so that it is computed anew."""
    tables = {
        name
        for name, op in plan.ops.items()
        if dataset.state.keys.get(name, op.key)["digest"] != op.key["digest"]
    }
    if not tables:
        return
    state = dataset.state
    dataset.commit(
        Commit(
            run_id=run_id,
            removed_parts=tuple(key for key in state.parts if key[0] in tables),
            removed_entries=tuple(key for key in state.entries if key[0] in tables),
            keys={name: plan.ops[name].key for name in tables},
        )
    )


def _run_row(
    request: ExtractRequest, summary: RunSummary, started_at: float, finished_at: float, num_cached: int
) -> dict[str, Any]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    options: Mapping[str, Any] = {key: value for key, value in asdict(request).items() if key != "sources"}
    return {
        "run_id": summary.run_id,
        "started_at": round(started_at * 1000),
        "finished_at": round(finished_at * 1000),
        "engine": "local",
        "exit_code": summary.exit_code,
        "options": json.dumps(options),
        "providers": summary.providers,
        "seconds": summary.seconds,
        "rows": summary.rows,
        "num_files": summary.files_total,
        "num_cached": num_cached,
        "num_failed": summary.files_failed,
        "elapsed_seconds": summary.elapsed_seconds,
        "versions": versions,
    }


def _write_run(dataset: Dataset, row: Mapping[str, Any]) -> Any:
    """Writes the row of `runs` as a hidden part."""
    import pyarrow as pa

    from cluster.parts import write_part
    from cluster.tables import RUNS_SCHEMA

    typed = {
        name: list(value.items()) if pa.types.is_map(RUNS_SCHEMA.field(name).type) else value
        for name, value in row.items()
    }
    made = pa.Table.from_pylist([typed], schema=RUNS_SCHEMA)
    return write_part(dataset.root, "runs", [made], run_id=row["run_id"], seed=[row["run_id"]])
