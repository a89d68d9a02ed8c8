"""Clips in one command with the extraction: what can be refused is refused before hours of work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from typing import Any

from framemill.cluster.clips.choices import METHODS, PROFILES, profile_named
from framemill.cluster.clips.making import ClipsReport, ClipsRequest, check_place, check_request, make_clips
from framemill.cluster.clips.options import clip_options, clips_request
from framemill.cluster.clips.selection import HIGHLIGHTS, Selection
from framemill.cluster.clips.table import store_clips
from framemill.cluster.clips.target import open_target
from framemill.cluster.engines import load_engine
from framemill.cluster.request import ExtractRequest, RunSummary
from framemill.cluster.results.commits import new_run_id
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.folders import holds_results
from framemill.cluster.results.storage import open_root
from framemill.errors import UsageError
from framemill.ops import DEFAULT_OPS

# What may be cut after a run: all went well, or some files failed and the rest is there.
_CAN_BE_CUT = (0, 3)


def prepare(request: ExtractRequest, given: Mapping[str, Any]) -> tuple[ExtractRequest, ClipsRequest]:
    """The run that leaves what clips are planned by, and the clips to make of it.

    Operations that the clips need and nobody asked for are added. Where the run or the clips would be
    refused for what is known by now, they are.

    Args:
        given: options of clips by name, as in `ClipOptions`; without `to` clips go beside the result folder,
            under its name with `-clips` behind it.

    Raises:
        UsageError: an option does not fit, a profile or the plan reads what will not be there, or the place
            for clips cannot be used.
        SetupError: the encoder is not there.
    """
    options = clip_options(given)
    if not options.to:
        options = replace(options, to=f"{open_root(request.output)}-clips")
    clips = clips_request(options, request.engine, request.address, request.sandbox)
    check_request(clips)
    asked = _asked(request)
    missing = _needed(clips, asked)
    if missing:
        request = replace(request, ops=(*asked, *missing))
    _require_table(request, clips.selection)
    return request, clips


def reserve(request: ExtractRequest, clips: ClipsRequest) -> None:
    """Makes the place that clips go to, so that a run of hours does not end in front of one it cannot use.

    Raises:
        UsageError: it holds something else, another run writes there, or it cannot be made.
        SetupError: a cluster does not find it, or the result folder.
    """
    load_engine(request).check()
    check_place(clips)
    with open_target(clips.folder, clips.form):
        pass


def cut_extracted(
    output: str,
    clips: ClipsRequest,
    progress: Callable[[int, int], None] = lambda done, total: None,
    on_wait: Callable[[str], None] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> ClipsReport:
    """Makes clips of a result folder, and commits the table that tells of them.

    Args:
        output: the result folder.
        progress: called with clips cut and to be cut. on_wait: told where another run holds the folder.
        tell: as `make_clips` takes it.

    Raises:
        UsageError, SetupError, DatasetError: as `make_clips`.
    """
    dataset, run_id = Dataset.open(output, create=False), new_run_id()
    made = make_clips(dataset, clips, progress, tell)
    with dataset.hold(run_id, on_wait=on_wait):
        store_clips(dataset, run_id, made.rows, asdict(clips))
    return made


def can_be_cut(summary: RunSummary) -> bool:
    """Whether a run has left something to cut clips of."""
    return summary.exit_code in _CAN_BE_CUT


def with_clips(summary: RunSummary, made: ClipsReport) -> RunSummary:
    """What a run did, with the clips that were made; a source that cannot be cut is one that failed."""
    figures = asdict(replace(made, rows=None))
    del figures["rows"]
    return replace(summary, clips=figures, exit_code=3 if made.problems else summary.exit_code)


def _asked(request: ExtractRequest) -> tuple[str, ...]:
    return request.ops or DEFAULT_OPS


def _needed(clips: ClipsRequest, asked: Collection[str]) -> list[str]:
    """Operations that clips are planned by, without those that are asked for."""
    selection = clips.selection
    needs = ["scenes"] if selection.needs_shots else []
    if clips.dedupe:
        needs.append(METHODS[clips.dedupe])
    for name in selection.profiles:
        if name not in PROFILES:
            profile_named(name, ())  # says which there are
        needs += PROFILES[name].needs
    found = [need.split("|") for need in dict.fromkeys(needs)]
    return list(dict.fromkeys(names[0] for names in found if not set(names).intersection(asked)))


def _require_table(request: ExtractRequest, selection: Selection) -> None:
    table, root = selection.table, open_root(request.output)
    if not table or table in _asked(request):
        return
    if holds_results(root) and table in Dataset.open(root, create=False).state.keys:
        return
    if table == HIGHLIGHTS:
        remedy = "then run `framemill highlights OUT`, and `framemill clips OUT --plan highlights`"
    else:
        remedy = f"or add {table} to `ops`"
    raise UsageError(
        f"the plan {table} reads a table that is not there and that this run does not make: extract without "
        f"`clips` first, {remedy}"
    )
