"""Which models `precision` stands for: those that were asked for, or their eight-bit variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from framemill.cluster.choices import PRECISIONS
from framemill.cluster.machine import usable_cores
from framemill.cluster.request import ExtractRequest
from framemill.cluster.results.commits import OperationKey
from framemill.cluster.run.planning import plan_ops
from framemill.errors import UsageError
from framemill.models.entry import ModelEntry
from framemill.models.registry import all_entries, resolve


def with_precision(
    request: ExtractRequest,
    shard_seconds: float,
    held: Mapping[str, OperationKey],
    on_ray: bool,
    report: Callable[[str], None],
) -> ExtractRequest:
    """The request with the models named that its precision stands for; as it is for fp32 and fp16.

    Rows of a variant differ, so that its digest is in the operation key. What is in the dataset already
    decides under `auto`: the same command on another machine goes on with the same model.

    Args:
        held: operation name -> key, of the tables that are there. on_ray: whether other machines work.
        report: called with a line on which variants are taken.

    Raises:
        UsageError: an unknown precision; `int8`, but no model of the run has a variant; `auto` on Ray.
        ModelError: under `auto`, a model to measure cannot be had or run.
    """
    if request.precision not in PRECISIONS:
        raise UsageError(f"`precision={request.precision!r}`: choose {', '.join(PRECISIONS)}")
    if request.precision not in ("int8", "auto"):
        return request
    if request.precision == "auto" and on_ray:
        raise UsageError(
            "`precision='auto'` measures on this machine, and on Ray others work: say fp32, fp16 or int8"
        )
    plan = plan_ops(request, shard_seconds)
    roles = {role for op in plan.ops.values() for role in op.key["models"]}
    entries = {role: resolve(role, request.models.get(role, "")) for role in sorted(roles)}
    variants = {role: found for role, entry in entries.items() if (found := _variant(entry)) is not None}
    if request.precision == "int8" and not variants:
        names = ", ".join(entry.name for entry in entries.values()) or "none"
        raise UsageError(
            f"`precision='int8'`: no model of this run ({names}) has an eight-bit variant; make one: "
            "framemill models quantize NAME VIDEOS..."
        )
    if request.precision == "auto":
        made = set() if request.replaces else _keys(held)
        variants = {role: it for role, it in variants.items() if _is_better(it, entries[role], made, request)}
    for role, variant in variants.items():
        report(f"{role}: {variant.name} stands for {entries[role].name}")
    names_of = {role: variant.name for role, variant in variants.items()}
    return replace(request, models={**request.models, **names_of})


def device_precision(request: ExtractRequest) -> str:
    """In which numbers TensorRT may compute what is not quantised."""
    return "fp16" if request.precision == "fp16" else "fp32"


def _variant(entry: ModelEntry) -> ModelEntry | None:
    """What `framemill models quantize` made of this very model here."""
    from framemill.models.quantizing import (  # brings `onnx`, which other runs do without
        is_made_from,
        variant_name,
    )

    named = [it for it in all_entries() if it.name == variant_name(entry) and it.role == entry.role]
    return next((it for it in named if is_made_from(it, entry)), None)


def _keys(held: Mapping[str, OperationKey]) -> set[str]:
    return {key for operation in held.values() for key in operation.get("models", {}).values()}


def _is_better(variant: ModelEntry, entry: ModelEntry, made: set[str], request: ExtractRequest) -> bool:
    if entry.key in made or variant.key in made:
        return variant.key in made
    from framemill.models.cuda import find_gpus

    if find_gpus() and request.require_provider != "cpu":
        return False  # what this processor does best says nothing of a device
    from framemill.models.probing import is_faster
    from framemill.models.store import find

    return is_faster(variant, find(variant), entry, find(entry), request.threads or usable_cores())
