"""16-bit floats: the gate, on graphs in halves that the CPU runs, and sessions that behave as told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framemill.models import cuda, halves, halves_probe
from framemill.models.cuda import Gpu
from framemill.models.halves import ADVICE, difference, judging_rows
from framemill.models.halves_probe import probe_halves
from framemill.models.onnx_batching import load_graph
from framemill.models.session import open_model
from tests.models.graphs import save, scaler
from tests.models.test_session import Devices, devices, entry_of, rows
from tests.small_models import SMALL

__all__ = ["devices"]  # a fixture


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cuda, halves_probe):
        monkeypatch.setattr(module, "find_gpus", lambda: (Gpu("NVIDIA L4", "sm89", 24 << 30),))


def overflowing(path: Path) -> Path:
    """Has a weight that halves end below."""
    return scaler(path, factor=1e6)


def test_what_is_within_bounds_computes_in_halves_on_cuda(
    tmp_path: Path, devices: Callable[..., Devices]
) -> None:
    made = devices(cuda="ok")
    path = scaler(tmp_path / "m.onnx", factor=1 / 3)
    model, report = open_model(entry_of(path), path, 1, precision="fp16")
    assert (report.provider, report.precision, report.note) == ("cuda", "fp16", "")
    (file,) = {opened for _, opened in made.opened}
    weights = load_graph(Path(file)).graph.initializer
    assert {tensor.data_type for tensor in weights if tensor.name == "factor"} == {10}  # FLOAT16
    given = rows(3)
    got = model.runner.run(given)["y"]
    assert got.dtype == np.float32
    exact = given["x"].reshape(3, 48) / 3
    assert 0 < np.abs(got - exact).max() < 1e-3, "it really computes in halves"


def test_what_overflows_says_so_and_stays_at_32_bits(tmp_path: Path, devices: Callable[..., Devices]) -> None:
    made = devices(cuda="ok")
    path = overflowing(tmp_path / "m.onnx")
    for _ in range(2):
        model, report = open_model(entry_of(path), path, 1, precision="fp16")
        assert (report.provider, report.precision) == ("cuda", "fp32")
        assert report.note.startswith("computes in 32 bits, as in halves output 0 moves by ")
        given = rows(2)
        np.testing.assert_allclose(model.runner.run(given)["y"], given["x"].reshape(2, 48) * 1e6, rtol=1e-5)
    files = [file for _, file in made.opened]
    assert len(files) == 3, "what is known is not tried again"
    assert files[1] == files[2] != files[0]


def test_where_halves_passed_a_run_in_32_bits_is_told(
    tmp_path: Path, devices: Callable[..., Devices]
) -> None:
    devices(cuda="ok")
    good, bad = scaler(tmp_path / "good.onnx"), overflowing(tmp_path / "bad.onnx")
    for path, note in ((good, ADVICE), (bad, "")):
        assert open_model(entry_of(path), path, 1)[1].note == "", "nothing is known yet"
        open_model(entry_of(path), path, 1, precision="fp16")
        report = open_model(entry_of(path), path, 1)[1]
        assert (report.precision, report.note) == ("fp32", note)


def test_a_probe_says_what_came_of_it(
    tmp_path: Path, devices: Callable[..., Devices], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(cuda="ok")
    good, bad = scaler(tmp_path / "good.onnx"), overflowing(tmp_path / "bad.onnx")
    assert probe_halves(entry_of(good), good, 1) == f"cuda: {ADVICE}"
    assert probe_halves(entry_of(bad), bad, 1).startswith("cuda: computes in 32 bits, as in halves output 0 ")
    devices(cuda="raises")
    other = scaler(tmp_path / "other.onnx", factor=3.0)
    assert probe_halves(entry_of(other), other, 1) == "runs on cpu"
    monkeypatch.setattr(halves_probe, "find_gpus", lambda: ())
    assert probe_halves(entry_of(good), good, 1) == ""


def test_another_kind_of_gpu_is_judged_anew(
    tmp_path: Path, devices: Callable[..., Devices], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(cuda="ok")
    path, judged = scaler(tmp_path / "m.onnx"), []
    monkeypatch.setattr(halves, "judge", lambda *given: judged.append(1) or "")
    for architecture in ("sm89", "sm89", "sm90"):
        gpu = Gpu("another", architecture, 24 << 30)
        monkeypatch.setattr(cuda, "find_gpus", lambda gpu=gpu: (gpu,))
        assert open_model(entry_of(path), path, 1, precision="fp16")[1].precision == "fp16"
    assert len(judged) == 2


def test_an_engine_in_halves_is_held_against_the_cpu(
    tmp_path: Path, devices: Callable[..., Devices], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = devices(tensorrt="ok", cuda="ok")
    path = scaler(tmp_path / "m.onnx")
    report = open_model(entry_of(path), path, 1, precision="fp16")[1]
    assert (report.provider, report.precision) == ("tensorrt", "fp16")
    assert {options["trt_fp16_enable"] for options in made.options} == {"True"}
    monkeypatch.setattr(halves, "difference", lambda *given: "output 0 moves")
    other = scaler(tmp_path / "other.onnx", factor=3.0)
    report = open_model(entry_of(other), other, 1, precision="fp16")[1]
    assert (report.provider, report.precision) == ("tensorrt", "fp32")
    assert report.note == "computes in 32 bits, as in halves output 0 moves"
    assert made.options[-1]["trt_fp16_enable"] == "False"


def test_a_device_that_fails_falls_down_the_ladder_in_halves_too(
    tmp_path: Path, devices: Callable[..., Devices]
) -> None:
    devices(cuda="raises")
    path = scaler(tmp_path / "m.onnx")
    report = open_model(entry_of(path), path, 1, precision="fp16")[1]
    assert (report.provider, report.precision, report.note) == ("cpu", "fp32", "")
    assert "no driver" in dict(report.attempts)["cuda"]


def test_open_axes_and_what_does_not_convert_stay_at_32_bits(
    tmp_path: Path, devices: Callable[..., Devices], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx import helper

    devices(cuda="ok")
    node = [helper.make_node("Relu", ["x"], ["y"])]
    path = save(tmp_path / "open.onnx", node, {"x": ["n", "length"]}, {"y": ["n", "length"]})
    report = open_model(entry_of(path, "dynamic"), path, 1, precision="fp16")[1]
    assert report.precision == "fp32" and "open axes" in report.note
    from onnxruntime.transformers import float16

    def refuse(*given: object, **named: object) -> None:
        raise ValueError("a node of no known kind")

    monkeypatch.setattr(float16, "convert_float_to_float16", refuse)
    path = scaler(tmp_path / "other.onnx")
    report = open_model(entry_of(path), path, 1, precision="fp16")[1]
    assert report.precision == "fp32" and "a node of no known kind" in report.note


SCORES = np.linspace(0, 1, 2000, dtype=np.float32)[None]
BOXES = 9 * SCORES - 4
AT = np.arange(2000)


@pytest.mark.parametrize(
    ("role", "want", "got", "words"),
    [
        ("objects", SCORES, SCORES + 0.009, ""),
        ("objects", SCORES, SCORES + np.float32(0.05), "100.0% of the scores of output 0 move by more than"),
        ("objects", SCORES, np.where(AT < 2, 0.5, SCORES), ""),
        ("objects", SCORES, np.where(AT < 3, 0.5, SCORES), "0.1% of the scores of output 0 move"),
        ("objects", SCORES, np.where(AT < 1, np.nan, SCORES), "output 0 overflows"),
        ("objects", SCORES, SCORES[:, :9], "has shape [1, 9]"),
        ("objects", BOXES, BOXES * 1.009, ""),
        ("objects", BOXES, BOXES * 1.02, "output 0 moves by 2.0%, at most 1% is within bounds"),
        ("objects", SCORES * 0, SCORES * 0, ""),
        ("image_embeddings", BOXES, BOXES * 3, ""),
        ("face_embeddings", BOXES, -BOXES, "has a cosine of -1.0000, at least 0.999"),
        ("speaker_embeddings", BOXES, BOXES * 0, "has a cosine of 0.0000"),
        ("text_embeddings", BOXES * 0, BOXES * 0, ""),
    ],
)
def test_bounds_are_those_of_the_role(role: str, want: Any, got: Any, words: str) -> None:
    said = difference(role, [want], [got])
    assert words in said and bool(said) == bool(words)


def test_models_of_pictures_are_judged_on_pictures_as_they_take_them(tmp_path: Path) -> None:
    from onnx import helper

    node = [helper.make_node("Relu", ["x"], ["y"])]
    for shape, size in (
        ([1, 3, "h", "w"], (224, 224)),
        ([1, 32, 48, 3], (32, 48)),
        ([1, 3, 32, 48], (32, 48)),
    ):
        path = save(tmp_path / "m.onnx", node, {"x": shape}, {"y": shape})
        entry = replace(entry_of(path), mean=(128.0, 0.0, 128.0), scale=(1 / 64,))
        found = judging_rows(load_graph(path), entry)
        assert found is not None and len(found) == 3
        given = np.concatenate([row["x"] for row in found])
        values = given.transpose(0, 2, 3, 1) if shape[1] == 3 else given
        assert values.shape == (3, *size, 3) and values.dtype == np.float32
        assert values[..., 0].min() < -1.5 and values[..., 0].max() > 1.5 and values[..., 1].min() >= 0


@pytest.mark.media
@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "name", "passes"),
    [
        ("faces", "ultraface_rfb_320", True),
        ("face_embeddings", "mobilefacenet", True),
        ("moderation", "open_nsfw_w16", True),
        ("text_detection", "ppocrv3_det", False),  # it finds text everywhere
        ("labels", "shufflenet_v2_int8", False),  # of bytes already
    ],
)
def test_real_models_in_halves_on_the_cpu(
    models_dir: Path, devices: Callable[..., Devices], role: str, name: str, passes: bool
) -> None:
    devices(cuda="ok")
    path = models_dir / f"{name}.onnx"
    given = SMALL[role]
    entry = replace(entry_of(path), role=role, colour=given.colour, mean=given.mean, scale=given.scale)
    report = open_model(entry, path, 1, "cuda", precision="fp16")[1]
    assert (report.precision == "fp16") == passes, report.note
