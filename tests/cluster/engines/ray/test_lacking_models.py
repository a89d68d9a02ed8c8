"""Models that a node lacks: told before any work, with the line that fetches them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray")

from framemill.cluster.engines.ray.preflight import ModelTrouble, look_at_models
from framemill.errors import ModelError, SetupError
from tests.cluster.engines.ray.ray_local import extract_on_ray, small_ray
from tests.cluster.extraction import extract


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a node without models and without a way to them."""
    return {
        "FRAMEMILL_CACHE_DIR": str(tmp_path / "none"),
        "FRAMEMILL_MODEL_MIRROR": "",
        "FRAMEMILL_OFFLINE": "1",
    }


def test_what_may_be_fetched_is_no_trouble(
    bare: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bare.items():
        monkeypatch.setenv(name, value)
    models = {"objects": "", "faces": "", "emotions": str(tmp_path / "own.onnx")}
    trouble = look_at_models(models, "on node 10.0.0.7")
    assert isinstance(trouble, ModelTrouble)
    assert trouble.problems.keys() == models.keys() and trouble.absent == {"objects", "faces"}
    assert all(problem.endswith("(on node 10.0.0.7)") for problem in trouble.problems.values())
    # With a way to the addresses, the first actor fetches what has one.
    monkeypatch.delenv("FRAMEMILL_OFFLINE")
    trouble = look_at_models(models, "here")
    assert isinstance(trouble, ModelTrouble) and trouble.problems.keys() == {"emotions"}
    assert look_at_models({"objects": ""}, "here") == ""


@pytest.mark.cluster
@pytest.mark.slow
def test_a_node_without_models_is_told_of_as_one_machine_is(
    bare: dict[str, str], clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops, out = ("media", "objects", "faces"), tmp_path / "out"
    with small_ray(environment=bare), pytest.raises(SetupError) as on_ray:
        extract_on_ray(clips / "b.mp4", out=out, ops=ops)
    for name, value in bare.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ModelError) as here:
        extract(clips / "b.mp4", out=tmp_path / "here", ops=ops)
    told, local = str(on_ray.value).splitlines(), str(here.value).splitlines()
    assert told[2:] == local[2:]
    assert told[2] == "Fetch what is missing: `framemill models pull --for objects,faces`"
    for line, expected in zip(told[:2], local[:2], strict=True):
        assert "(on node " in line and line.split(": ")[0] == expected.split(": ")[0]
    assert not list(out.glob("*/*.parquet"))
