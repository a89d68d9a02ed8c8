"""`--precision`: which models it stands for, and that rows of another precision never mix with others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from framemill.cluster.cli.main import main
from framemill.cluster.request import ExtractRequest
from framemill.cluster.run.planning import check_keys, plan_ops
from framemill.cluster.run.precision import device_precision, with_precision
from framemill.errors import UsageError
from framemill.models import cuda, probing
from framemill.models.adding import write_block
from framemill.models.entry import ModelEntry
from framemill.models.folders import digest_file
from framemill.models.quantizing import quantize, variant_name
from framemill.models.registry import parse_entry, resolve
from tests.models.graphs import scaler
from tests.models.test_quantizing import network, rows


def register(name: str, path: Path) -> ModelEntry:
    given = {"name": name, "role": "objects", "family": "yolox", "labels": ["cat"], "path": str(path)}
    entry = parse_entry({**given, "sha256": digest_file(path), "num_bytes": path.stat().st_size})
    write_block(entry)
    return entry


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("FRAMEMILL_MODEL_MIRROR", raising=False)
    monkeypatch.setattr(cuda, "find_gpus", lambda: ())


@pytest.fixture
def entry(tmp_path: Path) -> ModelEntry:
    """A model, and its eight-bit variant."""
    path = network(tmp_path / "net.onnx")
    entry = register("net", path)
    register(variant_name(entry), quantize(entry, path, rows(), tmp_path / "made" / "net-int8.onnx"))
    return entry


def asked(precision: str, **more: Any) -> ExtractRequest:
    fields = {"ops": ("objects", "frames"), "models": {"objects": "net"}, **more}
    return ExtractRequest(sources=("a.mp4",), output="out", precision=precision, **fields)


def chosen(request: ExtractRequest, held: Any = None, on_ray: bool = False) -> str:
    told: list[str] = []
    found = with_precision(request, 600.0, held or {}, on_ray, told.append)
    assert bool(told) == (found.models != request.models)
    return found.models["objects"]


def test_models_stay_as_named_unless_asked(entry: ModelEntry) -> None:
    for name in ("fp32", "fp16"):
        assert with_precision(asked(name), 600.0, {}, False, lambda text: None) == asked(name)


def test_tensorrt_computes_in_halves_only_when_asked() -> None:
    found = [device_precision(asked(name)) for name in ("fp32", "fp16", "int8", "auto")]
    assert found == ["fp32", "fp16", "fp32", "fp32"]


def test_other_precisions_are_refused() -> None:
    with pytest.raises(UsageError, match="'fp8'`: choose fp32, fp16, int8, auto"):
        with_precision(asked("fp8"), 600.0, {}, False, lambda text: None)


def test_eight_bits_take_the_variant(entry: ModelEntry) -> None:
    assert chosen(asked("int8")) == "net-int8"
    assert chosen(asked("int8"), on_ray=True) == "net-int8"


def test_eight_bits_without_a_variant_are_refused(entry: ModelEntry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no model of this run \(none\)"):
        with_precision(asked("int8", ops=("frames",), models={}), 600.0, {}, False, lambda text: None)
    # Made of a model that had the name before.
    register("net", scaler(tmp_path / "other.onnx"))
    with pytest.raises(UsageError, match=r"\(net\) has an eight-bit variant; make one: framemill models q"):
        chosen(asked("int8"))
    register("net", tmp_path / "net.onnx")
    (tmp_path / "made" / "net-int8.onnx").unlink()
    with pytest.raises(UsageError, match="has an eight-bit variant"):
        chosen(asked("int8"))


@pytest.mark.parametrize(("speeds", "name"), [([20.0, 10.0], "net-int8"), ([10.5, 10.0], "net")])
def test_auto_takes_what_is_faster_here(
    entry: ModelEntry, monkeypatch: pytest.MonkeyPatch, speeds: list[float], name: str
) -> None:
    lanes: list[int] = []

    def race(ways: Any, row: Any) -> list[float]:
        lanes.extend(lane for _, lane in ways)
        return speeds

    monkeypatch.setattr(probing, "_measure", race)
    assert chosen(asked("auto", threads=3)) == name
    assert chosen(asked("auto", threads=3)) == name
    assert lanes == [3, 3]  # measured once: every core works


def test_auto_goes_on_with_what_is_there(entry: ModelEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine, where the other file is faster, the same command adds rows of the same kind."""
    for made, speeds in (("net", [20.0, 10.0]), ("net-int8", [10.0, 20.0])):
        plan = plan_ops(asked("fp32", models={"objects": made}), 600.0)
        held = {"objects": plan.ops["objects"].key}
        monkeypatch.setattr(probing, "_measure", lambda ways, row, speeds=speeds: speeds)
        assert chosen(asked("auto"), held) == made
        assert chosen(asked("auto", replace=True), held) == ("net-int8" if made == "net" else "net")
        check_keys(plan_ops(replace(asked("auto"), models={"objects": made}), 600.0), held)
        (probes,) = probing._file(1).parent.iterdir()
        probes.unlink()


def test_auto_says_nothing_of_a_device(entry: ModelEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "find_gpus", lambda: (cuda.Gpu("NVIDIA H200", "sm90", 141 << 30),))
    monkeypatch.setattr(probing, "_measure", lambda ways, row: [20.0, 10.0])
    assert chosen(asked("auto")) == "net"
    assert chosen(asked("auto", require_provider="cpu")) == "net-int8"


def test_auto_on_ray_is_refused(entry: ModelEntry) -> None:
    with pytest.raises(UsageError, match="say fp32, fp16 or int8"):
        chosen(asked("auto"), on_ray=True)


def test_halves_are_part_of_the_key_of_what_runs_models() -> None:
    def digests(name: str) -> dict[str, Any]:
        request = asked(name, ops=("objects", "tracks", "frames", "transcript", "speech"), models={})
        return {op: planned.key["digest"] for op, planned in plan_ops(request, 600.0).ops.items()}

    full, halves = digests("fp32"), digests("fp16")
    # Whisper has a runtime of its own; speech beside it is `speech`'s, whose model is ONNX.
    assert {op for op in full if full[op] != halves[op]} == {"objects", "tracks", "speech", "transcript"}
    plan = plan_ops(asked("fp16", models={}), 600.0)
    key = resolve("objects").key
    assert plan.ops["objects"].key["models"] == {"objects": f"{key}:fp16"}
    transcript = plan_ops(asked("fp16", ops=("transcript",), models={}), 600.0).ops["transcript"].key
    assert not transcript["models"]["transcript"].endswith(":fp16")
    held = {"objects": plan_ops(asked("fp32", models={}), 600.0).ops["objects"].key}
    with pytest.raises(UsageError, match=r"made differently: models is .*fp16.*`replace`"):
        check_keys(plan, held)


def test_the_flag_reaches_the_plan(
    entry: ModelEntry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", str(tmp_path), "-o", str(tmp_path / "out"), "--ops", "objects", "--model", "objects=net"]
    keys = []
    for name in ("fp32", "fp16", "int8"):
        assert main([*words, "--precision", name, "--json"]) == 0
        keys += [op["key"] for op in json.loads(capsys.readouterr().out)["operations"]]
    assert len(set(keys)) == 3
    assert main([*words, "--precision", "fp8"]) == 2
    assert "fp8" in capsys.readouterr().err
