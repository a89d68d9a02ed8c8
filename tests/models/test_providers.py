from __future__ import annotations

from pathlib import Path

import pytest

from framemill.errors import UsageError
from framemill.models import providers
from framemill.models.memory_plan import LEAST_BYTES, RESERVE_BYTES, plan_memory
from framemill.models.providers import LADDER, Setup, padded_rows, provider_options, session_options

SETUP = Setup(
    max_batch=16,
    row_shapes={"images": (3, 416, 416), "sizes": (2,)},
    precision="fp16",
    engines=Path("/cache/e"),
    timings=Path("/cache/t"),
    memory_bytes=1 << 30,
    stream=4711,
)


def test_tensorrt_gets_profiles_caches_precision_and_stream() -> None:
    options = provider_options(LADDER["tensorrt"], SETUP)
    assert options["trt_profile_min_shapes"] == "images:1x3x416x416,sizes:1x2"
    assert options["trt_profile_opt_shapes"] == options["trt_profile_max_shapes"]
    assert options["trt_profile_max_shapes"] == "images:16x3x416x416,sizes:16x2"
    assert (options["trt_engine_cache_path"], options["trt_timing_cache_path"]) == ("/cache/e", "/cache/t")
    # As ONNX Runtime's Python binding wants them: it refuses 1 and 0.
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("True", "False")
    assert {v for k, v in options.items() if k.endswith(("_enable", "_fallback"))} == {"True", "False"}
    assert (options["trt_max_workspace_size"], options["user_compute_stream"]) == (str(1 << 30), "4711")
    assert all(isinstance(value, str) for value in options.values())


def test_cuda_gets_its_limit_and_full_precision() -> None:
    options = provider_options(LADDER["cuda"], SETUP)
    assert (options["gpu_mem_limit"], options["use_tf32"]) == (str(1 << 30), "0")
    assert "gpu_mem_limit" not in provider_options(LADDER["cuda"], Setup(max_batch=1))
    assert "user_compute_stream" not in provider_options(LADDER["cuda"], Setup(max_batch=1))
    assert "trt_profile_min_shapes" not in provider_options(LADDER["tensorrt"], Setup(max_batch=1))
    assert provider_options(LADDER["coreml"], SETUP)["RequireStaticInputShapes"] == "1"
    assert provider_options(LADDER["cpu"], SETUP) == {}


@pytest.mark.parametrize(
    ("flags", "is_exact"),
    [
        ("fpu sse4_1 avx avx2", False),
        ("avx2 avx512f avx512bw avx512vl", False),
        ("avx2 avx512f avx512_vnni", True),
        ("avx2 avx_vnni", True),
        (None, False),
    ],
)
def test_weights_are_unsigned_where_the_processor_sums_bytes_in_too_few_bits(
    flags: str | None, is_exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    stand_in = tmp_path / "cpuinfo"
    if flags is not None:
        stand_in.write_text(f"model name\t: Some CPU\nflags\t\t: {flags}\n")
    monkeypatch.setattr(providers, "_PROCESSOR", stand_in)
    options = session_options(onnxruntime, tmp_path / "model.onnx", 1)
    key = "session.x64quantprecision"
    if is_exact:
        with pytest.raises(RuntimeError, match=key):
            options.get_session_config_entry(key)
    else:
        assert options.get_session_config_entry(key) == "1"


def test_batches_come_in_few_lengths() -> None:
    assert [padded_rows(n, 32) for n in (1, 2, 3, 5, 8, 9, 17, 31, 32)] == [1, 2, 4, 8, 8, 16, 32, 32, 32]
    assert padded_rows(5, 6) == 6  # after halving, a batch may be no power of two


@pytest.mark.parametrize("gigabytes", [4, 16, 24, 80, 141])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_parts_of_the_memory_add_up(gigabytes: int, share: float) -> None:
    device = gigabytes << 30
    plan = plan_memory(device, share)
    parts = (plan.onnxruntime, plan.ctranslate2, plan.arrays, plan.decoder)
    assert min(parts) > 0 and sum(parts) == plan.total
    assert LEAST_BYTES * 0.99 <= plan.total <= device * share - RESERVE_BYTES


def test_two_workers_fit_one_device() -> None:
    device = 24 << 30
    assert 2 * (plan_memory(device, 0.5).total + RESERVE_BYTES) <= device


def test_shares_that_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="raise FRAMEMILL_GPU_MEMORY_SHARE, or run on the CPU"):
        plan_memory(4 << 30, 0.4)
    for text in ("0", "1.5", "half"):
        monkeypatch.setenv("FRAMEMILL_GPU_MEMORY_SHARE", text)
        with pytest.raises(UsageError, match=f"FRAMEMILL_GPU_MEMORY_SHARE={text}"):
            plan_memory(80 << 30)
    monkeypatch.setenv("FRAMEMILL_GPU_MEMORY_SHARE", "0.25")
    assert plan_memory(80 << 30) == plan_memory(80 << 30, 0.25)
