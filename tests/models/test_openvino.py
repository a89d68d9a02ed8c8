"""OpenVINO as a rung of the ladder: where its distribution is, gives the same rows, and gains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framemill.errors import ProviderError
from framemill.models import halves, probing
from framemill.models.providers import LADDER, Setup, provider_options
from framemill.models.session import open_model
from framemill.models.store import cache_folder
from tests.models.graphs import scaler
from tests.models.test_session import Devices, devices, entry_of, rows

__all__ = ["devices"]  # a fixture


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Rows a second of OpenVINO and of the CPU provider, and how often they were measured."""
    found: list[Any] = [150.0, 100.0, 0]

    def measure(ways: Any, row: Any) -> list[float]:
        assert [lanes for _, lanes in ways] == [2, 2]
        found[2] += 1
        return [float(speed) for speed in found[:2]]

    monkeypatch.setattr(probing, "_measure", measure)
    return found


def test_it_runs_what_it_runs_faster_and_that_is_measured_once(
    tmp_path: Path, devices: Callable[..., Devices], speeds: list[Any]
) -> None:
    made = devices(openvino="ok")
    path = scaler(tmp_path / "m.onnx")
    for _ in range(2):
        model, report = open_model(entry_of(path), path, 2)
        assert (report.provider, report.precision, report.max_batch) == ("openvino", "fp32", 1)
        given = rows(5)
        np.testing.assert_array_equal(model.runner.run(given)["y"], given["x"].reshape(5, 48) * 2)
    assert speeds[2] == 1
    options = made.options[-1]
    assert options["precision"] == "FP32" and options["device_type"] == "CPU"
    assert options["num_streams"] == options["num_of_threads"] == "2", "rows side by side, as on the CPU"
    folder = Path(options["cache_dir"])
    assert folder.is_dir() and cache_folder() / "openvino" in folder.parents


def test_where_it_is_no_faster_the_cpu_provider_runs_and_the_report_says_so(
    tmp_path: Path, devices: Callable[..., Devices], speeds: list[Any]
) -> None:
    made = devices(openvino="ok")
    speeds[0] = 105.0
    path = scaler(tmp_path / "m.onnx")
    for _ in range(2):
        report = open_model(entry_of(path), path, 2)[1]
        assert report.provider == "cpu"
        assert dict(report.attempts)["openvino"] == (
            "no faster here: 105.0 rows a second, 100.0 by ONNX Runtime's own"
        )
    opened = [provider for provider, _ in made.opened]
    assert speeds[2] == 1 and opened.count(LADDER["openvino"]) == 1, "it is not even opened again"
    assert open_model(entry_of(path), path, 2, "openvino")[1].provider == "openvino", "asked for by name"


def test_rows_out_of_bounds_are_never_taken(
    tmp_path: Path, devices: Callable[..., Devices], speeds: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(openvino="ok")
    monkeypatch.setattr(halves, "difference", lambda *given: "output 0 moves by 3.0%")
    path = scaler(tmp_path / "m.onnx")
    report = open_model(entry_of(path), path, 2)[1]
    assert report.provider == "cpu" and speeds[2] == 0
    assert dict(report.attempts)["openvino"] == "not within bounds of the CPU's rows: output 0 moves by 3.0%"
    with pytest.raises(ProviderError, match=r"must run on openvino, but openvino: not within bounds"):
        open_model(entry_of(path), path, 2, "openvino")


@pytest.mark.parametrize("behaviour", ["raises", "absent", "idle"])
def test_one_that_does_not_work_falls_to_the_cpu_provider(
    tmp_path: Path, devices: Callable[..., Devices], speeds: list[Any], behaviour: str
) -> None:
    devices(openvino=behaviour)
    path = scaler(tmp_path / "m.onnx")
    assert open_model(entry_of(path), path, 2)[1].provider == "cpu" and speeds[2] == 0


def test_without_its_distribution_nothing_is_tried(tmp_path: Path, speeds: list[Any]) -> None:
    path = scaler(tmp_path / "m.onnx")
    report = open_model(entry_of(path), path, 2)[1]
    assert report.provider == "cpu" and speeds[2] == 0
    assert dict(report.attempts)["openvino"] == "not in this build of ONNX Runtime"


def test_it_never_computes_in_fewer_bits_by_itself() -> None:
    options = provider_options(LADDER["openvino"], Setup(max_batch=1, precision="fp16"))
    assert options["precision"] == "FP32" and "cache_dir" not in options
