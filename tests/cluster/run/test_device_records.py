"""What a run records of devices: who decoded which file and why, and where each model ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from framemill.actors import dali_device
from framemill.cluster.cli.main import main
from tests.actors.clips import write_clip
from tests.actors.test_dali_reader import clip, smooth

needs_dali = pytest.mark.skipif(
    not dali_device._is_installed("nvidia.dali"), reason="DALI is not installed (extra `dali`)"
)


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("FRAMEMILL_MODEL_MIRROR", raising=False)
    folder = tmp_path / "clips"
    folder.mkdir()
    clip(folder / "a.webm", 12)
    write_clip(folder / "b.mp4", smooth(12))
    return folder


def the_run(output: Path) -> dict[str, Any]:
    rows = ds.dataset(output / "runs", format="parquet").to_table().to_pylist()
    return dict(max(rows, key=lambda row: row["started_at"]))


@needs_dali
def test_who_decoded_what_is_in_runs_and_rows_agree(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frames: dict[str, list[dict[str, Any]]] = {}
    for decoder in ("pyav", "dali-cpu"):
        monkeypatch.setenv("FRAMEMILL_DECODER", decoder)
        output = tmp_path / decoder
        assert main(["extract", str(clips), "-o", str(output), "--ops", "frames", "--sample", "all"]) == 0
        rows = ds.dataset(output / "frames", format="parquet").to_table().to_pylist()
        frames[decoder] = sorted(rows, key=lambda row: (row["source_id"], row["frame_index"]))
    run = the_run(tmp_path / "dali-cpu")
    assert dict(run["decoders"]) == {
        "dali on the cpu": [str(clips / "a.webm")],
        "pyav: the device decodes no h264": [str(clips / "b.mp4")],
    }
    assert the_run(tmp_path / "pyav")["decoders"] == [] and run["device_memory_bytes"] == 0
    assert "1 file decoded by pyav: the device decodes no h264" in capsys.readouterr().out
    assert len(frames["pyav"]) == 24
    for mine, theirs in zip(frames["pyav"], frames["dali-cpu"], strict=True):
        for name in ("source_id", "frame_index", "pts_seconds", "is_key"):
            assert mine[name] == theirs[name]
        for name, limit in (("brightness", 0.005), ("contrast", 0.005), ("frame_score", 0.05)):
            assert abs(mine[name] - theirs[name]) < limit
        assert (mine["phash"] ^ theirs["phash"]).bit_count() <= 4


def test_each_models_session_is_in_runs(clips: Path, tmp_path: Path) -> None:
    from tests.actors.clips import sine

    write_clip(clips / "c.mp4", smooth(12), tone=sine(1.0, 48_000))
    output = tmp_path / "out"
    assert main(["extract", str(clips / "c.mp4"), "-o", str(output), "--ops", "speech", "-q"]) == 0
    account = json.loads(dict(the_run(output)["sessions"])["vad"])
    assert (account["provider"], account["precision"], account["num_halved"]) == ("cpu", "fp32", 0)
    assert account["num_nodes"] == {"CPUExecutionProvider": 25} and account["attempts"]["cpu"] == "ok"
    assert account["build_seconds"] == 0 and account["model"] == "silero_vad_v6"


@pytest.mark.parametrize("provider", ["tensorrt", "cuda"])
def test_a_downgrade_is_an_error_when_a_provider_is_required(
    clips: Path, tmp_path: Path, provider: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.actors.clips import sine

    path = write_clip(clips / "c.mp4", smooth(12), tone=sine(1.0, 48_000))
    command = [
        "extract",
        str(path),
        "-o",
        str(tmp_path / "out"),
        "--ops",
        "speech",
        "--require-provider",
        provider,
    ]
    assert main(command) == 5
    told = capsys.readouterr().err
    assert f"must run on {provider}, but {provider}: not in this build of ONNX Runtime" in told


def test_a_decoder_that_cannot_be_had_is_an_error(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAMEMILL_DECODER", "mplayer")
    assert main(["extract", str(clips), "-o", str(tmp_path / "out"), "--ops", "frames"]) == 2
    assert "FRAMEMILL_DECODER=mplayer: choose one of auto, pyav, dali, dali-cpu" in capsys.readouterr().err
