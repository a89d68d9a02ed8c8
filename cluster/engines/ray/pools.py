"""How many actors of which size fit a cluster: pure arithmetic over what its nodes have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framemill.cluster.request import ExtractRequest
from framemill.errors import SetupError, UsageError

MOST_CALLS = 16
# What a task holds that opens files or merges their pieces.
TASK_CPUS = 0.5
# Shards that a decoder has open at once: while an actor computes on one, the other is decoded.
STREAMS = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of actors of one kind.

    Attributes:
        size: as `ray.data.ActorPoolStrategy` takes it: {"size": n} or {"min_size": a, "max_size": b}.
        cpus, gpus: what each holds of the cluster; gpus may be a fraction.
        calls: tasks that each works on at once.
        decoders: in the split topology, the pool that decodes for this one; else None.
    """

    size: Mapping[str, int]
    cpus: float
    gpus: float
    calls: int
    decoders: Pool | None = None

    @property
    def least(self) -> int:
        """Actors that must fit for the job to start."""
        return self.size.get("size", self.size.get("min_size", 1))

    @property
    def most(self) -> int:
        """Actors at most."""
        return self.size.get("size", self.size.get("max_size", 1))

    @property
    def threads(self) -> int:
        """CPU threads for models in each."""
        return max(1, round(self.cpus))

    def describe(self) -> str:
        """In words."""
        size = self.size.get("size") or f"{self.size['min_size']} to {self.size['max_size']}"
        text = f"{size} actors of {self.cpus:g} CPUs and {self.gpus:g} GPUs"
        if self.decoders is not None:
            most = self.decoders.most
            size = most if most == self.decoders.least else f"{self.decoders.least} to {most}"
            text += f", {size} decoders of {self.decoders.cpus:g} CPUs"
        return text


def plan_pool(request: ExtractRequest, nodes: Sequence[Mapping[str, float]]) -> Pool:
    """Actors that fit the cluster, leaving one CPU for reading and opening.

    Args:
        request: `topology`; `actors` and `decoders` (N or MIN-MAX; empty for as many as fit), `actor_cpus`,
            `actor_gpus`, `decoder_cpus`.
        nodes: resources of each node, as `ray.nodes()` tells.

    Raises:
        UsageError: a value that is no number.
        SetupError: what is asked for does not fit.
    """
    is_split = request.topology == "split"
    there = sum(node.get("CPU", 0.0) for node in nodes)
    gpus_there = sum(node.get("GPU", 0.0) for node in nodes)
    gpus = request.actor_gpus
    widest = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    cpus = request.actor_cpus or (1.0 if is_split else max(1.0, min(4.0, widest - 2)))
    if gpus and gpus_there < gpus:
        raise SetupError(
            f"each actor wants {gpus:g} GPUs, and the cluster has {gpus_there:g}: "
            "add GPU nodes, or leave out `actor_gpus`"
        )
    fit, _ = _place(nodes, cpus, gpus, 1 << 30)
    fit = min(fit, _times(there - 1, cpus))
    # Where actors have no GPU to keep busy, they share the CPUs with those that decode for them.
    usual = max(1, fit // 2 if is_split and not gpus else fit)
    low, high = read_range("actors", request.actors, usual)
    if low > fit:
        raise SetupError(
            f"{low} actors of {cpus:g} CPUs{f' and {gpus:g} GPUs' if gpus else ''} do not fit the cluster's "
            f"{there:g} CPUs on {len(nodes)} nodes with one CPU left for reading (at most {max(fit, 0)} "
            "do): lower `actors` or `actor_cpus`, or add nodes"
        )
    if not is_split:
        return Pool(_size(low, high), cpus, gpus, calls=8 if gpus else max(2, round(cpus)))
    _, left = _place(nodes, cpus, gpus, low)
    decoders = _plan_decoders(request, left, there, low * cpus)
    # Two at the least: one of them is left to short files.
    calls = min(MOST_CALLS, max(2, -(-STREAMS * decoders.most // low)))
    return Pool(_size(low, high), cpus, gpus, calls, decoders)


def describe_idle_gpus(pool: Pool, num_gpus: float) -> str:
    """What to tell where models will run on CPUs beside GPUs that nobody asked for; empty otherwise."""
    if pool.gpus or not num_gpus:
        return ""
    return f"models run on CPUs: the cluster has {num_gpus:g} GPUs, and no actor holds one (`actor_gpus=1`)"


def _plan_decoders(
    request: ExtractRequest, left: Sequence[Mapping[str, float]], there: float, taken: float
) -> Pool:
    cpus = request.decoder_cpus or 1.0
    fit, _ = _place(left, cpus, 0.0, 1 << 30)
    fit = min(fit, _times(there - 1 - taken, cpus))
    low, high = read_range("decoders", request.decoders, max(fit, 1))
    if low > fit:
        raise SetupError(
            f"{low} decoders of {cpus:g} CPUs do not fit beside the actors, which hold {taken:g} of the "
            f"cluster's {there:g} CPUs, with one CPU left for reading (at most {max(fit, 0)} do): lower "
            "`decoders`, `actors` or `actor_cpus`, or add nodes"
        )
    return Pool(_size(low, high), cpus, 0.0, max(1, round(cpus)))


def _place(
    nodes: Sequence[Mapping[str, float]], cpus: float, gpus: float, most: int
) -> tuple[int, list[dict[str, float]]]:
    """How many fit, each on one node, and what is left of the nodes."""
    count, left = 0, []
    for node in nodes:
        fit = _times(node.get("CPU", 0.0), cpus)
        if gpus:
            fit = min(fit, _times(node.get("GPU", 0.0), gpus))
        fit = min(fit, most - count)
        count += fit
        free = {"CPU": node.get("CPU", 0.0) - fit * cpus, "GPU": node.get("GPU", 0.0) - fit * gpus}
        left.append(free)
    return count, left


def _times(there: float, each: float) -> int:
    """How often a share fits; ten tenths make a whole."""
    return max(0, math.floor(there / each + 1e-6))


def _size(low: int, high: int) -> dict[str, int]:
    return {"size": low} if low == high else {"min_size": low, "max_size": high}


def read_range(setting: str, text: str, usual: int) -> tuple[int, int]:
    """N or MIN-MAX as two numbers; `usual` twice for an empty text.

    Raises:
        UsageError: it is neither.
    """
    if not text:
        return usual, usual
    low, _, high = text.partition("-")
    try:
        least, most = int(low), int(high or low)
    except ValueError:
        least = most = 0
    if not 1 <= least <= most:
        raise UsageError(f"`{setting}={text!r}`: give a number such as 4, or a range such as 1-16")
    return least, most
