"""Cutting the clips of many sources at once, each source in one process of a pool.

A process that dies takes those at work with it: they are cut again one at a time, and what ends its process
alone is given up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framemill.actors.clip_cutting import CutSettings, cut_clips
from framemill.actors.clip_files import ClipRequest
from framemill.actors.stream_choice import Tracks
from framemill.cluster.clips.intervals import Stretch
from framemill.cluster.clips.target import Journal, Made, Places, place_clip, writing
from framemill.errors import MediaError

LOOK_SECONDS = 0.25
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
    tick: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, list[Made]]]:
    """Cuts the clips of all sources.

    Args:
        tick: called for each clip.

    Yields:
        The place of each source, in order of completion, and its clips.

    Raises:
        DatasetError: a clip cannot be written.
    """
    done: set[int] = set()
    # Not forked: a process of many threads may not be.
    context = multiprocessing.get_context("spawn")
    ticks = context.SimpleQueue()

    def collected(numbers: Sequence[int], workers: int) -> Iterator[tuple[int, list[Made]]]:
        with ProcessPoolExecutor(workers, context, _begin_worker, (ticks,)) as pool:
            at_work = {pool.submit(cut_source, tasks[number], settings, places): number for number in numbers}
            try:
                while at_work:
                    ready, _ = wait(at_work, LOOK_SECONDS, FIRST_COMPLETED)
                    while not ticks.empty():
                        ticks.get()
                        tick()
                    for future in ready:
                        number = at_work.pop(future)
                        made = future.result()
                        done.add(number)
                        yield number, made
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.terminate()
                raise

    try:
        yield from collected(range(len(tasks)), workers)
    except BrokenProcessPool:
        for number, task in enumerate(tasks):
            if number in done:
                continue
            try:
                yield from collected([number], 1)
            except BrokenProcessPool:
                yield number, _died(task)


def cut_sources_on_ray(
    tasks: Sequence[SourceTask],
    settings: CutSettings,
    places: Places,
    address: str,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, list[Made]]]:
    """As `cut_sources`, on the workers of a Ray cluster, which write the clips where they cut them."""
    from framemill.cluster.engines.ray.tasks import run_tasks

    calls = [(task, settings, places) for task in tasks]
    for number, made in run_tasks(cut_source, calls, address):
        for _ in tasks[number].clips:
            tick()
        yield number, _died(tasks[number]) if made is None else made


def _died(task: SourceTask) -> list[Made]:
    reason = "the process that decodes it died of it"
    return [Made(name, key, problem=reason) for name, key, _ in task.clips]


def _begin_worker(ticks: Any) -> None:
    global _ticks
    _ticks = ticks
    # Ctrl-C reaches every process of the group: it is the parent's to act upon.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
