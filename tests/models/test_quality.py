"""The table of which models `fast` and `best` take."""

from __future__ import annotations

from typing import get_args

import pytest

from framemill.cluster.choices import Quality
from framemill.errors import UsageError
from framemill.models.quality import _table, models_of
from framemill.models.registry import DEFAULTS, KNOWN, fitting, resolve

TAKEN = [(quality, role, name) for quality, models in _table().items() for role, name in models.items()]


def test_the_table_has_the_qualities_that_a_run_can_ask_for() -> None:
    assert tuple(_table()) == get_args(Quality)
    with pytest.raises(UsageError, match="`quality='finest'`: choose fast, balanced, best"):
        models_of("finest")


def test_balanced_stands_for_the_defaults() -> None:
    assert models_of("balanced") == {}


@pytest.mark.parametrize(("quality", "role", "name"), TAKEN)
def test_what_a_quality_takes_can_be_had_and_used_by_everybody(quality: str, role: str, name: str) -> None:
    entry = resolve(role, name)
    assert entry in KNOWN and entry != DEFAULTS[role]
    assert entry.urls and entry.commercial == "yes"
    assert not {"sha256", "urls", "num_bytes", "licence"} & set(entry.unconfirmed)


@pytest.mark.parametrize("quality", get_args(Quality))
def test_the_models_of_a_quality_fit_together(quality: str) -> None:
    taken = {role: resolve(role, models_of(quality).get(role, "")) for role in DEFAULTS}
    image = taken["image_embeddings"]
    assert taken["image_text"] == fitting("image_text", image)
    assert taken["labels"].family == "imagenet" or taken["labels"] == fitting("labels", image)
    # Both look for faces in the same run; two models would find two sets of them.
    assert taken["faces"].sha256 == taken["face_landmarks"].sha256


def test_a_better_model_of_objects_is_larger() -> None:
    sizes = {quality: resolve("objects", models_of(quality).get("objects", "")) for quality in _table()}
    assert sizes["fast"].num_bytes < sizes["balanced"].num_bytes < sizes["best"].num_bytes
