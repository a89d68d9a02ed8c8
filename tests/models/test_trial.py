"""A model that a user adds is tried in a process whose memory and time are bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from framemill.errors import ModelError
from framemill.models import trial
from framemill.models.trial import try_model
from tests.models.graphs import save, scaler


def filling(path: Path, values: int, node: str) -> Path:
    """A graph of a few hundred bytes that holds so many float32 values: a constant, or what a row becomes."""
    made = {
        "ConstantOfShape": helper.make_node("ConstantOfShape", ["size"], ["big"]),
        "Expand": helper.make_node("Expand", ["m", "size"], ["big"]),
    }
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        made[node],
        helper.make_node("ReduceMax", ["big"], ["most"], keepdims=0),
        helper.make_node("Add", ["x", "most"], ["y"]),
    ]
    axes = [1, 3, 8, 8]
    return save(path, nodes, {"x": axes}, {"y": axes}, {"size": np.array([values], np.int64)})


def tried(path: Path) -> tuple[str, str]:
    return try_model(path.read_bytes(), path, None)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's data is not bounded here")
@pytest.mark.parametrize("node", ["ConstantOfShape", "Expand"])
def test_a_small_file_that_fills_gigabytes_is_refused(node: str, tmp_path: Path) -> None:
    path = filling(tmp_path / "m.onnx", 1 << 31, node)
    with pytest.raises(ModelError, match=r"m.onnx takes more than 3072 MiB of memory .*; export it"):
        tried(path)
    assert "memory" not in tried(filling(path, 1 << 10, node))[1]


def test_a_trial_without_an_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_SECONDS", 0.01)
    with pytest.raises(ModelError, match=r"was tried for 0\.01 s.*; export it"):
        tried(scaler(tmp_path / "m.onnx"))


def test_a_model_that_ends_its_process_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(
        ModelError, match=r"ended the process that tried it \(exit code 1; it said: nothing\)"
    ):
        tried(scaler(tmp_path / "m.onnx"))
