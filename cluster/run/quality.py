"""Which models `quality` stands for, where none is named."""

from __future__ import annotations

from dataclasses import replace

from framemill.actors.shards import SHARD_SECONDS
from framemill.cluster.request import ExtractRequest
from framemill.cluster.run.planning import plan_ops
from framemill.models.quality import models_of


def with_quality(request: ExtractRequest) -> ExtractRequest:
    """The request with the models named that its quality stands for; those that it names itself stay.

    Raises:
        UsageError: an unknown quality, or as `plan_ops` does.
        ModelError: as `plan_ops` does.
    """
    taken = {role: name for role, name in models_of(request.quality).items() if role not in request.models}
    if not taken:
        return request
    # Of all roles, those that run; with their models, since these decide what comes after what.
    named = replace(request, models={**taken, **request.models}, spare=(*request.spare, *taken))
    plan = plan_ops(named, SHARD_SECONDS)
    used = {role for op in plan.ops.values() for role in op.key["models"]}
    return replace(request, models={r: n for r, n in named.models.items() if r in used or r not in taken})
