"""Looking before working: what files hold, and what a run would do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from framemill.actors.indexing import SourceIndex, index_source
from framemill.actors.plan import STEERED_BY, plan_decode, sample_frames
from framemill.actors.shards import SHARD_SECONDS, cut_shards
from framemill.actors.shortfalls import stated_shortfall
from framemill.actors.stream_choice import Tracks
from framemill.cluster.choices import Sandbox
from framemill.cluster.engines.local.pool import run_sandboxed
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.commits import DatasetState
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.folders import holds_results
from framemill.cluster.results.storage import open_root
from framemill.cluster.run.expected_costs import ExpectedCosts
from framemill.cluster.run.jobs import Job, missing_ops, remembered_id
from framemill.cluster.run.planning import OpsPlan, check_keys, plan_ops
from framemill.cluster.run.precision import with_precision
from framemill.cluster.run.quality import with_quality
from framemill.cluster.run.replacing import plan_replacement, require_covered
from framemill.cluster.run.sandbox_plan import plan_opening
from framemill.cluster.run.source_files import SourceFile
from framemill.cluster.run.sources import list_sources
from framemill.errors import MediaError
from framemill.ops import load_op
from framemill.ops.chunks import Int64Array
from framemill.ops.operation import Reads

# For people and `--json`.
Record = dict[str, Any]


def probe_sources(
    sources: Iterable[str], sandbox: Sandbox = "auto", tell: Callable[[str], None] = lambda text: None
) -> list[Record]:
    """What each file holds, as in the table `media`; files that cannot be read have a `message` instead.

    They are opened in a process of its own.

    Args:
        sandbox: auto, strict or off. tell: is given a line where a layer of it does not hold.

    Raises:
        SetupError: the sandbox is to be strict and is not whole.
    """
    files = list_sources(sources).files
    cage = plan_opening(sandbox, (file.path for file in files))
    found: list[Record] = [{}] * len(files)
    for number, record in run_sandboxed(_probe, [(file.path,) for file in files], 1, cage, tell):
        died = {"status": "quarantined", "message": "the process that opens it died of it"}
        found[number] = {"uri": files[number].uri, **(died if record is None else record)}
    return found


def _probe(path: str) -> Record:
    try:
        index = index_source(path)
    except MediaError as error:
        return {"status": error.status, "message": str(error)}
    found = asdict(index.description) | {"num_key_frames": int(index.frames.is_key.sum())}
    if stated_shortfall(index) is not None:
        found["status"] = "partial"
    del found["uri"]  # known to who asks
    return found


def plan_sources(request: ExtractRequest) -> Record:
    """What `extract` would decode and run, found without decoding or writing.

    Returns:
        `files`: per source what is to be done; `operations`: what would run with which options;
        `replaced`: per table with rows of other settings, how many rows of how many files would give way to
        new ones, and how many of other files `replace_all` would drop in the end; and totals.
        `seconds_expected`: about how long it takes here; `expected_from`: what that is known from.

    Raises:
        UsageError: as `extract` would.
    """
    root = open_root(request.output)
    dataset = Dataset.open(root, create=False) if holds_results(root) else None
    shard_seconds = dataset.constants["shard_seconds"] if dataset is not None else SHARD_SECONDS
    held = dataset.state.keys if dataset is not None else {}
    on_ray = request.engine == "ray" or bool(request.address)
    request = with_precision(with_quality(request), shard_seconds, held, on_ray, lambda text: None)
    plan = plan_ops(request, shard_seconds, held)
    state = dataset.state if dataset is not None else DatasetState()
    listed = list_sources(request.sources, root, request.reads_subtitles_alone)
    uris = [file.uri for file in listed.files]
    if not request.replaces:
        check_keys(plan, state.keys_in_use())
    elif uris and not request.replace_all:
        require_covered(plan, state, uris)
    expected = ExpectedCosts(plan, dataset)
    files = [_plan_file(file, plan, state, request, shard_seconds, expected) for file in listed.files]
    return {
        "sampling": request.sample,
        "files_total": len(files),
        "files_done": sum(file["action"] == "nothing" for file in files),
        "files_skipped": listed.num_skipped,
        "media_seconds": round(sum(file.get("duration_seconds", 0.0) for file in files), 3),
        "frames_wanted": sum(file.get("frames_wanted", 0) for file in files),
        "packets_to_decode": sum(file.get("packets_to_decode", 0) for file in files),
        "seconds_expected": round(sum(file.get("seconds_expected", 0.0) for file in files), 1),
        "expected_from": expected.origin,
        "operations": [
            {
                "operation": op.name,
                "reads": op.reads.value,
                "options": dict(op.options),
                "key": op.key["digest"],
            }
            for op in plan.ops.values()
        ],
        "replaced": [
            {
                "table": each.table,
                "rows": each.rows,
                "files": each.files,
                "dropped_rows": each.other_rows if request.replace_all else 0,
                "dropped_files": each.other_files if request.replace_all else 0,
            }
            for each in plan_replacement(plan, state, uris)
        ],
        "files": files,
    }


def _plan_file(
    file: SourceFile,
    plan: OpsPlan,
    state: DatasetState,
    request: ExtractRequest,
    shard_seconds: float,
    expected: ExpectedCosts,
) -> Record:
    source_id = remembered_id(file, state)
    ops = list(plan.ops)
    if source_id is not None:
        ops = missing_ops(Job(file, source_id), plan, state, request.retry_failed)
    if not ops:
        return {"uri": file.uri, "action": "nothing", "operations": []}
    try:
        index = index_source(file.path, Tracks(request.video_track, request.audio_track))
    except MediaError as error:
        return {"uri": file.uri, "action": "error row", "operations": ops, "why": str(error)}
    wanted = _wanted(index, ops, plan)
    decode = plan_decode(index.packets, wanted)
    num_packets = int(decode.needed.sum())
    shards = cut_shards(index.frames, index.has_more_than_pictures, index.duration_seconds, shard_seconds)
    return {
        "uri": file.uri,
        "action": "extract",
        "operations": ops,
        "duration_seconds": round(index.duration_seconds, 3),
        "frames": len(index.frames),
        "frames_wanted": len(wanted),
        "packets_to_decode": num_packets,
        "seconds_expected": round(expected.seconds(index, ops, num_packets), 1),
        "with_sound": index.audio_stream >= 0 and any(plan.ops[op].reads is Reads.AUDIO for op in ops),
        "shards": len(shards),
    }


def _wanted(index: SourceIndex, ops: Iterable[str], plan: OpsPlan) -> Int64Array:
    """Frames that some operation needs; those that a table picks are known only when it is made."""
    wanted = np.zeros(0, np.int64)
    for name in ops:
        if plan.ops[name].reads is Reads.SIGNALS:
            kind = load_op(name)
            selected = kind(kind.Options(**plan.ops[name].options), {}).select(index.frames)
            wanted = np.union1d(wanted, np.arange(len(index.frames)) if selected is None else selected)
        elif plan.ops[name].reads is Reads.FRAMES and plan.sampling.kind not in STEERED_BY:
            wanted = np.union1d(wanted, sample_frames(index.frames, plan.sampling))
    return wanted.astype(np.int64)
