"""Everything that a run imports, for the process that runs are forked from; nothing here starts a thread."""

import gc
import importlib
import importlib.metadata

import psutil  # noqa: F401

from framemill.models import registry
from framemill.ops import OPS, load_op

for _name in (
    "cluster.cli.extract",
    "cluster.extraction_run",
    "cluster.cli.progress",
    "cluster.engines.local.engine",
    "cluster.engines.local.run",
    "cluster.engines.local.answering",
    "cluster.engines.local.worker",
    "cluster.results.compaction",
    "cluster.run.worker_config",
    "cluster.run.committing",
    "cluster.run.costs",
    "cluster.run.needed_models",
    "cluster.run.quality",
    "cluster.run.replacing",
):
    importlib.import_module(f"framemill.{_name}")
for _op in OPS:
    load_op(_op)
registry.check_licences([], accepted=False)
importlib.import_module("tests.faults.processes")
# What is never collected is never copied for it.
gc.freeze()
