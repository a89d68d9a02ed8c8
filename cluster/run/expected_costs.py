"""How long a run would take: by what earlier runs in the folder took, or else by a table of costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from framemill.actors.indexing import SourceIndex
from framemill.cluster.machine import usable_cores
from framemill.cluster.results.dataset import Dataset
from framemill.cluster.results.queries import dataset_tables
from framemill.cluster.run import costs
from framemill.cluster.run.planning import OpsPlan
from framemill.ops.operation import Reads

_DECODED = (Reads.FRAMES, Reads.SIGNALS, Reads.AUDIO)
_TABLE = "costs measured on another machine, which yours may differ from by a factor"


class ExpectedCosts:
    """What files are expected to take.

    Attributes:
        origin: what that is known from, in words.
    """

    def __init__(self, plan: OpsPlan, dataset: Dataset | None) -> None:
        self._plan = plan
        # Operation or stage -> seconds of work for a second of media.
        self._measured: dict[str, float] = {}
        self._wall = 1 / usable_cores()
        num_runs = self._read_runs(dataset) if dataset is not None else 0
        missing = [
            name for name in plan.ops if plan.ops[name].reads in _DECODED and name not in self._measured
        ]
        runs = f"{num_runs} earlier run{'s' * (num_runs > 1)} here"
        if not num_runs:
            self.origin = _TABLE
        else:
            self.origin = runs + (f"; of {', '.join(missing)} by {_TABLE}" if missing else "")

    def seconds(self, index: SourceIndex, ops: Iterable[str], num_decoded: int) -> float:
        """Wall-clock seconds for some operations on a file.

        Args:
            num_decoded: packets that are decoded for them.
        """
        names, length = list(ops), index.duration_seconds
        has_pictures, has_sound = len(index.frames) > 0, index.audio_stream >= 0
        sampling = self._plan.sampling
        frames = length * costs.frames_a_second(sampling)
        if sampling.kind == "keyframes":
            num_key = int(index.frames.is_key.sum())
            frames = min(num_key, sampling.num_frames or num_key)
        total = costs.A_FILE
        total += self._measured.get("read", costs.READ_SECOND) * length
        if "read" not in self._measured:
            total += num_decoded * costs.DECODED_FRAME
        for name in names:
            reads = self._plan.ops[name].reads
            if (reads is Reads.AUDIO and not has_sound) or (
                reads in (Reads.FRAMES, Reads.SIGNALS) and not has_pictures
            ):
                continue
            known = self._measured.get(name)
            total += length * known if known is not None else costs.of_op(self._plan, name, length, frames)
        return total * self._wall

    def _read_runs(self, dataset: Dataset) -> int:
        """Work of all runs over the length of what they made."""
        runs = (
            dataset_tables(dataset, ["runs"])["runs"]
            .to_table(columns=["seconds", "elapsed_seconds"])
            .to_pylist()
        )
        took: defaultdict[str, float] = defaultdict(float)
        for run in runs:
            for name, seconds in run["seconds"]:
                took[name] += seconds
        lengths = {record.source_id: record.duration_seconds for record in dataset.state.sources.values()}
        made: defaultdict[str, float] = defaultdict(float)
        for (table, owner), entry in dataset.state.entries.items():
            if entry.status in ("ok", "partial"):
                made[table] += lengths.get(owner, 0.0)
        made["read"] = sum(lengths.values())
        self._measured = {
            name: took[name] / length for name, length in made.items() if took[name] > 0 and length > 0
        }
        work, elapsed = sum(took.values()), sum(run["elapsed_seconds"] for run in runs)
        if work > 0:
            self._wall = elapsed / work
        return len(runs) if self._measured else 0
