"""Which models `quality` stands for, and which go with a named one, where none is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from framemill.actors.shards import SHARD_SECONDS
from framemill.cluster.request import ExtractRequest
from framemill.cluster.run.planning import plan_ops
from framemill.models.quality import models_of
from framemill.models.registry import fitting, resolve

_IMAGES = "image_embeddings"
# Roles whose models take the vectors of image embeddings, or may.
_AFTER_IMAGES = ("labels", "aesthetics")


def with_quality(request: ExtractRequest) -> ExtractRequest:
    """The request with the models named that its quality stands for; those that it names itself stay.

    With a named model of image embeddings go the text tower and the head that take its vectors.

    Raises:
        UsageError: an unknown quality, or as `plan_ops` does.
        ModelError: as `plan_ops` does.
    """
    taken = {**_beside(request.models), **models_of(request.quality)}
    taken = {role: name for role, name in taken.items() if role not in request.models}
    if not taken:
        return request
    # Of all roles, those that run; with their models, since these decide what comes after what.
    named = replace(request, models={**taken, **request.models}, spare=(*request.spare, *taken))
    plan = plan_ops(named, SHARD_SECONDS)
    used = {role for op in plan.ops.values() for role in op.key["models"]}
    return replace(request, models={r: n for r, n in named.models.items() if r in used or r not in taken})


def _beside(models: Mapping[str, str]) -> dict[str, str]:
    """The models of other roles that go with the named one of image embeddings."""
    if _IMAGES not in models:
        return {}
    image = resolve(_IMAGES, models[_IMAGES])
    found = {role: fitting(role, image) for role in _AFTER_IMAGES}
    return {role: entry.name for role, entry in found.items() if entry is not None}
