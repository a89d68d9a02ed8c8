"""What the two topologies give on clusters of different shapes, by arithmetic over the plans that are made.

    python -m benchmarks.split_model

A GPU is fed by the slowest of: the cores that decode for it, the CPUs that prepare frames for its model, the
model, and, where frames come from elsewhere, the network of its node. The first rate is measured here (1080p
H.264, PyAV on one thread); the others stand for what they are called.
"""

from __future__ import annotations

from dataclasses import dataclass

from framemill.cluster.engines.ray.pools import STREAMS, plan_pool
from framemill.cluster.request import ExtractRequest

DECODED = 250.0  # frames a second and core
PREPARED = 1500.0  # frames a second and CPU, of those that are looked at
FRAME_BYTES = 1920 * 1080 * 1.5
NETWORK_BYTES = 25e9 / 8  # a second and node
SHAPES = {
    "8 nodes of 96 CPUs and 8 GPUs": [(96, 8)] * 8,
    "8 nodes of 8 CPUs and 1 GPU": [(8, 1)] * 8,
    "8 of 8 CPUs and 1 GPU beside 4 of 64 CPUs": [(8, 1)] * 8 + [(64, 0)] * 4,
    "8 of 8 CPUs and 1 GPU beside 16 of 64 CPUs": [(8, 1)] * 8 + [(64, 0)] * 16,
    "8 nodes of 96 CPUs and 8 GPUs beside 16 of 64": [(96, 8)] * 8 + [(64, 0)] * 16,
}
# What is looked at of what is decoded, and frames a second that a GPU's model takes.
WORK = {"every frame": (1.0, 1000.0), "a frame a second of 30": (1 / 30, 1000.0)}


@dataclass(frozen=True, slots=True)
class Rates:
    """Frames looked at a second by the whole cluster, in each topology, and what bounds each."""

    fused: float
    split: float
    fused_bound: str
    split_bound: str


def rates(nodes: list[tuple[float, float]], looked_at: float, model: float) -> Rates:
    """By the planner's own pools.

    Args:
        nodes: CPUs and GPUs of each. looked_at: share of the decoded frames. model: frames a second of a GPU.
    """
    shapes = [{"CPU": cpus, "GPU": gpus} for cpus, gpus in nodes]
    found = []
    for topology in ("fused", "split"):
        request = ExtractRequest(sources=("x",), output="out", topology=topology)  # type: ignore[arg-type]
        pool = plan_pool(request, shapes, runs_models=True)
        bounds = {"the model": model}
        if pool.decoders is None:
            # One core decodes a frame and then prepares it, if it is looked at.
            each = 1 / (1 / (DECODED * looked_at) + 1 / PREPARED)
            bounds["its CPUs"] = pool.cpus * each
        else:
            decoders = pool.decoders.least * pool.decoders.cpus / pool.least
            bounds["its decoders"] = min(decoders, pool.calls / STREAMS) * DECODED * looked_at
            bounds["its CPUs"] = pool.cpus * PREPARED
            on_node = max(gpus for _, gpus in nodes)
            bounds["the network"] = NETWORK_BYTES / FRAME_BYTES / on_node
        bound = min(bounds, key=lambda name: bounds[name])
        found.append((pool.least * bounds[bound], bound))
    (fused, fused_bound), (split, split_bound) = found
    return Rates(fused, split, fused_bound, split_bound)


def table() -> str:
    """All shapes and kinds of work, in Markdown."""
    lines = ["| cluster | looked at | fused, frames/s | bound by | split, frames/s | bound by |"]
    lines.append("|---|---|---|---|---|---|")
    for shape, nodes in SHAPES.items():
        for work, (looked_at, model) in WORK.items():
            found = rates(nodes, looked_at, model)
            fused, split = (f"{rate:,.0f}" for rate in (found.fused, found.split))
            fused, split = (f"**{fused}**", split) if found.fused >= found.split else (fused, f"**{split}**")
            lines.append(
                f"| {shape} | {work} | {fused} | {found.fused_bound} | {split} | {found.split_bound} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
