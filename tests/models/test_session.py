from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from framemill.errors import ModelError, ProviderError, UsageError
from framemill.models.binding import run_bound
from framemill.models.providers import GPU_BATCH, LADDER
from framemill.models.registry import DEFAULTS, ModelEntry
from framemill.models.session import OnnxSession, open_model, picture_size
from framemill.models.store import cache_folder, find
from tests.models.graphs import external, mixer, save, scaler

CUDA, CPU, TENSORRT = LADDER["cuda"], LADDER["cpu"], LADDER["tensorrt"]


def entry_of(path: Path, batching: str = "fixed") -> ModelEntry:
    return ModelEntry(
        name=path.stem,
        role="objects",
        family="yolox",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        num_bytes=path.stat().st_size,
        licence="MIT",
        commercial="yes",
        batching=batching,
    )


def rows(count: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(1).random((count, 3, 4, 4), np.float32)}


def test_cpu_runs_each_row_alone(tmp_path: Path) -> None:
    path = mixer(tmp_path / "mixer.onnx", "n")  # rows together would differ from rows alone
    model, report = open_model(entry_of(path), path, 2)
    assert (report.provider, report.max_batch, model.runner.max_batch) == ("cpu", 1, 1)
    assert report.num_nodes == {CPU: 2} and report.attempts[-1] == ("cpu", "ok")
    inputs = rows(9)
    together = model.runner.run(inputs)["y"]
    alone = [model.runner.run({"x": inputs["x"][i : i + 1]})["y"] for i in range(9)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    whole = model.runner.run_whole(inputs)["y"]
    assert np.abs(whole - together).max() > 1e-3


def test_whatever_the_callers_only_so_many_threads_run() -> None:
    running, most, lock = 0, 0, threading.Lock()

    class Slow:
        def get_inputs(self) -> list[Any]:
            return [SimpleNamespace(name="x")]

        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name="y")]

        def run(self, names: None, inputs: dict[str, Any]) -> list[Any]:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.002)
            with lock:
                running -= 1
            return [inputs["x"]]

    sessions = [OnnxSession(name, Slow(), 1, 3) for name in ("a", "b")]
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda i: sessions[i % 2].run(rows(1 + i % 5)), range(16)):
            assert "y" in answer
    assert most == 3


@pytest.mark.parametrize("inputs", [{}, rows(0), {**rows(2), "z": np.zeros((1, 2))}])
def test_rows_must_agree_in_number(tmp_path: Path, inputs: dict[str, Any]) -> None:
    path = scaler(tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="same number of rows"):
        open_model(entry_of(path), path, 1)[0].runner.run(inputs)


def test_wrong_inputs_are_a_model_error(tmp_path: Path) -> None:
    path = scaler(tmp_path / "m.onnx")
    runner = open_model(entry_of(path), path, 1)[0].runner
    with pytest.raises(ModelError, match=r"model m failed on \{'x': 'float32\[1, 2\]'\}"):
        runner.run({"x": np.zeros((1, 2), np.float32)})


def test_an_output_without_the_batch_axis_is_named(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)]
    path = save(tmp_path / "m.onnx", nodes, {"x": ["n", 3, 4, 4]}, {"total": []})
    runner = open_model(entry_of(path), path, 1)[0].runner
    with pytest.raises(ModelError, match="output 'total' has shape"):
        runner.run(rows(1))


def test_the_input_size_is_read_from_the_file(tmp_path: Path) -> None:
    path = scaler(tmp_path / "m.onnx")
    assert open_model(entry_of(path), path, 1)[0].entry.input_size == (4, 4)
    assert picture_size([1, 3, 240, 320]) == (320, 240)
    assert picture_size(["n", 240, 320, 3]) == (320, 240)
    assert picture_size([1, 3, "h", "w"]) is None and picture_size([1, 16000]) is None


def test_a_provider_that_is_not_there_is_an_error_when_required(tmp_path: Path) -> None:
    path = scaler(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="unknown execution provider 'npu'"):
        open_model(entry_of(path), path, 1, "npu")
    assert open_model(entry_of(path), path, 1, "cpu")[1].attempts == (("cpu", "ok"),)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04pickle"])
def test_a_file_that_is_no_model_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be opened"):
        open_model(entry_of(path), path, 1)


def test_weights_in_other_files_do_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = external(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    assert (tmp_path / "weights.bin").exists()
    with pytest.raises(ModelError, match="cannot be opened"):
        open_model(entry_of(path), path, 1)


class Devices:
    """ONNX Runtime with devices that behave as told: `ok`, `raises`, `absent` or `idle` per provider."""

    def __init__(self, **behaviour: str) -> None:
        self.real = onnxruntime.InferenceSession
        self.behaviour = {LADDER[provider]: how for provider, how in behaviour.items()}
        self.opened: list[tuple[str, str]] = []
        self.options: list[dict[str, str]] = []
        self.others: list[dict[str, str]] = []  # of what runs the rest, but for the CPU

    def get_available_providers(self) -> list[str]:
        return [*self.behaviour, CPU]

    def preload_dlls(self) -> None:
        """Nothing to load."""

    def InferenceSession(
        self, path: Any, options: Any, providers: list[Any], enable_fallback: int = 1
    ) -> Any:
        if providers == [CPU]:
            return self.real(path, options, providers=providers)  # a trial of the dynamic variant
        assert not enable_fallback
        first = providers[0][0]
        assert first == CPU or providers[-1][0] == CPU
        self.opened.append((first, path))
        self.options.append(providers[0][1])
        self.others += [options for _, options in providers[1:-1]]
        how = self.behaviour.get(first, "ok")
        if how == "raises":
            raise RuntimeError("no driver")
        session = self.real(path, options, providers=[CPU])
        node_owner = CPU if how == "idle" else first
        return SimpleNamespace(
            run=session.run,
            io_binding=session.io_binding,
            run_with_iobinding=session.run_with_iobinding,
            get_inputs=session.get_inputs,
            get_outputs=session.get_outputs,
            get_providers=lambda: [CPU] if how == "absent" else [first, CPU],
            get_provider_graph_assignment_info=lambda: [
                SimpleNamespace(ep_name=node_owner, get_nodes=lambda: [1, 2])
            ],
        )


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Devices]:
    def install(**behaviour: str) -> Devices:
        made = Devices(**behaviour)
        for name in ("get_available_providers", "InferenceSession", "preload_dlls"):
            monkeypatch.setattr(onnxruntime, name, getattr(made, name), raising=False)
        return made

    return install


@pytest.mark.parametrize(
    ("behaviour", "provider", "words"),
    [
        ({"tensorrt": "ok", "cuda": "ok"}, "tensorrt", "ok"),
        ({"tensorrt": "raises", "cuda": "ok"}, "cuda", "no driver"),
        ({"tensorrt": "absent", "cuda": "ok"}, "cuda", "silently absent"),
        ({"tensorrt": "idle", "cuda": "raises"}, "cpu", "took no node"),
        ({"coreml": "ok"}, "coreml", "not in this build"),
        ({"coreml": "raises"}, "cpu", "not in this build"),
        ({"coreml": "idle"}, "cpu", "not in this build"),
        ({"tensorrt": "raises", "cuda": "idle", "coreml": "absent"}, "cpu", "no driver"),
    ],
)
def test_the_ladder_takes_the_first_provider_that_really_runs(
    tmp_path: Path, devices: Callable[..., Devices], behaviour: dict[str, str], provider: str, words: str
) -> None:
    devices(**behaviour)
    path = scaler(tmp_path / "m.onnx")
    model, report = open_model(entry_of(path), path, 2)
    assert (
        report.provider == provider
        and words in report.attempts[0][1]
        and report.attempts[-1] == (provider, "ok")
    )
    assert report.num_nodes == {LADDER[provider]: 2}
    assert model.runner.max_batch == (GPU_BATCH if provider in ("tensorrt", "cuda") else 1)
    inputs = rows(40)
    np.testing.assert_array_equal(model.runner.run(inputs)["y"], inputs["x"].reshape(40, 48) * 2)


def test_a_required_device_that_fails_is_a_provider_error(
    tmp_path: Path, devices: Callable[..., Devices]
) -> None:
    made = devices(cuda="absent")
    path = scaler(tmp_path / "m.onnx")
    with pytest.raises(ProviderError, match=r"must run on cuda, but cuda: silently absent.*doctor"):
        open_model(entry_of(path), path, 1, "cuda")
    assert {provider for provider, _ in made.opened} == {CUDA}  # nothing else was tried


def test_a_device_gets_the_dynamic_variant_and_the_cpu_never_pays_for_it(
    tmp_path: Path, devices: Callable[..., Devices]
) -> None:
    path = scaler(tmp_path / "m.onnx")
    open_model(entry_of(path), path, 1)
    assert not (cache_folder() / "dynamic").exists()
    made = devices(cuda="ok")
    open_model(entry_of(path), path, 1)
    (variant,) = (cache_folder() / "dynamic").iterdir()
    assert made.opened == [(CUDA, str(variant))]


@pytest.mark.parametrize("batching", ["none", "fixed"])
def test_a_model_that_cannot_be_batched_stays_at_one_row(
    tmp_path: Path, devices: Callable[..., Devices], batching: str
) -> None:
    devices(cuda="ok")
    path = mixer(tmp_path / "m.onnx")
    model, report = open_model(entry_of(path, batching), path, 1)
    assert (report.provider, report.max_batch) == ("cuda", 1) and "one row at a time" in report.note
    assert model.runner.run(rows(5))["y"].shape == (5, 3, 4, 4)


def test_the_vad_runs_whole() -> None:
    entry = DEFAULTS["vad"]
    model, report = open_model(entry, find(entry), 1)
    state = np.zeros((1, 1, 128), np.float32)
    out = model.runner.run_whole({"input": np.zeros((5, 576), np.float32), "h": state, "c": state})
    assert out["speech_probs"].shape == (5,) and report.provider == "cpu"


def test_a_models_only_input_may_have_any_name(tmp_path: Path) -> None:
    path = mixer(tmp_path / "m.onnx", "n")
    model, _ = open_model(entry_of(path), path, 1)
    named = model.runner.run(rows(2))
    renamed = model.runner.run({"whatever": next(iter(rows(2).values()))})
    for key, value in named.items():
        np.testing.assert_array_equal(renamed[key], value)


def test_bound_runs_give_what_plain_runs_give(tmp_path: Path) -> None:
    path = mixer(tmp_path / "m.onnx", "n")
    session = onnxruntime.InferenceSession(str(path), providers=[CPU])
    inputs = rows(5)
    expected = session.run(None, inputs)[0]
    (bound,) = run_bound(session, inputs, ["y"], "cpu")
    np.testing.assert_array_equal(bound, expected)
    # An array whose rows do not lie one after the other is copied, not misread.
    turned = {"x": inputs["x"].transpose(0, 1, 3, 2)}
    np.testing.assert_array_equal(run_bound(session, turned, ["y"], "cpu")[0], session.run(None, turned)[0])
