from __future__ import annotations

import json
from pathlib import Path

import pytest

from models import probing
from models.errors import ModelError
from models.probing import probe, remembered_threads, rows_per_second
from models.session import open_model
from tests.models.graphs import save, scaler
from tests.models.test_session import entry_of


def test_what_was_measured_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scaler(tmp_path / "m.onnx")
    other = scaler(tmp_path / "other.onnx", factor=3.0)
    speeds = {1: 100.0, 4: 150.0}
    monkeypatch.setattr(probing, "rows_per_second", lambda entry, path, threads, cores: speeds[threads])
    assert remembered_threads(entry_of(path).sha256) == 1
    assert probe(entry_of(path), path, 4).threads == 4
    speeds[4] = 105.0  # within the noise
    assert probe(entry_of(other), other, 4).threads == 1
    assert remembered_threads(entry_of(path).sha256) == 4
    assert remembered_threads(entry_of(other).sha256) == 1
    model, report = open_model(entry_of(path), path, 4)
    assert report.rung == "cpu"
    assert model.runner._session.get_session_options().intra_op_num_threads == 4  # type: ignore[attr-defined]
    probing._file().write_text(json.dumps({"half": "a file"}))
    assert remembered_threads(entry_of(path).sha256) == 1


def test_speeds_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.02)
    path = scaler(tmp_path / "m.onnx")
    found = probe(entry_of(path), path, 2)
    assert set(found.rows_per_second) == {1, 2} and min(found.rows_per_second.values()) > 10


def test_open_axes_cannot_be_measured(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"x": ["n", "length"]}, {"y": ["n", "length"]})
    with pytest.raises(ModelError, match="open axes besides the batch"):
        rows_per_second(entry_of(path), path, 1, 1)
