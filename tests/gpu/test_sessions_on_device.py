"""Models on CUDA and TensorRT, from the host's memory and from the device's, and whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from framemill.cluster.gpu_checks import gpu_checks
from framemill.models import cuda, provider_sessions
from framemill.models.arrays import cupy_module, is_on_host, to_host
from framemill.models.memory_plan import plan_memory
from framemill.models.session import OnnxSession, open_model
from framemill.ops.pixels.boxes import overlaps
from tests.small_models import SMALL, flags

REPOSITORY = Path(__file__).resolve().parents[2]
OBJECTS = SMALL["objects"]
needs_tensorrt = pytest.mark.skipif(
    not cuda.version_of(*cuda.TENSORRT_PACKAGES), reason="TensorRT is not installed (extra `gpu`)"
)


def rows(count: int) -> Any:
    return np.random.default_rng(0).random((count, 3, 416, 416), np.float32) * 255


def test_the_doctor_finds_nothing_wrong() -> None:
    assert [finding for finding in gpu_checks() if finding["status"] == "fail"] == []


@pytest.mark.parametrize("provider", ["cuda", pytest.param("tensorrt", marks=needs_tensorrt)])
def test_a_real_detector_from_both_kinds_of_memory(models_dir: Path, provider: str) -> None:
    path = models_dir / "yolox_nano.onnx"
    expected = open_model(OBJECTS, path, 1, "cpu")[0].runner.run({"images": rows(5)})
    model, report = open_model(OBJECTS, path, 1, provider)
    assert (
        report.provider == provider
        and report.max_batch == 32
        and report.num_nodes[provider_sessions.LADDER[provider]] > 0
    )
    for images in (rows(5), cupy_module().asarray(rows(5))):
        for name, values in model.runner.run({"images": images}).items():
            assert isinstance(values, np.ndarray)
            # Scores are products of sigmoids in 0..1; boxes are in units of 8 to 32 pixels.
            np.testing.assert_allclose(
                values, next(iter(expected.values())), atol=0.02, rtol=0.01, err_msg=name
            )


@pytest.mark.parametrize("provider", ["cuda", pytest.param("tensorrt", marks=needs_tensorrt)])
def test_calls_under_way_together_give_what_each_gives(models_dir: Path, provider: str) -> None:
    runner = open_model(OBJECTS, models_dir / "yolox_nano.onnx", 1, provider)[0].runner
    assert isinstance(runner, OnnxSession) and runner.in_flight == 2
    batches = [rows(32)[:, :, ::step] for step in (1, -1)] * 4
    alone = [next(iter(runner.run({"images": batch}).values())) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: runner.run({"images": batch}), batches))
        there = list(
            pool.map(lambda batch: runner.run_in_place({"images": cupy_module().asarray(batch)}), batches)
        )
    for mine, host, device in zip(alone, together, there, strict=True):
        np.testing.assert_array_equal(next(iter(host.values())), mine)
        left = next(iter(device.values()))
        assert not is_on_host(left)
        np.testing.assert_array_equal(to_host(left), mine)


@pytest.mark.parametrize("provider", ["cuda", pytest.param("tensorrt", marks=needs_tensorrt)])
def test_halves_are_taken_only_within_bounds(models_dir: Path, provider: str) -> None:
    path = models_dir / "yolox_nano.onnx"
    expected = open_model(OBJECTS, path, 1, "cpu")[0].runner.run({"images": rows(5)})
    model, report = open_model(OBJECTS, path, 1, provider, precision="fp16")
    assert report.provider == provider
    assert report.precision == "fp16" or report.note.startswith("computes in 32 bits, as in halves "), report
    (got,) = model.runner.run({"images": rows(5)}).values()
    # Objectness and class scores behind the four numbers of a box.
    assert np.abs(got[..., 4:] - next(iter(expected.values()))[..., 4:]).max() < 0.05


@needs_tensorrt
def test_a_kept_engine_opens_fast(models_dir: Path) -> None:
    path = models_dir / "yolox_nano.onnx"
    assert open_model(OBJECTS, path, 1, "tensorrt")[1].build_seconds > 0
    started = time.monotonic()
    model, report = open_model(OBJECTS, path, 1, "tensorrt")
    model.runner.run({"images": rows(1)})
    assert report.build_seconds == 0 and time.monotonic() - started < 5


def test_out_of_memory_halves_the_batch(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(plan_memory(cuda.find_gpus()[0].memory_bytes), onnxruntime=160 << 20)
    monkeypatch.setattr(provider_sessions, "plan_memory", lambda *given: small)
    model, _ = open_model(OBJECTS, models_dir / "yolox_nano.onnx", 1, "cuda")
    outputs = model.runner.run({"images": rows(64)})
    assert len(next(iter(outputs.values()))) == 64
    assert model.runner.max_batch < 32 and model.runner.num_halved > 0  # type: ignore[attr-defined]


def test_whisper_runs_on_its_own_cublas(models_dir: Path) -> None:
    entry = replace(SMALL["transcript"], path=str(models_dir / "whisper_words"))
    assert open_model(entry, models_dir / "whisper_words", 1, "cuda")[1].provider == "cuda"


OPS = ("objects", "faces", "labels", "image_embeddings", "frames")


def extract(media: Path, models: Path, output: Path, provider: str, decoder: str) -> None:
    clips = [media / "video" / name for name in ("car-detection.mp4", "one-by-one-person-detection.mp4")]
    command = [sys.executable, "-m", "framemill", "extract", *map(str, clips), "-o", str(output), "-q"]
    command += ["--ops", ",".join(OPS), "--sample", "every:0.5", "--require-provider", provider]
    command += flags("objects", "faces", "labels", "image_embeddings")
    environment = {"FRAMEMILL_MODEL_MIRROR": str(models), "FRAMEMILL_DECODER": decoder}
    subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **environment}, check=True, timeout=900)


def table(output: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(output / name, format="parquet").to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["source_id"], row["frame_index"]))


@pytest.mark.parametrize("provider", ["cuda", pytest.param("tensorrt", marks=needs_tensorrt)])
def test_rows_of_cpu_and_gpu_agree(tmp_path: Path, media_dir: Path, models_dir: Path, provider: str) -> None:
    here, there = tmp_path / "cpu", tmp_path / "gpu"
    extract(media_dir, models_dir, here, "cpu", "pyav")
    extract(media_dir, models_dir, there, provider, "dali")
    (run,) = ds.dataset(there / "runs", format="parquet").to_table().to_pylist()
    assert {json.loads(account)["provider"] for _, account in run["sessions"]} == {provider}
    assert [decoder for decoder, _ in run["decoders"]] == ["dali on the gpu"]
    assert run["device_memory_bytes"] > 0
    for name in ("objects", "faces"):
        assert_boxes_agree(table(here, name), table(there, name))
    mine, theirs = table(here, "image_embeddings"), table(there, "image_embeddings")
    for a, b in zip(mine, theirs, strict=True):
        assert np.dot(a["vector"], b["vector"]) >= 0.999
    for a, b in zip(table(here, "frames"), table(there, "frames"), strict=True):
        assert a["frame_index"] == b["frame_index"] and (a["phash"] ^ b["phash"]).bit_count() <= 4


def assert_boxes_agree(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Boxes within 1 px + 1%, scores within 0.02; what is there once only has a score near the limit."""
    left = list(theirs)
    for row in mine:
        box = np.array(list(row["box"].values()), np.float32)
        same = [
            other
            for other in left
            if all(row[k] == other[k] for k in ("source_id", "frame_index") if k in row)
            and row.get("label") == other.get("label")
            and overlaps(box, np.array([list(other["box"].values())], np.float32))[0] > 0.7
        ]
        if not same:
            assert row["score"] < 0.75, row
            continue
        left.remove(same[0])
        other = np.array(list(same[0]["box"].values()), np.float32)
        assert np.abs(box - other).max() <= 1 + 0.01 * np.abs(box).max(), (row, same[0])
        assert abs(row["score"] - same[0]["score"]) <= 0.02, (row, same[0])
    assert len(left) <= 0.02 * len(theirs) + 1
