"""Which models a run takes for `quality`, and that its keys follow from these alone."""

from __future__ import annotations

from typing import Any

import pytest

from framemill.cluster.choices import QUALITIES
from framemill.cluster.request import ExtractRequest
from framemill.cluster.run.needed_models import models_of_run
from framemill.cluster.run.planning import plan_ops
from framemill.cluster.run.quality import with_quality
from framemill.errors import UsageError
from framemill.models.quality import models_of
from framemill.models.registry import resolve


def asked(*ops: str, **given: Any) -> ExtractRequest:
    return ExtractRequest(sources=("x",), output="out", ops=ops, **given)


def keys(request: ExtractRequest) -> dict[str, Any]:
    return {name: op.key for name, op in plan_ops(with_quality(request), 600.0).ops.items()}


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_quality_is_the_same_as_naming_its_models(quality: Any) -> None:
    named = {role: name for role, name in models_of(quality).items() if role in ("objects", "transcript")}
    ops = ("objects", "transcript", "faces")
    assert keys(asked(*ops, quality=quality)) == keys(asked(*ops, models=named))


def test_each_quality_has_objects_of_its_own() -> None:
    found = {keys(asked("objects", quality=quality))["objects"]["digest"] for quality in QUALITIES}
    assert len(found) == len(QUALITIES)


def test_a_model_that_is_named_wins() -> None:
    request = with_quality(asked("objects", "transcript", quality="best", models={"objects": "dfine_s"}))
    assert request.models == {"objects": "dfine_s", "transcript": "whisper_large_v3"}


def test_models_of_roles_that_do_not_run_are_left_out() -> None:
    for quality in QUALITIES:
        assert with_quality(asked("media", "frames", "faces", quality=quality)).models == {}
    # One that is named for nothing is refused as ever.
    with pytest.raises(UsageError, match="no operation of this run uses that role"):
        plan_ops(with_quality(asked("media", quality="best", models={"objects": "dfine_s"})), 600.0)


def test_the_vectors_of_fast_fit_the_head_that_judges_them() -> None:
    names = [entry.name for entry in models_of_run(asked("aesthetics", quality="fast"))]
    assert names == ["laion_vit_b32", "clip_vit_b32"]


def test_what_a_run_needs_goes_through_what_it_comes_after_and_its_options() -> None:
    def needed(*ops: str, **given: Any) -> set[str]:
        return {entry.role for entry in models_of_run(asked(*ops, **given))}

    assert needed("media", "frames", "scenes") == set()
    assert needed("emotions") == {"emotions", "faces"}
    assert needed("objects", "face_quality") == {"objects", "faces", "eyes", "face_landmarks"}
    assert needed("face_quality", options={"face_quality": {"eyes": False}}) == {"faces"}
    assert needed("transcript") == {"transcript", "vad"}
    assert needed("transcript", options={"transcript": {"origin": "subtitles"}}) == set()


def test_an_unknown_quality_is_refused() -> None:
    with pytest.raises(UsageError, match="choose fast, balanced, best"):
        with_quality(asked("objects", quality="finest"))
    assert resolve("objects", models_of("fast")["objects"]).name == "yolox_nano"
