"""Clips of a result folder from plan to training set: what `framemill clips` does."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from framemill.actors.clip_cutting import CutSettings
from framemill.actors.clip_encoding import ENCODERS, choose_encoder
from framemill.cluster.choices import Engine, Sandbox
from framemill.cluster.clips.choices import FORMATS, require_method
from framemill.cluster.clips.cutting import SourceTask, cut_sources, cut_sources_on_ray
from framemill.cluster.clips.doubles import drop_doubles
from framemill.cluster.clips.intervals import Stretch, keep_most
from framemill.cluster.clips.packing import Facts, Shards, write_hf_metadata
from framemill.cluster.clips.selection import Planned, Selection, check_plan, dropped_by, plan_clips
from framemill.cluster.clips.table import CLIPS_SCHEMA
from framemill.cluster.clips.target import Made, Target, facts_of, open_target, writing
from framemill.cluster.editing.source_pictures import find_file, tracks_of
from framemill.cluster.engines import load_engine
from framemill.cluster.exports.naming import stems_of
from framemill.cluster.machine import usable_cores
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.layout import write_file
from framemill.cluster.run.sandbox_plan import plan_opening, sandbox_on_ray
from framemill.errors import UsageError

# Raise it when clips of the same plan would be others.
VERSION = 2
_NOT_CUT = "cannot be cut"


@dataclass(frozen=True, slots=True)
class ClipsRequest:
    """What is asked for.

    Attributes:
        folder: where clips go: a folder or an address in an object store.
        selection: which clips.
        dedupe: `hash` or `embedding`: of clips that look alike one is kept; "" for all.
        form: folder, webdataset or hf.
        encoder: a key of `ENCODERS`; "" for x264 or OpenH264, as there is.
        size: width and height that pictures are made to fit into. fps: pictures a second. None: as they are.
        may_copy: whether clips are copied where that is exact.
        workers: processes that cut; 0 for one a core.
        engine: auto, local or ray, as of `extract`. address: of a Ray cluster; empty for that of the job.
        sandbox: auto, strict or off, as of `extract`.
    """

    folder: str
    selection: Selection = field(default_factory=Selection)
    dedupe: str = ""
    form: str = "folder"
    encoder: str = ""
    size: tuple[int, int] | None = None
    fps: int | None = None
    may_copy: bool = True
    workers: int = 0
    engine: Engine = "auto"
    address: str = ""
    sandbox: Sandbox = "auto"


@dataclass(frozen=True, slots=True)
class ClipsReport:
    """What was made.

    Attributes:
        rows: in `CLIPS_SCHEMA`, by source and position.
        num_clips, num_copied, num_reused: kept; those of them that were not encoded; that were there before.
        num_sources: with a clip. seconds, num_bytes: of all clips.
        dropped: rule -> how many clips it dropped, the most first.
        problems: uri -> why clips of it could not be cut.
        encoder: how clips were encoded, for people.
    """

    rows: pa.Table
    num_clips: int
    num_copied: int
    num_reused: int
    num_sources: int
    seconds: float
    num_bytes: int
    dropped: Mapping[str, int]
    problems: Mapping[str, str]
    encoder: str


def make_clips(
    dataset: Dataset,
    request: ClipsRequest,
    progress: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda text: None,
) -> ClipsReport:
    """Plans, cuts and writes clips. The same request and result folder give the same; what is there is kept.

    Args:
        progress: called with clips cut and to be cut.
        tell: is given a line where a layer of the sandbox does not hold.

    Raises:
        UsageError: what is asked for cannot be done.
        SetupError: the encoder is not there, or the sandbox is to be strict and is not whole.
        DatasetError: results cannot be read, or clips not be written.
    """
    encoder = check_request(request)
    planned = plan_clips(dataset, request.selection)
    if request.dedupe:
        planned = drop_doubles(dataset, planned, request.dedupe)
    most = request.selection.rules.max_per_source
    planned = replace(planned, clips={s: keep_most(own, most) for s, own in planned.clips.items()})
    is_spread = check_place(request)
    with open_target(request.folder, request.form, is_spread) as target:
        return _Making(dataset, request, encoder, planned, target).run(progress, tell, is_spread)


def check_request(request: ClipsRequest) -> str:
    """Refuses what no result folder and no machine can make; gives the encoder that is taken.

    Raises:
        UsageError: what is asked for cannot be done. SetupError: the encoder is not there.
    """
    if request.form not in FORMATS:
        raise UsageError(f"no format of clips is called {request.form!r}; there are {', '.join(FORMATS)}")
    if request.fps is not None and request.fps < 1:
        raise UsageError(f"{request.fps} pictures a second cannot be shown; give 1 or more")
    if request.dedupe:
        require_method(request.dedupe)
    check_plan(request.selection)
    return choose_encoder(request.encoder)


def check_place(request: ClipsRequest) -> bool:
    """Whether clips are cut by a cluster, once it is known that it finds the place that they go to.

    Raises:
        UsageError, SetupError: it would not.
    """
    asked = ExtractRequest(sources=(), output=request.folder, engine=request.engine, address=request.address)
    engine = load_engine(asked)
    engine.check()
    return engine.name == "ray"


class _Making:
    def __init__(
        self, dataset: Dataset, request: ClipsRequest, encoder: str, planned: Planned, target: Target
    ) -> None:
        self.dataset, self.request, self.planned, self.target = dataset, request, planned, target
        self.encoder = encoder
        self.workers = request.workers or usable_cores()
        self.settings = CutSettings(encoder, request.size, request.fps, request.may_copy)
        self.tracks = tracks_of(dataset)
        uris = {source: uris[0] for source, uris in planned.uris.items()}
        stems = stems_of(uris, "{stem}-{id}")
        self.stems = {source: stem.replace(".", "_") for source, stem in stems.items()}
        self.keys = {
            self._name(source, place): self._key(source, stretch)
            for source, own in planned.clips.items()
            for place, stretch in enumerate(own)
            if not stretch.reason
        }
        self.made: dict[str, Made] = {}
        self.problems: dict[str, str] = {}
        self.shards = Shards(target) if request.form == "webdataset" else None

    def _name(self, source: str, place: int) -> str:
        return f"{self.stems[source]}-{place:05}"

    def _key(self, source: str, stretch: Stretch) -> str:
        """Digest of all that the bytes of a clip depend on."""
        bounds = (stretch.start_seconds, stretch.end_seconds, stretch.start_frame, stretch.end_frame)
        settings = {name: value for name, value in asdict(self.settings).items() if name != "threads"}
        text = json.dumps([VERSION, source, bounds, settings, asdict(self.tracks)])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def run(
        self, progress: Callable[[int, int], None], tell: Callable[[str], None], is_spread: bool
    ) -> ClipsReport:
        there = self.target.made()
        if self.shards is not None:
            self.shards.check(self.keys)
            there |= {name: made for name, (_, made) in self.shards.held.items()}
        reused = {name: made for name, made in there.items() if self.keys.get(name) == made.key}
        self.made |= reused
        self.target.remove(name for name in there if name not in reused)
        tasks = self._tasks()
        total = sum(len(task.clips) for task in tasks)
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        order = {task.source_id: number for number, task in enumerate(tasks)}
        ready: set[int] = set()
        sources = list(self.planned.clips)
        next_source = 0
        places = self.target.places
        if is_spread:
            sandbox = sandbox_on_ray(ExtractRequest(sources=(), output="", sandbox=self.request.sandbox))
            cutting = cut_sources_on_ray(tasks, self.settings, places, self.request.address, sandbox, tick)
        else:
            folders = [place for place in (places.clips, places.journal, places.scratch) if place is not None]
            sandbox = plan_opening(self.request.sandbox, (task.path for task in tasks), folders)
            workers = min(self.workers, len(tasks) or 1)
            cutting = cut_sources(tasks, self.settings, places, workers, sandbox, tell, tick)
        for number, made in cutting if tasks else ():
            ready.add(number)
            self.made |= {each.name: each for each in made}
            # In the order of the plan, whichever source is ready first: shards are the same every time.
            while next_source < len(sources) and order.get(sources[next_source], number) in ready:
                self._pack(sources[next_source])
                next_source += 1
        for source in sources[next_source:]:
            self._pack(source)
        return self._finish(reused)

    def _tasks(self) -> list[SourceTask]:
        tasks = []
        for source, own in self.planned.clips.items():
            names = {self._name(source, place): each for place, each in enumerate(own) if not each.reason}
            missing = [(name, self.keys[name], each) for name, each in names.items() if name not in self.made]
            if not missing:
                continue
            path, problem = find_file(self.dataset, self.planned.uris[source])
            if problem:
                self.made |= {name: Made(name, key, problem=problem) for name, key, _ in missing}
                continue
            tasks.append(SourceTask(source, path, self.tracks, self.stems[source], tuple(missing)))
        return tasks

    def _pack(self, source: str) -> None:
        if self.shards is None:
            return
        with writing(self.target.root):
            for place, stretch in enumerate(self.planned.clips[source]):
                made = self.made.get(self._name(source, place))
                if stretch.reason or made is None or made.problem or made.name in self.shards.held:
                    continue
                self.shards.add(made, self._facts(source, place))

    def _facts(self, source: str, place: int) -> Facts:
        stretch, made = self.planned.clips[source][place], self.made[self._name(source, place)]
        shot = (
            {} if stretch.scene_index is None else self.planned.facts.get((source, stretch.scene_index), {})
        )
        return {
            "source_id": source,
            "uri": self.planned.uris[source][0],
            "clip_index": place,
            "scene_index": stretch.scene_index,
            **facts_of(made),
            **shot,
        }

    def _finish(self, reused: Mapping[str, Made]) -> ClipsReport:
        if self.shards is not None:
            with writing(self.target.root):
                self.shards.finish()
                self.shards.close()
        rows = [
            self._row(source, place)
            for source, own in self.planned.clips.items()
            for place in range(len(own))
        ]
        table = pa.Table.from_pylist(rows, schema=CLIPS_SCHEMA)
        kept = [row for row in rows if row["kept"]]
        if self.request.form == "hf":
            names = [os.path.basename(row["path"]).removesuffix(".mp4") for row in kept]
            facts = [self._facts(row["source_id"], row["clip_index"]) for row in kept]
            write_hf_metadata(self.target, list(zip(names, facts, strict=True)))
        content = io.BytesIO()
        pq.write_table(table, content)
        with writing(self.target.root):
            write_file(self.target.root / "clips.parquet", content.getvalue(), replace=True)
        dropped = dropped_by(self.planned.clips)
        if failed := sum(row["reason"].startswith(_NOT_CUT) for row in rows):
            dropped[_NOT_CUT] = failed
        return ClipsReport(
            rows=table,
            num_clips=len(kept),
            num_copied=sum(row["is_copied"] for row in kept),
            num_reused=len(reused),
            num_sources=len({row["source_id"] for row in kept}),
            seconds=sum(row["end_seconds"] - row["start_seconds"] for row in kept),
            num_bytes=sum(row["num_bytes"] for row in kept),
            dropped=dict(sorted(dropped.items(), key=lambda item: -item[1])),
            problems=self.problems,
            encoder=ENCODERS[self.encoder].says,
        )

    def _row(self, source: str, place: int) -> dict[str, Any]:
        stretch = self.planned.clips[source][place]
        row: dict[str, Any] = {
            "source_id": source,
            "clip_index": place,
            "start_seconds": stretch.start_seconds,
            "end_seconds": stretch.end_seconds,
            "start_frame": stretch.start_frame,
            "end_frame": stretch.end_frame,
            "scene_index": stretch.scene_index,
            "kept": False,
            "reason": stretch.reason,
        }
        if stretch.reason:
            return row
        made = self.made[self._name(source, place)]
        if made.problem:
            self.problems.setdefault(self.planned.uris[source][0], made.problem)
            return row | {"reason": f"{_NOT_CUT}: {made.problem}"}
        path = self.target.places.clips / f"{made.name}.mp4"
        member = None
        if self.shards is not None:
            path, member = self.target.root / self.shards.held[made.name][0], f"{made.name}.mp4"
        return row | facts_of(made) | {"kept": True, "path": str(path), "member": member}
