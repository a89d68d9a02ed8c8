"""How many actors of which size fit a cluster: pure arithmetic over what its nodes have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framemill.cluster.request import ExtractRequest
from framemill.errors import SetupError, UsageError

# Tasks of an actor at once. With a GPU there are enough that a batch is decoded while one is computed.
MOST_CALLS = 16
LEAST_CALLS_OF_GPU = 8
# CPUs of an actor beside a GPU: more shards at once than calls find nothing to do.
MOST_CPUS_OF_GPU = 16
# Where nodes come as they are asked for, an actor is wanted for so many files for each of its calls, a large
# one counting as several; and so many actors at most, unless `actors` says otherwise.
FILES_PER_CALL = 8
FILE_BYTES = 8 << 20
MOST_GROWN = 1024
# Shards that a decoder has open at once: while an actor computes on one, the other is decoded.
STREAMS = 2
# Shards that one actor takes from decoders at once. Each waits most of the time: they may be more than calls
# that decode.
MOST_STREAMS = 64


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of actors of one kind.

    Attributes:
        size: as `ray.data.ActorPoolStrategy` takes it: {"size": n} or {"min_size": a, "max_size": b}. Where
            nodes come as they are asked for, more than find room: those that wait are what asks.
        cpus, gpus: what each holds of the cluster; gpus may be a fraction.
        calls: tasks that each works on at once.
        threads: CPU threads for models in each; 0 for what its node has for each GPU.
        decoders: in the split topology, the pool that decodes for this one; else None.
    """

    size: Mapping[str, int]
    cpus: float
    gpus: float
    calls: int
    threads: int
    decoders: Pool | None = None

    @property
    def least(self) -> int:
        """Actors that must fit for the job to start."""
        return self.size.get("size", self.size.get("min_size", 1))

    @property
    def most(self) -> int:
        """Actors at most."""
        return self.size.get("size", self.size.get("max_size", 1))

    def describe(self) -> str:
        """In words."""
        size = self.size.get("size") or f"{self.size['min_size']} to {self.size['max_size']}"
        text = f"{size} actors of {self.cpus:g} CPUs and {self.gpus:g} GPUs"
        if self.decoders is not None:
            most = self.decoders.most
            size = most if most == self.decoders.least else f"{self.decoders.least} to {most}"
            text += f", {size} decoders of {self.decoders.cpus:g} CPUs"
        return text


def plan_pool(
    request: ExtractRequest,
    nodes: Sequence[Mapping[str, float]],
    runs_models: bool = False,
    num_files: int = 0,
) -> Pool:
    """Actors that fit the cluster: by default one for each GPU where models run, else all but one CPU.

    Opening files and merging needs no CPU of its own. Nodes without a GPU hold no actor of a pool that has
    them: a model would be slower there than the pool waits for it. They open files, and in the split topology
    they decode.

    Args:
        request: `topology`; `actors` and `decoders` (N or MIN-MAX; empty for as many as fit), `actor_cpus`,
            `actor_gpus`, `actors_per_gpu`, `decoder_cpus`.
        nodes: resources of each node, as `ray.nodes()` tells.
        runs_models: whether an operation of the run has a model.
        num_files: where nodes come as they are wanted, how many files there are, see `count_files`; else 0.

    Raises:
        UsageError: a value that is no number, or two that contradict each other.
        SetupError: what is asked for does not fit.
    """
    is_split = request.topology == "split"
    there = sum(node.get("CPU", 0.0) for node in nodes)
    gpus_there = sum(node.get("GPU", 0.0) for node in nodes)
    gpus = choose_gpus(request, gpus_there, runs_models)
    _require_gpus(gpus, gpus_there)
    cpus = _cpus_of_each(request, nodes, gpus)
    fit = fits(nodes, cpus, gpus)
    usual = max(1, fit if gpus else min(fit, _times(there - 1, cpus)))
    if is_split and not gpus:
        # Where actors have no GPU to keep busy, they share the CPUs with those that decode for them.
        usual = max(1, usual // 2)
    low, high = read_range("actors", request.actors, usual)
    size = _size(low, high)
    calls = max(LEAST_CALLS_OF_GPU, min(MOST_CALLS, round(cpus))) if gpus else max(2, round(cpus))
    if num_files:
        wanted = max(usual, -(-num_files // (FILES_PER_CALL * calls)))
        low, high = (low, high) if request.actors else (1, max(fit, MOST_GROWN))
        size = {"size": max(low, min(high, wanted))}
    if low > fit:
        raise SetupError(
            f"{low} actors of {cpus:g} CPUs{f' and {gpus:g} GPUs' if gpus else ''} do not fit the cluster's "
            f"{there:g} CPUs{f' and {gpus_there:g} GPUs' if gpus_there else ''} on {len(nodes)} nodes "
            f"(at most {fit} do): lower `actors` or `actor_cpus`, or add nodes"
        )
    threads = 0 if gpus and not request.actor_cpus else max(1, round(cpus))
    if not is_split:
        return Pool(size, cpus, gpus, calls, threads)
    num_actors = low if request.actors else usual
    _, left = _place(nodes, cpus, gpus, num_actors)
    decoders = _plan_decoders(request, left, there - num_actors * cpus, num_actors)
    # Two at the least: one of them is left to short files.
    calls = min(MOST_STREAMS, max(2, -(-STREAMS * decoders.most // num_actors)))
    return Pool(size, cpus, gpus, calls, threads, decoders)


def plan_each(
    request: ExtractRequest, nodes: Sequence[Mapping[str, float]], runs_models: bool, is_growing: bool = False
) -> tuple[float, float]:
    """CPUs and GPUs of each actor in a pipeline of somebody else's, whose other stages need CPUs, too.

    As `plan_pool`, but without a GPU at most half of the largest node where that has fewer than four CPUs.

    Args:
        is_growing: whether nodes come as they are asked for, which may have the GPUs that are not there yet.

    Raises:
        UsageError: as `choose_gpus`. SetupError: there are fewer GPUs than one actor wants, and none come.
    """
    gpus_there = sum(node.get("GPU", 0.0) for node in nodes)
    gpus = choose_gpus(request, gpus_there, runs_models)
    if not is_growing:
        _require_gpus(gpus, gpus_there)
    cpus = _cpus_of_each(request, nodes, gpus)
    widest = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    if gpus or request.actor_cpus or not widest:
        return cpus, gpus
    return min(cpus, widest / 2), gpus


def count_files(num_files: int, num_bytes: int) -> int:
    """How many files these are, a large one counted as several."""
    return max(num_files, num_bytes // FILE_BYTES)


def fits(nodes: Sequence[Mapping[str, float]], cpus: float, gpus: float = 0.0) -> int:
    """How many actors of this size fit, each on one node.

    Args:
        nodes: resources of each node, as `ray.nodes()` tells.
    """
    return _place(nodes, cpus, gpus, 1 << 30)[0]


def wanted_bundles(request: ExtractRequest) -> list[dict[str, float]]:
    """What to ask an autoscaler for so that the first actors find room, a bundle for each."""
    gpus = choose_gpus(request, 0.0, runs_models=False)
    low, _ = read_range("actors", request.actors, 1)
    bundle = {"CPU": request.actor_cpus or 1.0, **({"GPU": gpus} if gpus else {})}
    return [dict(bundle) for _ in range(low)]


def cpus_beside(node: Mapping[str, float], gpus: float) -> float:
    """CPUs that a node has for each actor with so many of its GPUs, one CPU left for opening files if it can.

    At most `MOST_CPUS_OF_GPU`; where there are fewer CPUs than actors, a fraction.
    """
    count, cpus = _times(node.get("GPU", 0.0), gpus), node.get("CPU", 0.0)
    if not count:
        return 0.0
    if (cpus - 1) / count >= 1:
        return float(min(MOST_CPUS_OF_GPU, (cpus - 1) // count))
    return math.floor(100 * cpus / count) / 100


def choose_gpus(request: ExtractRequest, gpus_there: float, runs_models: bool) -> float:
    """GPUs of each actor: as asked for, else one where a model runs and there are any.

    Args:
        gpus_there: of the whole cluster.

    Raises:
        UsageError: what is asked for contradicts itself, or is more than one GPU and not whole.
    """
    asked, sharing = request.actor_gpus, request.actors_per_gpu
    if sharing:
        if asked is not None and abs(asked * sharing - 1) > 1e-6:
            raise UsageError(
                f"`actors_per_gpu={sharing}` gives each 1/{sharing} of a GPU, and `actor_gpus={asked:g}` "
                "another part: leave one of them out"
            )
        # Ray counts in ten-thousandths: rounded up, the last would not fit.
        asked = math.floor(10_000 / sharing) / 10_000
    if asked is None:
        return 1.0 if runs_models and gpus_there >= 1 else 0.0
    if asked > 1 and asked != int(asked):
        raise UsageError(f"`actor_gpus={asked:g}`: give whole GPUs, or a part of one, such as 0.5")
    return asked


def _require_gpus(gpus: float, gpus_there: float) -> None:
    """Whether one actor's GPUs are there; else Ray would wait for them without limit."""
    if gpus > gpus_there:
        raise SetupError(
            f"each actor wants {gpus:g} GPUs, and the cluster has {gpus_there:g}: "
            "add GPU nodes, or ask for none (`actor_gpus=0`)"
        )


def _cpus_of_each(request: ExtractRequest, nodes: Sequence[Mapping[str, float]], gpus: float) -> float:
    """CPUs that each actor holds. Beside GPUs, what the node has that has the least for each of them."""
    if request.actor_cpus:
        return request.actor_cpus
    beside = [share for node in nodes if gpus and (share := cpus_beside(node, gpus)) > 0]
    if beside:
        return 1.0 if request.topology == "split" and min(beside) >= 1 else min(beside)
    widest = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    return 1.0 if request.topology == "split" else max(1.0, min(4.0, widest - 2))


def _plan_decoders(
    request: ExtractRequest, left: Sequence[Mapping[str, float]], num_cpus: float, num_actors: int
) -> Pool:
    """As many as there are CPUs for beside the actors, but no more than the actors take shards from."""
    cpus = request.decoder_cpus or 1.0
    fit = fits(left, cpus)
    useful = -(-MOST_STREAMS * num_actors // (STREAMS * max(1, round(cpus))))
    low, high = read_range("decoders", request.decoders, max(1, min(fit, useful, _times(num_cpus - 1, cpus))))
    if low > fit:
        raise SetupError(
            f"{low} decoders of {cpus:g} CPUs do not fit beside the actors, which leave {num_cpus:g} CPUs "
            f"(at most {fit} do): lower `decoders`, `actors` or `actor_cpus`, or add nodes"
        )
    threads = max(1, round(cpus))
    return Pool(_size(low, high), cpus, 0.0, threads, threads)


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
