"""`models quantize`: what is accurate enough is registered, the rest refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from framemill.cluster import quantizing
from framemill.cluster.cli.main import main
from framemill.cluster.quantizing import agreement
from framemill.errors import UsageError
from framemill.models.quantizing import signed_beside
from framemill.models.registry import fitting, resolve
from framemill.models.session import open_model
from tests.models.graphs import scaler


def objects(*rows: tuple[int, str, float]) -> pa.Table:
    """Rows of 10 x 10 boxes: frame, label and left edge."""
    box = [{"x0": x, "y0": 0.0, "x1": x + 10.0, "y1": 10.0} for _, _, x in rows]
    return pa.table({"frame_index": [r[0] for r in rows], "label": [r[1] for r in rows], "box": box})


def test_boxes_are_matched_one_to_one() -> None:
    truth = objects((0, "car", 0.0), (0, "car", 50.0), (1, "dog", 0.0))
    assert agreement(truth, truth) == 1
    assert agreement(truth, objects((0, "car", 2.0), (0, "car", 50.0), (1, "dog", 1.0))) == 1
    assert agreement(truth, objects((0, "car", 6.0), (0, "car", 50.0), (1, "dog", 0.0))) == pytest.approx(
        2 / 3
    )
    assert agreement(truth, objects((0, "cat", 0.0), (0, "car", 50.0), (2, "dog", 0.0))) == pytest.approx(
        1 / 3
    )
    assert agreement(truth, objects((0, "car", 0.0), (0, "car", 1.0))) == pytest.approx(2 / 5)
    assert agreement(truth, truth.slice(0, 0)) == 0 and agreement(truth.slice(0, 0), truth.slice(0, 0)) == 1


def test_vectors_and_labels() -> None:
    vectors = pa.table({"vector": [[1.0, 0.0], [0.0, 1.0]]})
    assert agreement(vectors, pa.table({"vector": [[0.6, 0.8], [0.0, 1.0]]})) == pytest.approx(0.8)
    labels = pa.table({"frame_index": [0, 0], "rank": [0, 1], "label": ["a", "b"]})
    assert agreement(labels, pa.table({"frame_index": [0, 0], "rank": [0, 1], "label": ["a", "c"]})) == 0.5


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FRAMEMILL_CONFIG_DIR", str(tmp_path / "config"))


@pytest.mark.media
@pytest.mark.slow
def test_a_real_detector_is_quantised_and_used(
    own_folders: None,
    media_dir: Path,
    models_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    video = str(media_dir / "video" / "one-by-one-person-detection.mp4")
    gifs = sorted(str(path) for path in (media_dir / "gif").iterdir())
    assert main(["models", "quantize", "ultraface_rfb_320", video, *gifs, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["name"] == "ultraface_rfb_320-int8" and made["num_rows"] > 10
    assert 0 <= made["loss"] <= 0.1 and 0 <= made["signed_loss"] <= 0.1
    entry = resolve("faces", "ultraface_rfb_320-int8")
    assert entry.sha256 == made["sha256"] and entry.batching == "dynamic"
    assert open_model(entry, Path(made["path"]), 1)[1].precision == "int8"
    original = resolve("faces", "ultraface_rfb_320")
    assert entry.key != original.key and (entry.input_size, entry.mean) == (
        original.input_size,
        original.mean,
    )
    assert signed_beside(Path(made["path"])).is_file()


@pytest.mark.media
@pytest.mark.slow
def test_a_loss_above_the_bound_is_refused(
    own_folders: None, media_dir: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEMILL_MODEL_MIRROR", str(models_dir))
    real = quantizing.agreement
    seen: list[float] = []

    def poor(expected: Any, got: Any) -> float:
        seen.append(real(expected, got))
        return 0.8

    monkeypatch.setattr(quantizing, "agreement", poor)
    monkeypatch.setattr(quantizing, "RECIPES", quantizing.RECIPES[:1])
    video = str(media_dir / "video" / "one-by-one-person-detection.mp4")
    gifs = [str(path) for path in sorted((media_dir / "gif").iterdir())]
    told: list[str] = []
    cache = Path(quantizing.cache_folder())
    accepted = cache / "quantized" / "ultraface_rfb_320-int8.onnx"
    accepted.parent.mkdir(parents=True)
    accepted.write_bytes(b"what passed before")
    with pytest.raises(
        quantizing.ModelError, match=r"20\.0% and 20\.0% of rows change .* at most 10\.0% may"
    ):
        quantizing.quantize_model("ultraface_rfb_320", [video, *gifs], 0.1, told.append)
    assert len(seen) == 2 and any("rows that change" in text for text in told)
    assert list(cache.rglob("*-int8*.onnx")) == [accepted] and not list(cache.parent.rglob("*.toml"))
    assert accepted.read_bytes() == b"what passed before"


def test_models_that_need_no_rows_of_other_operations_can_be_calibrated(own_folders: None) -> None:
    def name(role: str, model: str) -> str:
        return quantizing._operation(resolve(role, model)).name

    assert name("labels", "mobilenet_v2") == "labels"
    assert name("aesthetics", "nima_mobilenet") == "aesthetics"
    for role, model in (("labels", "siglip2_base_text"), ("aesthetics", "laion_vit_b32"), ("emotions", "")):
        with pytest.raises(UsageError, match="no operation on whole frames uses"):
            name(role, model)


def test_a_variant_of_an_image_model_stays_in_its_space(own_folders: None, tmp_path: Path) -> None:
    path = scaler(tmp_path / "m.onnx")
    made = quantizing._entry(resolve("image_embeddings"), path, path)
    assert (made.name, made.space) == ("siglip2_base-int8", "siglip2_base")
    assert fitting("image_text", made) == resolve("image_text")


def test_only_models_of_operations_on_frames(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "quantize", "silero_vad_v6", "a.mp4"]) == 2
    assert "no operation on whole frames" in capsys.readouterr().err
    assert main(["models", "quantize", "nonsense", "a.mp4"]) == 2
    assert "unknown model 'nonsense'" in capsys.readouterr().err
