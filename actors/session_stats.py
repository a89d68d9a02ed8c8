"""The state of each model of a shard processor: where it runs, how well it is used, what failed before."""

from __future__ import annotations

from typing import Any

from framemill.actors.batcher import BatchStats
from framemill.models.providers import SessionReport


def session_stats(report: SessionReport, runner: Any, batches: BatchStats | None) -> dict[str, Any]:
    """The state of one model's session, for `runs` and for people.

    Args:
        runner: the session itself, behind whatever gathers its batches.
        batches: what gathers them has counted; None where nothing does.

    Returns:
        model, provider, num_nodes (by provider), attempts, precision, build_seconds, max_batch (as it is by
        now), row_threads (CPU threads that a row takes by now), num_halved (how often memory ran out),
        num_batches, batch_fill (0..1) and note.
    """
    stats: dict[str, Any] = {
        "model": report.model,
        "provider": report.provider,
        "precision": report.precision,
        "num_nodes": dict(report.num_nodes),
        "attempts": {provider: what for provider, what in report.attempts},
        "build_seconds": round(report.build_seconds, 3),
        "max_batch": runner.max_batch,
        "row_threads": getattr(runner, "row_threads", 1),
        "num_halved": getattr(runner, "num_halved", 0),
        "note": "; ".join(filter(None, [report.note, getattr(runner, "note", "")])),
    }
    if batches is not None:
        stats |= {"num_batches": batches.num_batches, "batch_fill": round(batches.fill, 4)}
    return stats


def describe_session(role: str, report: SessionReport) -> str:
    """Where a model runs, as one line for a person."""
    tried = "; ".join(f"{provider}: {what}" for provider, what in report.attempts)
    nodes = ", ".join(f"{count} nodes on {provider}" for provider, count in report.num_nodes.items())
    built = f"engine built in {report.build_seconds:.1f} s" if report.build_seconds else ""
    details = "; ".join(filter(None, [nodes, tried, built, report.note]))
    return f"{role}: {report.model} runs on {report.provider} in {report.precision} ({details})"
