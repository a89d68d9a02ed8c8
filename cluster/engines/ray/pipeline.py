"""The Ray Data pipeline of a run: from sources to the results of actors."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from typing import Any, overload

import pyarrow as pa
import ray.data

from framemill.cluster.engines.ray.actor import ShardProcessorActor
from framemill.cluster.engines.ray.messages import ActorConfig, Piece, Source, Task
from framemill.cluster.engines.ray.opening import TASK_PIECES, open_sources, task_table
from framemill.cluster.engines.ray.packing import divide, pack
from framemill.cluster.engines.ray.placing import TaskRoom
from framemill.cluster.engines.ray.pools import Pool
from framemill.cluster.run.job_list import Jobs

# Sources in one call of the first stage: enough that the scheduler does not count, few enough to share.
OPEN_SOURCES = 16
# Files up to this size need not be looked at before it is known who works on them: actors open them, and
# decode on in the file that they opened. Of such files, so many bytes share a task.
SMALL_BYTES = 16 << 20
TASK_BYTES = 8 << 20
# A task is at most this part of what is left for each call of an actor that runs at once: tasks get smaller
# towards the end, so that all calls end at about the same time.
PARTS_LEFT = 2
# More tasks would give the scheduler work and balance nothing: one is a sixty-fourth of what a call does in
# all.
MOST_TASKS_PER_CALL = 64
# Putting down one block takes the driver more than a millisecond.
MOST_BLOCKS = 2000


def plan_tasks(
    sources: Sequence[Source], pool: Pool, room: TaskRoom, config: ActorConfig, coordinator: Any
) -> ray.data.Dataset:
    """What there is to do with some sources, a task in each row.

    Args:
        room: where files are opened. coordinator: handle of the run's `Coordinator`.
    """
    sizes = array("q", (source.num_bytes for source in sources))
    fits = pool.decoders is None
    small = array("I", (at for at, size in enumerate(sizes) if fits and 0 <= size <= SMALL_BYTES))
    large = array("I", (at for at, size in enumerate(sizes) if not (fits and 0 <= size <= SMALL_BYTES)))
    large = array("I", sorted(large, key=lambda at: -sizes[at]))
    grouped = _to_blocks(sources, small, pool.most * pool.calls, room) if small else None
    if not large:
        assert grouped is not None
        return grouped
    # A block is what Ray shares out: every actor gets work soon.
    size = max(1, min(OPEN_SOURCES, len(large) // (2 * pool.most)), -(-len(large) // MOST_BLOCKS))
    starts = range(0, len(large), size)
    blocks = to_dataset([pack(sources[at] for at in large[start : start + size]) for start in starts])
    opened = _map(blocks, open_sources, room, {"config": config, "coordinator": coordinator})
    return opened if grouped is None else opened.union(grouped)


class PlannedSources(Sequence[Source]):
    """The sources of a run that no job was made for yet, each made when it is asked for.

    Args:
        changed: uris that the dataset holds other content of.
        places: some of them; else all.
    """

    def __init__(self, jobs: Jobs, changed: Collection[str], places: array[int] | None = None) -> None:
        self._jobs = jobs
        self._changed = changed
        self._places = jobs.left() if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Source: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Source]: ...
    def __getitem__(self, at: int | slice) -> Source | Sequence[Source]:
        if isinstance(at, slice):
            return PlannedSources(self._jobs, self._changed, self._places[at])
        file = self._jobs.file(self._places[at])
        return Source(
            uri=file.uri,
            path=file.path_bytes,
            num_bytes=file.num_bytes,
            mtime_ns=file.mtime_ns,
            is_changed=file.uri in self._changed,
        )


def _map(blocks: ray.data.Dataset, change: Any, room: TaskRoom, given: dict[str, Any]) -> ray.data.Dataset:
    """A task for each block, in the room beside the actors, which Ray Data spreads by itself."""
    return blocks.map_batches(
        change,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=room.most),
        fn_kwargs=given,
        **room.options,
    )


def _to_blocks(
    sources: Sequence[Source], small: array[int], num_calls: int, room: TaskRoom
) -> ray.data.Dataset:
    """A task in each block; the driver puts down so many itself, and workers divide what is more."""
    groups = plan_groups(sources, num_calls, small)
    if len(groups) <= MOST_BLOCKS:
        return to_dataset([task_table(_pieces(sources, group)) for group in groups])
    size = -(-len(groups) // MOST_BLOCKS)
    blocks = [
        pack(Task(pieces=_pieces(sources, group)) for group in groups[start : start + size])
        for start in range(0, len(groups), size)
    ]
    return _map(to_dataset(blocks), divide, room, {})


def _pieces(sources: Sequence[Source], group: Iterable[int]) -> tuple[Piece, ...]:
    return tuple(Piece(source=sources[at]) for at in group)


def to_dataset(blocks: Sequence[pa.Table]) -> ray.data.Dataset:
    """A dataset of these blocks.

    Not by `from_arrow`, which has a task of one CPU look at each, and waits without limit for the CPU.
    """
    made: ray.data.Dataset = ray.data.from_blocks(list(blocks))
    return made


def plan_groups(
    sources: Sequence[Source], num_calls: int, places: Sequence[int] | None = None
) -> list[array[int]]:
    """Tasks for actors that open small files by themselves, the largest files first: positions of sources.

    Args:
        sources: those that are changed get tasks of their own.
        num_calls: tasks that all actors together work on at once. places: of some sources; else all.
    """
    places = range(len(sources)) if places is None else places
    sizes = array("q", (max(sources[at].num_bytes, 1) for at in places))
    is_changed = bytearray(sources[at].is_changed for at in places)
    left = sum(sizes)
    largest_share, least_share = PARTS_LEFT * num_calls, MOST_TASKS_PER_CALL * num_calls
    least, least_bytes = max(1, len(sizes) // least_share), left // least_share
    tasks: list[array[int]] = []
    changed: list[array[int]] = []
    most = most_bytes = taken = 0
    for number, at in enumerate(sorted(range(len(sizes)), key=lambda at: -sizes[at])):
        num_bytes = sizes[at]
        if is_changed[at]:
            changed.append(array("I", [places[at]]))
        else:
            if not taken or len(tasks[-1]) >= most or taken + num_bytes > most_bytes:
                tasks.append(array("I"))
                taken = 0
                most = min(TASK_PIECES, max(least, (len(sizes) - number) // largest_share))
                most_bytes = max(least_bytes, min(TASK_BYTES, left // largest_share))
            tasks[-1].append(places[at])
            taken += num_bytes
        left -= num_bytes
    return [*changed, *tasks]


def run_actors(
    tasks: ray.data.Dataset, most: int, pool: Pool, config: ActorConfig, coordinator: Any, decoders: Any
) -> ray.data.Dataset:
    """The results of tasks; nothing runs before they are asked for.

    Args:
        most: actors that find something to do.
        decoders: handle of the run's `DecoderPool`, or None.
    """
    calls = 1 if config.is_alone else pool.calls
    results = tasks.map_batches(
        ShardProcessorActor,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            **{name: min(size, most) for name, size in pool.size.items()},
            max_concurrent_calls_per_actor=calls,
            # Without it the concurrent calls would run one after the other.
            enable_true_multi_threading=True,
            max_tasks_in_flight_per_actor=2 * calls,
        ),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        # One call of each actor is left to short files: what waits for an actor goes to no other.
        fn_constructor_args=(config, coordinator, decoders, max(1, calls - 1)),
    )
    # Every row is a block of its own, which is what an actor is given at once. A `repartition` would hold a
    # CPU for it, which may not be there.
    results.context.target_max_block_size = 1
    return results
