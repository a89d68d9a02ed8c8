"""Cutting the clips of many sources at once, each source in one process of a pool, in the sandbox."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framemill.actors.clip_cutting import CutSettings, cut_clips
from framemill.actors.clip_files import ClipRequest
from framemill.actors.stream_choice import Tracks
from framemill.cluster.clips.intervals import Stretch
from framemill.cluster.clips.target import Journal, Made, Places, place_clip, writing
from framemill.cluster.engines.local.pool import run_sandboxed
from framemill.cluster.run.messages import Sandbox
from framemill.cluster.run.sandbox import enter_shared
from framemill.errors import MediaError

_ticks: Any = None  # in a process of the pool, where it tells of each clip


@dataclass(frozen=True, slots=True)
class SourceTask:
    """The clips of one source that are to be cut.

    Attributes:
        source_id: of the source. path: its file, or its address. tracks: which of its tracks.
        stem: what names of its clips begin with.
        clips: (name, key, what to cut) of each.
    """

    source_id: str
    path: str
    tracks: Tracks
    stem: str
    clips: tuple[tuple[str, str, Stretch], ...]


def cut_source(task: SourceTask, settings: CutSettings, places: Places) -> list[Made]:
    """Cuts the clips of one source and gives them their names.

    A source that cannot be read gives the reason with each of its clips.

    Raises:
        DatasetError: a clip cannot be written.
    """
    with places.room() as room:
        return _cut_into(room, task, settings, places)


def _cut_into(room: Path, task: SourceTask, settings: CutSettings, places: Places) -> list[Made]:
    requests = []
    for name, _, stretch in task.clips:
        part = room / f"{name}.{os.getpid()}.mp4"
        bounds = (stretch.start_seconds, stretch.end_seconds, stretch.start_frame, stretch.end_frame)
        requests.append(ClipRequest(str(part), *bounds))
    journal = Journal(places.journal, task.stem)
    found: dict[int, Made] = {}
    problem = "the file ended before it"
    parent = os.getppid()
    with writing(places.clips):
        try:
            for cut in cut_clips(task.path, requests, settings, task.tracks):
                name, key, _ = task.clips[cut.number]
                told: dict[str, Any] = asdict(cut)
                del told["number"]
                if not cut.problem:
                    size, sha256 = place_clip(Path(requests[cut.number].path), places.clips, name)
                    told |= {"num_bytes": size, "sha256": sha256}
                found[cut.number] = Made(name, key, **told)
                if not cut.problem:
                    journal.add(found[cut.number])
                if _ticks is not None:
                    _ticks.put(cut.number)
                if os.getppid() != parent:
                    os._exit(1)  # nobody waits for the rest any more
        except MediaError as exc:
            problem = str(exc)
        journal.close()
    return [
        found.get(number) or Made(name, key, problem=problem)
        for number, (name, key, _) in enumerate(task.clips)
    ]


def cut_sources(
    tasks: Sequence[SourceTask],
    settings: CutSettings,
    places: Places,
    workers: int,
    sandbox: Sandbox,
    tell: Callable[[str], None],
    tick: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, list[Made]]]:
    """Cuts the clips of all sources.

    Args:
        sandbox: of the processes that cut. tell: is given a line where a layer of it does not hold.
        tick: called for each clip.

    Yields:
        The place of each source, in order of completion, and its clips.

    Raises:
        DatasetError: a clip cannot be written.
        SetupError: a layer of the sandbox does not hold and all are to.
    """
    ticks = multiprocessing.get_context("spawn").SimpleQueue()

    def look() -> None:
        while not ticks.empty():
            ticks.get()
            tick()

    calls = [(task, settings, places) for task in tasks]
    for number, made in run_sandboxed(
        cut_source, calls, workers, sandbox, tell, look, _begin_worker, (ticks,)
    ):
        yield number, _died(tasks[number]) if made is None else made


def cut_sources_on_ray(
    tasks: Sequence[SourceTask],
    settings: CutSettings,
    places: Places,
    address: str,
    sandbox: Sandbox,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, list[Made]]]:
    """As `cut_sources`, on the workers of a Ray cluster, which write the clips where they cut them.

    Args:
        sandbox: as `sandbox_plan.sandbox_on_ray` makes it.
    """
    from framemill.cluster.engines.ray.tasks import run_tasks

    calls = [(task, settings, places, sandbox) for task in tasks]
    for number, made in run_tasks(_cut_on_ray, calls, address):
        for _ in tasks[number].clips:
            tick()
        yield number, _died(tasks[number]) if made is None else made


def _died(task: SourceTask) -> list[Made]:
    reason = "the process that decodes it died of it"
    return [Made(name, key, problem=reason) for name, key, _ in task.clips]


def _cut_on_ray(task: SourceTask, settings: CutSettings, places: Places, sandbox: Sandbox) -> list[Made]:
    enter_shared(sandbox)
    return cut_source(task, settings, places)


def _begin_worker(ticks: Any) -> None:
    global _ticks
    _ticks = ticks
