"""How many worker processes a run needs on a machine of many cores: arithmetic over its plan.

In one process whoever runs Python holds the interpreter's lock. The cores of a worker are customers of one
server: they compute for a while without the lock, and wait for it now and then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framemill.cluster.run import costs
from framemill.cluster.run.work import BYTES_A_SECOND
from framemill.models.registry import resolve

if TYPE_CHECKING:
    from framemill.cluster.engines.base import Setup

# Share of the CPU time of a worker in which it holds the lock, measured (`python -m benchmarks
# lock_held_media lock_held_files`): on what files hold, and on opening, indexing and writing them.
HELD_IN_MEDIA = 0.08
HELD_IN_FILES = 0.20
# The cores of a worker do at least this share of what they would do without each other.
LEAST_EFFICIENCY = 0.93
# A worker takes about two seconds of a core to start: not for less work than this.
LEAST_WORK_SECONDS = 20.0
# What a worker takes while it works, its libraries and usual frames, and of the models that it holds: ONNX
# Runtime keeps the weights of a file in memory of its own, some of them twice.
LEAST_BYTES = 4 << 30
COPIES_OF_MODELS = 2


@dataclass(frozen=True, slots=True)
class Load:
    """What a run has to do.

    Attributes:
        shards: pieces of files that can be at work at once.
        media_seconds, file_seconds: of one core, on what files hold, and on each file whatever it holds.
    """

    shards: int
    media_seconds: float
    file_seconds: float

    @property
    def seconds(self) -> float:
        return self.media_seconds + self.file_seconds

    @property
    def held(self) -> float:
        """Share of the time in which the lock is held."""
        held = HELD_IN_MEDIA * self.media_seconds + HELD_IN_FILES * self.file_seconds
        return held / self.seconds if self.seconds else HELD_IN_FILES


def efficiency(cores: int, held: float) -> float:
    """Share of `cores` times one core that a process reaches.

    By mean value analysis of a closed network of one server, the lock, and a delay (Reiser and Lavenberg,
    1980): with k customers, one that comes to the server finds the queue of k - 1.

    Args:
        held: share of the time in which one core by itself holds the lock, over 0 and at most 1.
    """
    queue = rate = 0.0
    for customers in range(1, cores + 1):
        wait = held * (1 + queue)
        rate = customers / (1 - held + wait)
        queue = rate * wait
    return rate / cores


def cores_of_one(held: float, cores: int) -> int:
    """How many of `cores` one process makes good use of, at least 1."""
    return next((n for n in range(cores, 1, -1) if efficiency(n, held) >= LEAST_EFFICIENCY), 1)


def plan_workers(load: Load, cores: int, memory_bytes: int, model_bytes: int) -> int:
    """How many worker processes to run, at least 1.

    Args:
        cores: shards that are to be at work at once, in all of them together.
        memory_bytes: limit of all together. model_bytes: files of the models that each of them opens.
    """
    each = cores_of_one(load.held, cores)
    return max(
        1,
        min(
            math.ceil(min(cores, load.shards) / each),
            int(load.seconds / LEAST_WORK_SECONDS),
            memory_bytes // (LEAST_BYTES + COPIES_OF_MODELS * model_bytes),
        ),
    )


def load_of(setup: Setup) -> Load:
    """What a run has to do, by the sizes of its files, or their lengths where an earlier run told them."""
    groups = setup.jobs.groups
    lengths = [group.known_seconds + group.other_bytes / BYTES_A_SECOND for group in groups]
    num_files = sum(group.num_files for group in groups)
    return Load(
        shards=num_files + int(sum(lengths) / setup.config.shard_seconds),
        media_seconds=sum(
            length * costs.cost_a_second(setup.plan, group.ops)
            for group, length in zip(groups, lengths, strict=True)
        ),
        file_seconds=num_files * costs.A_FILE,
    )


def count_workers(setup: Setup) -> int:
    """How many worker processes a run on the CPU needs."""
    ops = setup.plan.ops
    roles = {role for op in setup.jobs.ops for role in ops[op].key["models"]}
    model_bytes = sum(resolve(role, setup.request.models.get(role, "")).num_bytes for role in roles)
    config = setup.config
    return plan_workers(load_of(setup), config.in_flight, config.memory_bytes, model_bytes)
